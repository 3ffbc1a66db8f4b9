"""Result and error lines: their fields, their order, their schema, and that nothing keeps them from being written."""

from __future__ import annotations

import json
import math
import struct
from base64 import b64encode
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import example, given, strategies as st
from jsonschema import Draft202012Validator

from batcher import codec
from batcher.failures import Failure, FailureClass, LineError
from batcher.inputs.formats.jsonl import refused
from batcher.inputs.formats.lines import Line
from batcher.ledger.lines import PARTIAL_LIMIT, error_line, neutral_tool_call, pack_lines, result_line
from batcher.ledger.recovery import identify, parse
from batcher.outcome import Choice, Completion, Result, ServerTimes, Timing, Usage
from batcher.redaction import Redactor, Secret

DOCS = Path(__file__).parents[2] / "docs"
SCHEMA = json.loads((DOCS / "results.schema.json").read_text())
VALIDATOR = Draft202012Validator(SCHEMA)


def answer(**fields: Any) -> Completion:
    return Completion(choices={0: Choice(texts=["Hel", "lo"], finish_reason="stop")}, **fields)


def result(completion: Completion | None = None, **fields: Any) -> Result:
    fields = {"id": "q1", "seq": 0, "hash": "0123456789abcdef", **fields}
    return Result(completion=completion, **fields)


def full() -> Result:
    """A result that has every part an answer in text can have."""
    completion = answer(
        usage=Usage(31, 5, 2, 8), server=ServerTimes(0.0, 0.05, 2.6, 2.7), served_model="m:latest", flags=["truncated"]
    )
    first = completion.first
    first.thoughts = ["Hm."]
    first.tool_calls = [{"id": "c1", "function": {"index": 0, "name": "f", "arguments": {"a": 1}}}]
    first.logprobs = [{"token": "Hel", "logprob": -0.1}]
    first.refusals = ["No."]
    completion.choices[1] = Choice(texts=["Hi"], finish_reason="length")
    timing = Timing(
        started_at=1700000000.1234, started=10.0, finished=12.9, waited=0.25, arrivals=[10.2, 10.3, 10.6, 12.2]
    )
    return result(
        completion,
        model="m",
        path="/api/chat",
        timing=timing,
        attempts=2,
        server="http://127.0.0.1:11434",
        pack=(0, 4),
        raw={"done": True},
        meta={"row": 7},
        image=["a.png"],
    )


def written(line: bytes) -> dict[str, Any]:
    """The line read back by a strict parser, after it has passed the schema."""
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    record: dict[str, Any] = json.loads(line, parse_constant=pytest.fail)
    VALIDATOR.validate(record)
    return record


def test_full_line() -> None:
    """Every part of a result is on its line, in the documented order and units."""
    record = written(result_line(full()))
    assert ",".join(record) == (
        "id,seq,hash,model,endpoint,text,thinking,tool_calls,refusal,finish_reason,logprobs,choices,image,flags,usage,"
        "timing,attempts,server,served_model,pack,raw,meta"
    )
    assert record["timing"] == {
        "started_at": "2023-11-14T22:13:20.123Z",
        "waited_s": 0.25,
        "ttft_s": 0.2,
        "itl_p50_s": 0.3,
        "itl_p95_s": 1.6,
        "total_s": 2.9,
        "tokens_per_s": 2.0,
        "server": {"load_s": 0.0, "prompt_eval_s": 0.05, "eval_s": 2.6, "total_s": 2.7},
    }
    assert record["usage"] == {"prompt_tokens": 31, "completion_tokens": 5, "reasoning_tokens": 2, "cached_tokens": 8}
    assert [(c["index"], c["text"], c["finish_reason"]) for c in record["choices"]] == [
        (0, "Hello", "stop"),
        (1, "Hi", "length"),
    ]
    assert record["pack"] == {"place": 0, "size": 4}


