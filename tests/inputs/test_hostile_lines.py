"""Lines that came from somebody else: none costs much more than its bytes, and none says what the run says."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING

import orjson
import pytest

from batcher.failures import LineError, UsageError
from batcher.inputs.formats import parameters, parse_job
from batcher.inputs.formats.defaults import Defaults
from batcher.inputs.formats.parameters import OURS, nearest_key, split_parameters, unknown_keys_warning
from batcher.options import Options
from batcher.running.wiring import defaults_for

if TYPE_CHECKING:
    from collections.abc import Callable

VALUES = 1 << 20


@pytest.mark.parametrize("key", OURS)
@pytest.mark.parametrize("line", [{"prompt": "x"}, {"messages": [{"role": "user", "content": "x"}]}, {"input": "x"}])
def test_params_say_nothing_that_is_ours(key: str, line: dict[str, object]) -> None:
    """They would be sent over what the line and the run say, and the results would tell of the latter."""
    with pytest.raises(LineError, match=key) as caught:
        parse_job(orjson.dumps({"id": "a", **line, "params": {"x": 1, key: "y"}}), 0, Defaults(model="cheap"))
    assert caught.value.id == "a"
    assert OURS[key] in caught.value.message
    with pytest.raises(UsageError, match=f"--param: .*{key}"):
        defaults_for(Options.of({"params": {key: "y"}}), {}, None, "-")


def test_other_body_fields_go_as_they_are() -> None:
    """What batcher does not say itself is the line's to say."""
    extra = {"safe_prompt": True, "model_kwargs": {"model": "m"}, "streaming": 1}
    job = parse_job(orjson.dumps({"prompt": "x", "params": extra}), 0, Defaults(model="m"))
    assert job.extra == extra
    assert split_parameters(extra) == ({}, extra)


@pytest.mark.parametrize(
    "meta",
    [
        lambda: b"[" + b"{}," * VALUES + b"0]",
        lambda: b"[" + b"0," * (VALUES + 9) + b"0]",
        lambda: b"[" + b'"",' * (VALUES + 9) + b'""]',
        lambda: b'{"\\\\":' + b"[[],[]]," * VALUES + b"0}",
        lambda: b"[" * 2_000_000,
    ],
    ids=["empty objects", "numbers", "empty texts", "behind an escape", "brackets alone"],
)
def test_a_line_of_too_many_values(meta: Callable[[], bytes]) -> None:
    """It is refused before it is read, in the memory of its bytes."""
    line = b'{"id":"a","prompt":"x","meta":' + meta() + b"}"
    tracemalloc.start()
    try:
        with pytest.raises(LineError, match="more than 1,048,576 values") as caught:
            parse_job(line, 0, Defaults())
        assert tracemalloc.get_traced_memory()[1] < 2 * len(line) + 100_000_000
    finally:
        tracemalloc.stop()
    assert caught.value.code == "line_too_large"


@pytest.mark.parametrize(
    "text",
    [
        "," * 3_000_000,
        "[{" * 1_000_000,
        '\\",' * 1_000_000,
        "\\\\\\\\" * 999_999 + "," * 1_100_000,
        '[\\"{}\\"],' * 300_000,
    ],
    ids=["commas", "brackets", "escaped quotes", "backslashes", "JSON in a text"],
)
def test_a_long_text_is_no_structure(text: str) -> None:
    """Tables and code are full of commas and brackets: what stands in a text is not counted."""
    job = parse_job(b'{"prompt":"' + text.encode() + b'","meta":[1,2]}', 0, Defaults())
    assert job.meta == [1, 2]


def test_misspelt_keys_are_looked_at_for_a_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A megabyte of keys that mean nothing costs no search for what each of them may have meant."""
    looked: list[str] = []

    def matches(key: str, *_: object, **__: object) -> list[str]:
        looked.append(key)
        return []

    monkeypatch.setattr(parameters, "get_close_matches", matches)
    keys = {f"promtx{number:06d}": 1 for number in range(60_000)}
    defaults = Defaults()
    with pytest.raises(LineError, match='no "prompt"'):
        parse_job(orjson.dumps(keys), 0, defaults)
    parse_job(orjson.dumps({"prompt": "x", **keys}), 0, defaults)
    warning = unknown_keys_warning(defaults.unknown_keys)
    assert warning is not None
    assert "and 990 more" in warning
    assert len(looked) == 20


def test_a_long_key_is_no_misspelling() -> None:
    """It is neither compared nor kept nor shown whole."""
    defaults = Defaults()
    key = "temperature" * 100_000
    parse_job(orjson.dumps({"prompt": "x", key: 1}), 0, defaults)
    assert nearest_key(key) is None
    assert nearest_key("temprature") == "temperature"
    assert max(map(len, defaults.unknown_keys)) <= 100
    assert len(unknown_keys_warning(defaults.unknown_keys) or "") < 400
