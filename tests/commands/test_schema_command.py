"""Answers that have to fit a schema: what is asked, what is checked, what is asked again, on every path."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest
from support.talkserver import Said, talking

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.commandline import Desk, Ran
    from support.talkserver import TalkServer

pytestmark = pytest.mark.slow

SCHEMA = {
    "type": "object",
    "properties": {"label": {"enum": ["good", "bad"]}, "score": {"type": "integer"}},
    "required": ["label", "score"],
}
GOOD = '{"label": "good", "score": 3}'
PATHS = ("/api/generate", "/api/chat", "/v1/chat/completions", "/v1/completions", "/v1/responses")


def run(desk: Desk, server: TalkServer, *args: str, schema: bool = True, dialect: str = "openai") -> Ran:
    (desk.path / "schema.json").write_bytes(orjson.dumps(SCHEMA))
    asked = ("--schema", "schema.json") if schema else ()
    where = ("--base-url", server.url, "--dialect", dialect, "-m", "m")
    return desk.call("run", "jobs.jsonl", "-o", "results.jsonl", *where, *asked, *args)


def format_in(said: Said) -> Any:
    """The schema as the path has it."""
    body = said.body
    if said.path.startswith("/api/"):
        return body["format"]
    if said.path == "/v1/responses":
        return body["text"]["format"]["schema"]
    return body["response_format"]["json_schema"]["schema"]


def first_wrong(wrong: str) -> Callable[[Said], str]:
    """Answers so, until it is told that this does not fit."""
    return lambda said: GOOD if "cannot be used" in said.words[-1] else wrong


@pytest.mark.parametrize("stream", ["--stream", "--no-stream"])
@pytest.mark.parametrize("path", PATHS)
def test_every_path_is_asked_and_asked_again(desk: Desk, path: str, stream: str) -> None:
    """With the schema in its words; the second time with the answer that did not fit, and why."""
    kind = "messages" if path == "/api/chat" else "input" if path == "/v1/responses" else "prompt"
    content: Any = [{"role": "user", "content": "Judge."}] if kind == "messages" else "Judge."
    desk.write("jobs.jsonl", {"id": "a", "url": path, kind: content})
    with talking(first_wrong('{"label": "fine", "score": 3}')) as server:
        ran = run(desk, server, stream, dialect="native" if path.startswith("/api/") else "openai")
    assert ran.code == 0, ran.err
    (line,) = desk.lines()
    assert (line["parsed"], line["asked_again"], line["attempts"]) == ({"label": "good", "score": 3}, 1, 2)
    assert line["usage"] == {"prompt_tokens": 10, "completion_tokens": 6}
    assert "flags" not in line
    first, second = server.said
    assert [format_in(said) for said in server.said] == [SCHEMA, SCHEMA]
    assert first.words == ["Judge."]
    told = "\n".join(second.words)
    assert "Judge." in told
    assert '"fine"' in told
    assert "label: " in second.words[-1]
    assert orjson.dumps(SCHEMA).decode() in second.words[-1]
    assert (first.path, second.path) == (path, path)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ('{"label": "good"}', '"score" is a required property'),
        ('{"label": "good", "score": "3"}', "score: "),
        ('{"label": "good", "score": 3,}', "a comma stands before }"),
        ('{"label": "good", "score": NaN}', "NaN is not JSON"),
        ("{'label': 'good', 'score': 3}", "single quotes"),
        ('{"label": "good", "sco', "ends in the middle"),
        ("I would say good, with a 3.", "no JSON"),
        ("[1, 2]", "is not of type"),
        (GOOD + "\n" + GOOD, "several JSON values"),
    ],
)
def test_what_does_not_fit_is_told_and_kept(desk: Desk, answer: str, reason: str) -> None:
    """A model that does not learn: a flagged result with the text and the reason; `--fail-on` makes a failure of it."""
    desk.write("jobs.jsonl", {"id": "a", "prompt": "Judge."})
    with talking(lambda _: answer) as server:
        ran = run(desk, server)
        assert ran.code == 0
        assert "a: the first answer that does not fit: " in ran.err
        assert reason in ran.err
        assert "schema_mismatch 1" in ran.err
        (line,) = desk.lines()
        assert "schema_mismatch" in line["flags"]
        assert reason in line["mismatch"]
        assert (line["text"], line["asked_again"], line["attempts"]) == (answer, 2, 3)
        assert "parsed" not in line
        failed = run(desk, server, "--fail-on", "schema_mismatch", "--overwrite", "--schema-retries", "1")
    assert failed.code == 3
    assert desk.errors() == {"a": "schema_mismatch"}
    (error,) = desk.lines("results.errors.jsonl")
    assert reason in error["error"]["message"]
    assert (error["partial"], error["attempts"], error["asked_again"]) == (answer, 2, 1)
    assert error["usage"] == {name: 2 * n // 3 for name, n in line["usage"].items()}  # of two exchanges and of three


@pytest.mark.parametrize(
    "answer",
    [f"```json\n{GOOD}\n```", f"Sure! Here it is:\n```\n{GOOD}\n```\nAnything else?", f"The answer: {GOOD} as asked."],
)
def test_habits_of_models_are_read(desk: Desk, answer: str) -> None:
    desk.write("jobs.jsonl", {"id": "a", "prompt": "Judge."})
    with talking(lambda _: answer) as server:
        assert run(desk, server).code == 0
        assert len(server.said) == 1
    (line,) = desk.lines()
    assert (line["parsed"], line["text"]) == ({"label": "good", "score": 3}, answer)


def test_asking_again_uses_no_retries(desk: Desk) -> None:
    """Nor do retries use any of these; what fails on the way is tried as any other."""
    desk.write("jobs.jsonl", {"id": "a", "prompt": "Judge."})
    with talking(first_wrong("no")) as server:
        assert run(desk, server, "--retries", "0").code == 0
        assert run(desk, server, "--retries", "0", "--schema-retries", "0", "--overwrite").code == 0
    assert "asked_again" not in desk.lines()[0]
    assert "schema_mismatch" in desk.lines()[0]["flags"]


def test_a_conversation_is_asked_again_with_its_pictures_where_they_were(desk: Desk) -> None:
    """The system text first, images on the question and not on the correction, tools and all."""
    picture = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    desk.write("jobs.jsonl", {"id": "a", "prompt": "Judge.", "system": "Be fair.", "images": [picture]})
    with talking(first_wrong("no")) as server:
        assert run(desk, server).code == 0
    messages = server.said[1].body["messages"]
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]
    assert [part["type"] for part in messages[1]["content"]] == ["text", "image_url"]
    assert isinstance(messages[3]["content"], str)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/api/chat"])
def test_a_batch_line_is_asked_for_it_too(desk: Desk, path: str) -> None:
    """Unless it says itself how its answer is to be; then it is not checked."""
    key = "input" if path == "/v1/responses" else "messages"
    body = {key: [{"role": "user", "content": "Judge."}], "model": "m", "text": {"verbosity": "low"}}
    own: dict[str, Any] = {"text": {"format": {"type": "text"}}} if key == "input" else {"format": "json"}
    lines = [{"custom_id": "a", "url": path, "body": body}, {"custom_id": "b", "url": path, "body": {**body, **own}}]
    desk.write("jobs.jsonl", *lines)
    with talking(lambda said: GOOD if "cannot be used" in said.words[-1] else "{}") as server:
        assert run(desk, server, dialect="native" if path.startswith("/api/") else "openai").code == 0
    found = {line["id"]: line for line in desk.lines()}
    assert found["a"]["parsed"] == {"label": "good", "score": 3}
    assert found["b"].get("parsed", {}) == {}
    assert "asked_again" not in found["b"]
    again = next(said for said in server.said if "cannot be used" in said.words[-1])
    assert format_in(again) == SCHEMA
    if key == "input":
        assert again.body["text"]["verbosity"] == "low"


def test_a_line_may_have_a_schema_of_its_own(desk: Desk) -> None:
    """A null has none; a wrong one is its line's error; another schema is another request."""
    desk.write(
        "jobs.jsonl",
        {"id": "own", "prompt": "p", "schema": {"type": "array"}},
        {"id": "none", "prompt": "p", "schema": None},
        {"id": "plain", "prompt": "p", "format": "json"},
        {"id": "wrong", "prompt": "p", "schema": {"type": "strange"}},
        {"id": "run", "prompt": "p"},
    )
    with talking(lambda _: "[1]") as server:
        ran = run(desk, server, "--schema-retries", "0")
    assert ran.code == 3
    found = {line["id"]: line for line in desk.lines()}
    assert (found["own"]["parsed"], found["plain"]["parsed"]) == ([1], [1])
    assert "parsed" not in found["none"]
    assert found["run"]["flags"] == ["schema_mismatch"]
    assert desk.errors() == {"wrong": "schema_invalid"}
    hashes = {line["hash"] for line in found.values()}
    assert len(hashes) == 4


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ("gone.json", "gone.json cannot be read"),
        ('{"type": "strange"}', "this is no JSON Schema: at type: "),
        ('{"type": ', "broken JSON in line 1"),
        ("[]", "a schema is a JSON object, not a list"),
        ('{"$ref": "http://127.0.0.1:9/x"}', "nothing is fetched"),
        ('{"pattern": "("}', "this is no JSON Schema"),
    ],
)
def test_a_wrong_schema_is_told_before_anything_is_sent(desk: Desk, schema: str, words: str) -> None:
    desk.write("jobs.jsonl", {"id": "a", "prompt": "Judge."})
    with talking(lambda _: GOOD) as server:
        ran = run(desk, server, "--schema", schema, schema=False)
        assert (ran.code, server.said) == (2, [])
        assert run(desk, server, "--schema", schema, "--dry-run", schema=False).code == 2
    assert words in ran.err
    assert not (desk.path / "results.jsonl").exists()


