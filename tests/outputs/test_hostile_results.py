"""A results file may come from somebody else: whatever stands in its fields, each format is written or says why not."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings, strategies as st
from support.resultfiles import Files, result

from batcher.inputs.formats.defaults import Defaults
from batcher.ledger.sound import sound
from batcher.outcome import LONGEST_S, MOST
from batcher.outputs.arrays import _named
from batcher.outputs.measurements import COLUMNS, _row
from batcher.view.statistics.measures import measures_of

if TYPE_CHECKING:
    from collections.abc import Mapping


@pytest.mark.parametrize("value", [0, MOST, MOST + 1, -1, True, 1.0, "1", None, 1 << 80])
def test_one_rule_of_counts(value: Any) -> None:
    """What is taken for a count of tokens is so in tables, in statistics, and in a row a request."""
    expected = value if type(value) is int and 0 <= value <= 10**12 else None
    record = {"usage": {"prompt_tokens": value}, "attempts": value}
    assert sound(record)["usage"].get("prompt_tokens") == expected
    assert measures_of(record).prompt_tokens == expected
    row = dict(zip(COLUMNS, _row(record, None), strict=True))
    assert (row["prompt_tokens"], row["attempts"]) == (expected, expected)


@pytest.mark.parametrize(
    "value", [0, 0.5, LONGEST_S, 2 * LONGEST_S, -0.1, float("inf"), float("nan"), True, "1", 1 << 80]
)
def test_one_rule_of_times(value: Any) -> None:
    """The same for seconds and rates."""
    expected = value if type(value) in (int, float) and 0 <= value <= 1e9 else None
    record = {"timing": {"total_s": value}}
    assert sound(record)["timing"].get("total_s") == expected
    assert measures_of(record).total == expected
    assert dict(zip(COLUMNS, _row(record, None), strict=True))["total_s"] == expected


FULL: Mapping[str, Any] = {
    "hash": "0123456789abcdef",
    "model": "m",
    "served_model": "m-1",
    "endpoint": "/v1/responses",
    "server": "http://h/v1",
    "thinking": "hm",
    "refusal": "no",
    "finish_reason": "stop",
    "flags": ["incomplete"],
    "logprobs": [{"token": "a", "logprob": -0.1}],
    "parsed": {"a": 1},
    "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": {"x": 1}}}],
    "choices": [{"index": 0, "text": "a", "finish_reason": "stop"}],
    "turns": [{"text": "a"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 2, "cached_tokens": 1},
    "timing": {"started_at": "2026-11-22T20:11:03.120Z", "total_s": 0.3, "server": {"load_s": 0.1}},
    "columns": {"a": 1},
    "embedding": [0.1, 0.2],
    "error": {"class": "transient", "code": "http_500", "status": 500, "message": "broken"},
    "attempts": 1,
    "image": "a.png",
}
"""A line with a field of each name, as batcher writes them."""
PATHS = ("/api/chat", "/v1/completions", "/v1/responses", "/v1/embeddings", "/api/embed", "/v1/chat/completions")
FORMATS = ("csv", "json", "parquet", "arrow", "sqlite", "openai-batch", "messages")
NO_JSON = (b'"timing":{"total_s":1e999}}', b'"text":NaN}', b'"text":' + b"[" * 2000 + b"]" * 2000 + b"}")
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(1 << 70), 1 << 70), st.floats(allow_nan=False), st.text(max_size=8),
    st.sampled_from(["9999-99-99T99:99:99Z", "0001-01-01T00:00:00", "\x1b[2J\0", "=1+1"]),
)  # fmt: skip
NAMES = st.sampled_from(
    ["text", "function", "arguments", "name", "id", "status", "message", "a", "started_at", "total_s"]
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=5
)
CHANGES = st.dictionaries(st.sampled_from(sorted(FULL.keys() - {"hash"})), VALUES, max_size=4)  # it marks a result
"""What others put in the place of what batcher wrote, by the field."""


@st.composite
def records(draw: st.DrawFn) -> dict[str, Any]:
    """Some fields of a line, some of them as nobody wrote them."""
    names = draw(st.sets(st.sampled_from(sorted(FULL))))
    fields = {name: FULL[name] for name in FULL if name in names} | draw(CHANGES)
    if draw(st.booleans()):
        fields["endpoint"] = draw(st.sampled_from(PATHS))
    if type(fields.get("error")) is not dict:  # it marks a failure
        fields.pop("error", None)
    return fields


@pytest.mark.hypothesis
@pytest.mark.parametrize("form", FORMATS)
@given(lines=st.lists(records(), min_size=1, max_size=4), has_input=st.booleans())
@settings(max_examples=40)
def test_any_value_of_any_field(form: str, lines: list[dict[str, Any]], *, has_input: bool) -> None:
    with TemporaryDirectory() as place:
        files = Files(Path(place))
        count = len(lines)
        files.input({"id": f"r{seq}", "prompt": "x"} for seq in range(count))
        files.results(result(seq, f"r{seq}") | fields for seq, fields in enumerate(lines) if "error" not in fields)
        files.errors(result(seq, f"r{seq}") | fields for seq, fields in enumerate(lines) if "error" in fields)
        name = f"sqlite:{place}/a.db" if form == "sqlite" else "a"
        source = "in.jsonl" if has_input or form == "messages" else None
        written = files.export(name, form, source=source, defaults=Defaults(model="m"))
        assert written.rows + written.failures + written.left_out <= count


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    "rest", [b'"timing":{"total_s":1e999}}', b'"text":NaN}', b'"text":' + b"[" * 2000 + b"]" * 2000 + b"}"]
)
def test_lines_that_json_cannot_hold(tmp_path: Path, form: str, rest: bytes) -> None:
    files = Files(tmp_path)
    files.input({"id": f"r{seq}", "prompt": "x"} for seq in range(2))
    files.results([result(0, "r0")])
    with (tmp_path / "r.jsonl").open("ab") as file:
        file.write(b'{"id":"r1","seq":1,"hash":"0123456789abcdef",' + rest + b"\n")
    name = f"sqlite:{tmp_path}/a.db" if form == "sqlite" else "a"
    source = "in.jsonl" if form == "messages" else None
    assert files.export(name, form, source=source, defaults=Defaults(model="m")).rows == 1


@given(record=records())
def test_what_is_sound_stays(record: dict[str, Any]) -> None:
    once = sound(record)
    assert sound(once) == once
    assert once.keys() <= record.keys()


def test_what_batcher_writes_is_sound() -> None:
    assert sound(FULL) == FULL


@pytest.mark.parametrize("vector", [{}, 5, *({"row": row, "crc32": 1} for row in ("x", -1, 1 << 70, None, 1.0))])
def test_rows_of_a_store_that_nobody_wrote(vector: Any) -> None:
    assert _named({"vector": vector}) is None
