"""Tables of answers that run away, and of answers that only look so."""

from __future__ import annotations

import base64
import random

import orjson
import pytest

from batcher.exchange.guard import BLANK, LONGEST, REPEATED, TIMES, repeats, runs_away, tail
from batcher.outcome import Choice, Completion

RNG = random.Random(7)
PARAGRAPH = "I apologise for the confusion; let me look at the question once more and try again, step by step. "

LOOPS = {
    "one character": "@" * REPEATED,
    "a word, after an answer": "The answer is 4. " + "ha " * 1400,
    "a phrase, cut in the middle": "I will try again. " * 300 + "I will t",
    "a paragraph": PARAGRAPH * TIMES,
    "a piece that repeats inside": (PARAGRAPH + "ha " * 30) * TIMES,
    "the longest piece": ("".join(RNG.choices("abcdefgh ", k=LONGEST))) * TIMES,
    "new lines and blanks without order": '{"a": 1' + "".join(RNG.choices(" \n\t", k=BLANK)),
    "more equal numbers than a list has": "[" + "0, " * 1400,
    "Chinese": "我不知道。" * 900,
    "tokens that mean nothing": "\ufffd" * 5000,
}

SANE = {
    "nothing": "",
    "prose": " ".join(RNG.choices(PARAGRAPH.split(), k=3000)),
    "counting": "\n".join(map(str, range(1, 3000))),
    "a numbered list of equal items": "\n".join(f"{n}. yes" for n in range(2000)),
    "a ruler after much": "prose " * 10 + "=" * 2000,
    "the rows of an empty table": "| " + " | ".join("abcdef") + " |\n" + "|   |   |   |   |   |   |\n" * 60,
    "ASCII art with a blank side": "\n".join(" " * 1900 + "#" * n for n in range(1, 40)),
    "a blank screen": ("x" * 80 + "\n") * 5 + (" " * 80 + "\n") * 25,
    "code, deeply indented": "\n".join(" " * (n % 60) + f"if x == {n}:" for n in range(400)),
    "base64": base64.b64encode(RNG.randbytes(20_000)).decode(),
    "a list of zeros": orjson.dumps([0] * 1300).decode(),
    "a matrix of zeros": orjson.dumps([[0] * 40] * 40, option=orjson.OPT_INDENT_2).decode()[:REPEATED],
    "an identity": orjson.dumps([[int(i == j) for i in range(60)] for j in range(60)]).decode(),
    "nearly white space": " " * (BLANK - 1),
    "nearly a repetition": "ab" + "x" * (REPEATED - 1),
    "a paragraph, not often enough": PARAGRAPH * (TIMES - 1),
    "a piece that is too long": ("".join(RNG.choices("abcdefgh ", k=LONGEST + 1))) * TIMES,
}


@pytest.mark.parametrize("name", LOOPS)
def test_a_loop_is_known_by_its_tail(name: str) -> None:
    """Whatever came before, and wherever it is looked at."""
    text = LOOPS[name]
    assert repeats(text)
    assert repeats("Well: " + text)


@pytest.mark.parametrize("name", SANE)
def test_what_people_ask_for_is_left_alone(name: str) -> None:
    """At no point of its growth is it taken for a loop."""
    text = SANE[name]
    assert [end for end in range(len(text), 0, -97) if repeats(text[:end])] == []


def test_a_loop_that_was_left_is_none() -> None:
    """Only the tail counts: an answer that found its way out is an answer."""
    assert not repeats("ha " * 3000 + "and so it ends, after all of that laughing.")


LOOP = ["ha "] * 2000


@pytest.mark.parametrize(
    ("choices", "runs"),
    [
        ([], False),
        ([Choice(texts=LOOP)], True),
        ([Choice(thoughts=LOOP)], True),
        ([Choice(texts=["Well."], thoughts=LOOP)], False),
        ([Choice(texts=LOOP, finish_reason="stop")], False),
        ([Choice(texts=LOOP), Choice(texts=["fine"])], False),
        ([Choice(texts=LOOP), Choice(texts=["fine"], finish_reason="stop")], True),
        ([Choice(tool_calls=[{"index": 0, "function": {"arguments": '{"x": "' + "".join(LOOP)}}])], True),
        ([Choice(texts=LOOP, tool_calls=[{"function": {"arguments": {"x": 1}}}])], False),
        ([Choice(texts=LOOP, tool_calls=[{"type": "other"}])], False),
    ],
)
def test_an_answer_runs_away_if_all_that_grows_of_it_does(choices: list[Choice], *, runs: bool) -> None:
    """Choices that have ended count no more; what was said last counts: thinking, then text, then a tool call."""
    assert runs_away(Completion(choices=dict(enumerate(choices)))) is runs


def test_the_tail_reaches_far_enough() -> None:
    """With four characters a token, the longest repetition is seen whole."""
    assert len(tail(Choice(texts=["word"] * 20_000))) == LONGEST * TIMES
