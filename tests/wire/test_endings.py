"""What finish reasons mean, however they are written."""

from __future__ import annotations

from typing import Any

import pytest

from batcher.failures import FLAGS, AttemptError, FailureClass
from batcher.wire.dialects.endings import BROKEN, MEANINGS, NONE, finish_of, flag_of, meaning_of

PATH = "/v1/chat/completions"
WORDS = [(word, meaning) for meaning, words in MEANINGS.items() for word in words]


def test_each_word_means_one_thing() -> None:
    """No word stands twice in the table, and each flag is one that `--fail-on` takes."""
    assert len({word for word, _ in WORDS}) == len(WORDS)
    assert MEANINGS.keys() - {NONE, BROKEN} <= FLAGS.keys()


@pytest.mark.parametrize(("word", "meaning"), WORDS)
def test_any_way_of_writing(word: str, meaning: str) -> None:
    """In capitals, with the name of its enumeration before it, with an explanation behind it, with hyphens."""
    for said in (word, word.upper(), word.title(), word.replace("_", "-"), f" {word} "):
        assert meaning_of(said) == meaning
    if word:
        for said in (f"FinishReason.{word.upper()}", f"FINISH_REASON_{word.upper()}", f"{word}: hate", f"{word} (x)"):
            assert meaning_of(said) == meaning


@pytest.mark.parametrize(
    ("reason", "meaning"),
    [
        *((reason, BROKEN) for reason in ("upstream_error", "InternalServerError", "timed_out", "oom", "gpu_lost")),
        *((reason, "length") for reason in ("maxTokens", "max_tokens_exceeded", "context_overflow", "out_of_tokens")),
        *((reason, "content_filter") for reason in ("ContentFilter", "safety_block", "policy-violation", "moderated")),
        *((reason, "incomplete") for reason in ("cost_limit", "thinking_budget")),
    ],
)
def test_reasons_of_their_own(reason: str, meaning: str) -> None:
    """A reason that no table knows means what is in it, filters before lengths, and those before errors."""
    assert meaning_of(reason) == meaning
    assert meaning_of(f"{reason}: x") == meaning


@pytest.mark.parametrize(
    "reason", ["room", "blocky", "asterisk", "stop_token", "skilled", "<|im_end|>", "lostandfound"]
)
def test_parts_of_other_words_mean_nothing(reason: str) -> None:
    """What a stem is only a part of."""
    assert meaning_of(reason) is None


@pytest.mark.parametrize(
    "reason", ["stop", "STOP", "eos_token", "end_turn", "tool_calls", "function_call", "tired", "!"]
)
def test_other_reasons_are_ends(reason: str) -> None:
    """What nobody knows is an end as it should be, and is told as it came."""
    assert meaning_of(reason) is None
    assert flag_of(reason) is None
    assert finish_of({"finish_reason": reason}, PATH) == reason


@pytest.mark.parametrize("said", [None, "", "null", "None", {}, {"type": None}, {"type": "null"}])
def test_no_reason(said: Any) -> None:
    """These are none."""
    assert finish_of({"finish_reason": said}, PATH) is None


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("network_error", "network_error"),
        ("ABORT", "ABORT"),
        ({"type": "abort", "message": "Scheduler was killed"}, "Scheduler was killed"),
        ({"type": "error"}, "error"),
        (7, "no text"),
        (["stop"], "no text"),
        ({"type": 7}, "no text"),
    ],
)
def test_broken_off(said: Any, words: str) -> None:
    """Tried again, and told."""
    with pytest.raises(AttemptError) as caught:
        finish_of({"finish_reason": said}, PATH)
    assert caught.value.failure.kind is FailureClass.TRANSIENT
    assert words in caught.value.failure.message


def test_an_error_beside_a_reason_wins() -> None:
    """An error inside a choice is what became of it."""
    with pytest.raises(AttemptError, match="provider left"):
        finish_of({"finish_reason": "stop", "error": {"message": "provider left"}}, PATH)