def test_prefix() -> None:
    """A line begins with id, seq and hash, so that a scan needs no JSON parser."""
    assert result_line(full()).startswith(b'{"id":"q1","seq":0,"hash":"0123456789abcdef",')


def test_empty_fields_are_absent() -> None:
    """What a result does not have is not on its line; the text of an answer always is."""
    assert written(result_line(result(Completion(choices={0: Choice()})))) == {
        "id": "q1",
        "seq": 0,
        "hash": "0123456789abcdef",
        "text": "",
    }


def test_served_model_only_if_another() -> None:
    """The server's name for the model is written if it differs from the one asked for."""
    assert "served_model" not in written(result_line(result(answer(served_model="m"), model="m")))


@pytest.mark.parametrize(
    ("arrivals", "tokens", "present"),
    [
        ([], 5, set()),
        ([1.0], 5, {"ttft_s"}),
        ([1.0, 1.0], 5, {"ttft_s", "itl_p50_s", "itl_p95_s"}),
        ([1.0, 2.0], 1, {"ttft_s", "itl_p50_s", "itl_p95_s"}),
    ],
)
def test_no_made_up_times(arrivals: list[float], tokens: int, present: set[str]) -> None:
    """A time or speed that cannot be told from the marks is absent, not zero and not infinite."""
    completion = answer(usage=Usage(completion_tokens=tokens))
    record = written(result_line(result(completion, timing=Timing(started=0.5, finished=3.0, arrivals=arrivals))))
    assert set(record["timing"]) - {"started_at", "waited_s", "total_s"} == present


@pytest.mark.parametrize("when", [math.nan, math.inf, 1e30, -1e30])
def test_time_beyond_the_calendar(when: float) -> None:
    """A clock gone wild does not cost the answer."""
    record = written(result_line(result(answer(), timing=Timing(started_at=when))))
    assert record["timing"]["started_at"].startswith("1970-01-01T00:00:00.")


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        ({"function": {"name": "f", "arguments": {"a": 1}}}, {"a": 1}),
        ({"index": 0, "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}, {"a": 1}),
        ({"function": {"name": "f", "arguments": '{"a":'}}, '{"a":'),
        ({"function": {"name": "f", "arguments": "[1]"}}, "[1]"),
        ({"function": {"name": "f"}}, {}),
    ],
)
def test_tool_calls_have_one_form(call: dict[str, Any], arguments: Any) -> None:
    """Both APIs' tool calls look alike; arguments that are no object stay as the model wrote them."""
    assert neutral_tool_call({"id": "c1", **call}) == {
        "id": "c1",
        "type": "function",
        "function": {"name": "f", "arguments": arguments},
    }


def test_parsed() -> None:
    """JSON that was asked for is on the line as a value."""
    completion = Completion(choices={0: Choice(texts=['{"a":', "[1]}"])})
    assert "parsed" not in written(result_line(result(completion)))
    completion.parsed = {"a": [1]}
    assert written(result_line(result(completion)))["parsed"] == {"a": [1]}


VECTOR = [0.5, -1.25, 3.0]
PACKED = b64encode(struct.pack("<3f", *VECTOR)).decode()


@pytest.mark.parametrize("vector", [VECTOR, PACKED])
def test_vectors(vector: Any) -> None:
    """Vectors are written as asked for, however they arrived; a list of inputs has a list of vectors."""
    one = result(Completion(vectors=[vector]))
    assert written(result_line(one))["embedding"] == VECTOR
    assert written(result_line(one, base64=True))["embedding"] == PACKED
    one.many = True
    assert written(result_line(one))["embeddings"] == [VECTOR]
    assert "text" not in written(result_line(one))


def test_strange_vector_is_kept() -> None:
    """A vector that cannot be converted is written as it came."""
    assert json.loads(result_line(result(Completion(vectors=["no base64!"]))))["embedding"] == "no base64!"
    assert json.loads(result_line(result(Completion(vectors=[[None]])), base64=True))["embedding"] == [None]