def test_json_is_any_object(desk: Desk) -> None:
    """Asked for as each API has it, and checked; with a schema it says two things at once."""
    desk.write("jobs.jsonl", {"id": "a", "prompt": "p"})
    with talking(lambda said: '{"x": 1}' if len(said.words) > 1 else "[1]") as server:
        assert run(desk, server, "--json", schema=False).code == 0
        assert run(desk, server, "--json").code == 2
    assert server.said[0].body["response_format"] == {"type": "json_object"}
    (line,) = desk.lines()
    assert (line["parsed"], line["asked_again"]) == ({"x": 1}, 1)
    assert "it is a list, and no object" in server.said[1].words[-1]


def test_the_table_has_the_schema_s_fields(desk: Desk) -> None:
    """In their order, also where no answer has them yet."""
    desk.write("jobs.jsonl", {"id": 1, "prompt": "p"}, {"id": 2, "prompt": "q"})
    (desk.path / "schema.json").write_bytes(orjson.dumps(SCHEMA))
    with talking(lambda said: GOOD if said.words[0] == "p" else "no") as server:
        where = ("--base-url", server.url, "--dialect", "openai", "-m", "m", "--schema-retries", "0")
        assert desk.call("run", "jobs.jsonl", "-o", "out.json", *where, "--schema", "schema.json").code == 0
    one, two = orjson.loads((desk.path / "out.json").read_bytes())
    assert [*one][:5] == ["id", "prompt", "text", "label", "score"]
    assert (one["label"], one["score"], two["label"], two["mismatch"]) == ("good", 3, None, "the answer is no JSON")