def test_images() -> None:
    """One image is a path, several are a list of paths."""
    assert written(result_line(result(Completion(), image=["a.png"])))["image"] == "a.png"
    assert written(result_line(result(Completion(), image=["a.png", "b.png"])))["images"] == ["a.png", "b.png"]


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


STRAYS: dict[str, Any] = {
    "lone surrogate": "\ud83d",
    "beyond 64 bits": 2**70,
    "thousands of digits": 10**6000,
    "NaN": math.nan,
    "infinity and a surrogate": [math.inf, "\ud83d"],
    "deep": deep(300),
    "deeper than the stack": deep(5000),
    "key that is no text": {1: 2},
    "set": {1, 2},
    "bytes": b"x",
    "null and booleans beside a surrogate": [None, True, 1.5, "\ud83d"],
}


@pytest.mark.parametrize("stray", STRAYS.values(), ids=list(STRAYS))
def test_nothing_keeps_a_result_from_being_written(stray: Any) -> None:
    """Whatever a server or a caller put into a result, a line of strict JSON comes out with the rest intact."""
    record = written(result_line(result(answer(), meta={"stray": stray, "kept": 1})))
    assert record["text"] == "Hello"
    assert record["meta"]["kept"] == 1


@pytest.mark.parametrize(
    ("texts", "shown"),
    [
        (["a\ud83d"], "a\ufffd"),
        (["\ude00b"], "\ufffdb"),
        (["a\ud83d", "\ude00b"], "a😀b"),
        (["\ude00\ud83d"], "\ufffd\ufffd"),
    ],
    ids=["first half", "second half", "halves in two records", "halves the wrong way round"],
)
def test_halves_of_characters(texts: list[str], shown: str) -> None:
    """Halves that belong together are joined; one alone is replaced, since no strict parser would read the line."""
    line = result_line(result(Completion(choices={0: Choice(texts=texts)}, parsed={texts[0]: texts})))
    assert orjson.loads(line)["text"] == shown


HOSTILE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=()), max_size=20)
    | st.sampled_from(
        ["\ud800", "\udfff", '{"id":"x","seq":0,"hash":"0123456789abcdef"}', "\n", "\u2028", "}\n{", "\0"]
    ),
    lambda values: (
        st.lists(values, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=()), max_size=8), values, max_size=4)
    ),
    max_leaves=12,
)


@given(value=HOSTILE, ident=st.text(min_size=1, max_size=12), redacted=st.booleans())
def test_every_line_that_is_written_is_read_back(value: Any, ident: str, *, redacted: bool) -> None:
    """Whatever a server answers, the line is one line, and the readers find the job and its hash in it."""
    choice = Choice(texts=[str(value)], thoughts=["\ud83d"], tool_calls=[{"id": "c", "function": {"arguments": value}}])
    made = result(
        Completion(choices={0: choice}, parsed=value, served_model=str(value)), id=ident, meta=value, raw={"v": value}
    )
    line = result_line(made, redactor=Redactor([Secret("canary0123456789" if not redacted else "0123456789abcdef")]))
    assert line.count(b"\n") == 1
    assert parse(line) == (ident, "0123456789abcdef")
    found = identify(line)
    assert found is not None
    assert [part.decode() if isinstance(part, bytes) else part for part in found] == [ident, "0123456789abcdef"]


def test_redaction_leaves_what_is_not_said_by_a_server() -> None:
    """A key of digits is in ids, hashes, times and the user's own words as well; only the server's texts lose it."""
    key = "12345678"
    made = full()
    made.id, made.hash, made.meta, made.seq = f"job-{key}", f"{key}deadbeef", {"order": key, "n": int(key)}, int(key)
    assert made.completion is not None
    made.completion.first.texts = [f"It is {key}."]
    made.completion.usage = Usage(int(key), 5)
    record = written(result_line(made, redactor=Redactor([Secret(key)])))
    assert (record["id"], record["hash"], record["seq"]) == (f"job-{key}", f"{key}deadbeef", int(key))
    assert record["meta"] == {"order": key, "n": int(key)}
    assert record["usage"]["prompt_tokens"] == int(key)
    assert record["text"] == "It is ***."


@pytest.mark.parametrize("key", ["true,true", "0.25000000", '":"hello"', "null,null", "},{}[]:,"])
def test_a_key_that_looks_like_json_breaks_no_line(key: str) -> None:
    """A key is taken out of texts, never out of what stands around them."""
    made = full()
    assert made.completion is not None
    made.completion.parsed = [True, True, None, None]
    record = written(result_line(made, redactor=Redactor([Secret(key)])))
    assert record == written(result_line(made))


def test_a_key_is_not_cut_in_two() -> None:
    """Partial text is clipped, and may break off: neither end of a key is left of it."""
    key = "canary0123456789abcdef"
    for text in ("x" * (PARTIAL_LIMIT - 5) + key, f"so far: {key[:12]}"):
        failed = result(Completion(choices={0: Choice(texts=[text])}), failure=Failure(FailureClass.SUSPECT, "c", "m"))
        assert key[:8] not in error_line(failed, redactor=Redactor([Secret(key)])).decode()


def test_halves_of_characters_in_meta_and_its_names() -> None:
    """Those that belong together are their character, and one that is alone U+FFFD: no reader takes a half back."""
    texts = ["a\ud83d", "\ude00b\ud83d"]
    line = result_line(result(Completion(choices={0: Choice(texts=texts)}), meta={"\ud83d": "\ude00"}))
    assert orjson.loads(line)["text"] == "a😀b\ufffd"
    assert orjson.loads(line)["meta"] == {"\ufffd": "\ufffd"}


@pytest.mark.parametrize("digits", [20, 22, 309, 4300, 4301, 100_000])
def test_long_integers_keep_their_digits(digits: int) -> None:
    """Of any length, in `meta`, `parsed` and the arguments of tools, also where Python makes no integer of them."""
    number = b"-" + b"7" * digits
    arguments = (b'{"n":%s}' % number).decode()
    call = {"function": {"name": "f", "arguments": arguments}}
    completion = Completion(choices={0: Choice(texts=["x"], tool_calls=[call])}, parsed=codec.loads(number))
    line = result_line(result(completion, meta=codec.loads(b"[%s]" % number)))
    assert line.count(b":%s" % number) == 2
    assert b'"meta":[%s]' % number in line
    assert parse(line) is not None


def test_error_line() -> None:
    """A failed job's line says where, why, how often, and what had arrived."""
    failure = Failure(FailureClass.TRANSIENT, "server_error", "é" * 2000, status=500)
    failed = result(
        answer(),
        failure=failure,
        model="m",
        path="/api/chat",
        attempts=3,
        seq=4,
        server="http://h",
        meta=[1],
        timing=Timing(1700000000.0, 0.0, 1.5),
    )
    record = written(error_line(failed))
    assert ",".join(record) == "id,seq,line,error,model,endpoint,attempts,server,partial,at,meta"
    assert (record["seq"], record["line"], record["partial"], record["at"]) == (
        4,
        5,
        "Hello",
        "2023-11-14T22:13:21.500Z",
    )
    assert record["error"] == {"class": "transient", "code": "server_error", "status": 500, "message": "é" * 1024}
    assert written(error_line(failed, at=0.0))["at"] == "1970-01-01T00:00:00.000Z"


def test_partial_text_is_bounded() -> None:
    """Partial text is cut at 64 KiB, between characters."""
    completion = Completion(choices={0: Choice(texts=["x", "€" * 30000])})
    failed = result(completion, failure=Failure(FailureClass.TRANSIENT, "truncated", "cut"))
    partial = written(error_line(failed))["partial"]
    assert partial == "x" + "€" * ((65536 - 1) // 3)


@pytest.mark.parametrize(("data", "wanted"), [(b"{", "h:"), (None, "line:4")])
def test_refused_line(data: bytes | None, wanted: str) -> None:
    """A line that is no job has an error line under its own id, else one made of its bytes, else of its number."""
    error = LineError("input_invalid", "broken")
    record = written(error_line(refused(error, Line(3, 90, data)), at=1.0))
    assert record["id"].startswith(wanted)
    assert record["line"] == 4
    assert record["error"] == {"class": "permanent", "code": "input_invalid", "message": "broken"}
    error.id = "own"
    assert refused(error, Line(3, 90, data)).id == "own"


def test_every_field_is_documented() -> None:
    """Each field of the schema, at any depth, stands in docs/results.md."""
    text = (DOCS / "results.md").read_text()
    names: set[str] = set()

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            names.update(node.get("properties", {}))
            for child in node.values():
                walk(child)
        elif isinstance(node, list):
            for child in node:
                walk(child)

    walk(SCHEMA)
    assert len(names) > 40
    assert {name for name in names if f"`{name}`" not in text} == set()


def test_schema_is_strict() -> None:
    """The schema is itself valid, refuses unknown fields, and takes no line for both kinds."""
    Draft202012Validator.check_schema(SCHEMA)
    record = json.loads(result_line(full()))
    assert not VALIDATOR.is_valid({**record, "surprise": 1})
    assert not VALIDATOR.is_valid({**record, "error": {}})


@given(
    idents=st.lists(st.text(st.characters(exclude_categories=()), max_size=12), min_size=1, max_size=5),
    model=st.text(max_size=8),
    flags=st.sampled_from([(), ["input_truncated"]]),
    told=st.sampled_from([(), ("prompt_tokens",), ("prompt_tokens", "completion_tokens", "cached_tokens")]),
    odd=st.sampled_from(
        ["nothing", "meta", "columns", "vector", "key", "half a character", "first", "last told", "first told"]
    ),
)
@example(idents=["a", "b"], model="m", flags=[], told=("prompt_tokens",), odd="first told")
@example(idents=["a", "b"], model="m", flags=[], told=("prompt_tokens",), odd="last told")
def test_lines_of_a_pack_are_those_of_its_jobs(
    idents: list[str], model: str, flags: list[str], told: tuple[str, ...], odd: str
) -> None:
    """Made in one go or one by one, they are the same bytes, whatever is a job's own in them."""
    timing = Timing(started_at=1e9, started=1.0, finished=1.25, waited=0.5)
    served = "100% \ud800" if odd == "half a character" else "100% canary0123456789"
    results = [
        Result(
            id=ident,
            seq=seq,
            hash=f"{seq:016x}",
            model=model,
            path="/v1/embeddings",
            completion=Completion(
                vectors=[[0.5, 1.0]],
                usage=Usage(**dict.fromkeys(told, seq * 3)) if told else None,
                served_model=served,
                flags=flags,
            ),
            timing=timing,
            attempts=1,
            server="http://127.0.0.1:1",
            pack=(seq, len(idents)),
            vector=(seq * 7, seq * 99),
        )
        for seq, ident in enumerate(idents)
    ]
    last = results[-1]
    if odd == "meta":
        last.meta = {"%d": 1}
    elif odd == "columns":
        last.columns = {"a": 1}
    elif odd == "vector":
        last.vector = None
    elif odd == "first":
        results[0].completion = None
    elif odd in ("last told", "first told"):
        untold = (results[0] if odd == "last told" else last).completion
        assert untold is not None
        untold.usage = None
    redactor = Redactor([Secret("canary0123456789")] if odd == "key" else [])
    lines = pack_lines(results, redactor=redactor)
    assert lines == [result_line(one, redactor=redactor) for one in results]
    assert odd != "key" or b"canary" not in b"".join(lines)
