"""Every endpoint of the table, on servers of both kinds, chosen in every way there is, streamed and whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.commandline import PROJECT
from support.echoserver import echoing

from batcher.simulator import picture, simulator_thread, text, vector

if TYPE_CHECKING:
    from support.commandline import Desk

pytestmark = pytest.mark.slow

NATIVE, OPENAI = "native", "openai"
USER = [{"role": "user", "content": "[[sim id=chat]]"}]
CHAT = {"id": "chat", "messages": USER}
PROMPT = {"id": "prompt", "prompt": "[[sim id=prompt]]"}
INPUT = {"id": "input", "input": "some text"}
INPUTS = {"id": "inputs", "input": ["one text", "two texts"]}
TEXT = {"id": "text", "text": "a column"}
BATCH: list[dict[str, Any]] = [
    {"custom_id": "b-chat", "url": "/v1/chat/completions", "body": {"messages": [{"role": "user", "content": "Hi"}]}},
    {"custom_id": "b-old", "url": "/v1/completions", "body": {"prompt": "b-old"}},
    {"custom_id": "b-resp", "url": "/v1/responses", "body": {"input": "b-resp"}},
    {"custom_id": "b-embed", "url": "/v1/embeddings", "body": {"input": ["one text"]}},
]
BATCH_NATIVE: list[dict[str, Any]] = [
    {"custom_id": "n-chat", "url": "/api/chat", "body": {"messages": [{"role": "user", "content": "Hi"}]}},
    {"custom_id": "n-gen", "url": "/api/generate", "body": {"prompt": "n-gen"}},
    {"custom_id": "n-embed", "url": "/api/embed", "body": {"input": "one text"}},
]


@pytest.mark.parametrize("stream", ["--stream", "--no-stream"])
@pytest.mark.parametrize(
    ("look", "paths"),
    [
        (NATIVE, {"chat": "/api/chat", "prompt": "/api/generate", "input": "/api/embed", "text": "/api/embed"}),
        (
            OPENAI,
            {
                "chat": "/v1/chat/completions",
                "prompt": "/v1/chat/completions",
                "input": "/v1/embeddings",
                "text": "/v1/embeddings",
            },
        ),
    ],
)
def test_a_line_goes_where_its_shape_says(desk: Desk, look: Any, paths: dict[str, str], stream: str) -> None:
    """Without any option, each shape of line is answered by its endpoint of the API that the server speaks."""
    desk.write("jobs.jsonl", CHAT, PROMPT, INPUT, INPUTS, TEXT)
    with simulator_thread(look=look) as sim:
        ran = desk.call(
            "run", "jobs.jsonl", "-o", "results.jsonl", "--base-url", sim.url, "-m", "simulator", "-q", stream
        )
        assert (ran.code, ran.out, ran.err) == (0, "", "")
        assert sim.tally.paths.pop("/props", 0) == (look is OPENAI)  # asks how many slots it has
        assert sim.tally.paths.pop("/", 0) == (look is OPENAI)  # asks whether it is an Ollama
        assert sim.tally.paths.total() == 4  # one of them asks who it is, and texts to embed go together
        streamed = {seen.path: seen.body.get("stream") for seen in sim.tally.log}
    lines = {line["id"]: line for line in desk.lines()}
    assert {name: lines[name]["endpoint"] for name in paths} == paths
    assert lines["chat"]["text"] == text("chat")
    assert lines["prompt"]["text"] == text("prompt")
    assert lines["input"]["embedding"] == pytest.approx(vector("some text"))
    assert lines["inputs"]["embeddings"] == [pytest.approx(vector(one)) for one in ("one text", "two texts")]
    assert lines["text"]["embedding"] == pytest.approx(vector("a column"))
    assert {bool(flag) for path, flag in streamed.items() if "embed" not in path} == {stream == "--stream"}
    assert ("ttft_s" in lines["chat"]["timing"]) == (stream == "--stream")


@pytest.mark.parametrize("stream", ["--stream", "--no-stream"])
@pytest.mark.parametrize(
    ("look", "path", "line"),
    [
        (NATIVE, "/api/chat", PROMPT),
        (NATIVE, "/v1/chat/completions", PROMPT),
        (NATIVE, "/v1/responses", {"id": "prompt", "input": "[[sim id=prompt]]"}),
        (OPENAI, "/v1/completions", PROMPT),
        (OPENAI, "/v1/responses", PROMPT),
    ],
)
def test_an_endpoint_can_be_named_for_the_whole_file(
    desk: Desk, look: Any, path: str, line: dict[str, Any], stream: str
) -> None:
    """With --endpoint all lines go there, and come back as text whatever shape they had."""
    desk.write("jobs.jsonl", line)
    with simulator_thread(look=look) as sim:
        ran = desk.call(
            *("run", "jobs.jsonl", "-o", "results.jsonl", "--base-url", sim.url, "-m", "simulator"),
            *("--endpoint", path, stream),
        )
        assert ran.code == 0, ran.err
        assert sim.tally.paths[path] == sim.counts["prompt"] == 1
    [found] = desk.lines()
    assert (found["endpoint"], found["text"]) == (path, text("prompt"))


@pytest.mark.parametrize(("look", "batch"), [(NATIVE, [*BATCH, *BATCH_NATIVE]), (OPENAI, BATCH)])
def test_openai_batch_lines_name_their_own_endpoint(desk: Desk, look: Any, batch: list[dict[str, Any]]) -> None:
    """A file for OpenAI's batch API runs as it is, native urls in it too; the body is sent as it stands."""
    desk.write("jobs.jsonl", *batch)
    with simulator_thread(look=look) as sim:
        ran = desk.call("run", "jobs.jsonl", "-o", "results.jsonl", "--base-url", sim.url, "-m", "simulator")
        assert ran.code == 0, ran.err
        bodies = {seen.path: seen.body for seen in sim.tally.log}
    assert {line["id"]: line["endpoint"] for line in desk.lines()} == {line["custom_id"]: line["url"] for line in batch}
    for line in batch:
        assert bodies[line["url"]].items() >= line["body"].items()
    texts = {line["id"]: line.get("text") for line in desk.lines()}
    assert texts["b-old"] == text("b-old")
    assert texts["b-resp"] == text("b-resp")


def test_the_sample_jobs_run_as_they_are(desk: Desk) -> None:
    """What stands in jobs/ for newcomers is accepted whole by a server that has the models."""
    with simulator_thread(models=("llama3.2", "nomic-embed-text")) as sim:
        for name in ("hello", "chat", "embed", "tools", "openai-batch"):
            ran = desk.call(
                *("run", PROJECT / f"jobs/{name}.jsonl", "-o", f"{name}.results.jsonl"),
                *("--base-url", sim.url, "-m", "llama3.2"),
            )
            assert ran.code == 0, ran.err
            assert len(desk.lines(f"{name}.results.jsonl")) == (PROJECT / f"jobs/{name}.jsonl").read_text().count("\n")


def test_an_image_becomes_a_file_beside_the_results(desk: Desk) -> None:
    """The line has the path, relative to the results file; ids cannot lead it anywhere else."""
    (desk.path / "out").mkdir()
    desk.write(
        "jobs.jsonl",
        {"id": "cat", "url": "/v1/images/generations", "prompt": "a cat"},
        {"id": "../../dog", "url": "/v1/images/generations", "prompt": "a dog", "n": 2},
    )
    with simulator_thread(look="openai") as sim:
        ran = desk.call(
            "run", "jobs.jsonl", "-o", "out/results.jsonl", "--base-url", f"{sim.url}/v1", "-m", "simulator"
        )
        assert ran.code == 0, ran.err
    lines = {line["id"]: line for line in desk.lines("out/results.jsonl")}
    assert (desk.path / "out" / lines["cat"]["image"]).read_bytes() == picture("a cat")
    paths = lines["../../dog"]["images"]
    files = [(desk.path / "out" / path).resolve() for path in paths]
    assert len(set(files)) == 2
    assert {file.read_bytes() for file in files} == {picture("a dog")}
    assert {file.parent for file in files} == {(desk.path / "out/results.images").resolve()}


def test_an_endpoint_that_the_server_lacks_is_said_so(desk: Desk) -> None:
    """The jobs stay pending, the others are done, and the message names the path and what it means (78)."""
    desk.write("jobs.jsonl", {"id": "cat", "url": "/v1/images/generations", "prompt": "[[sim do=path_missing]]"}, CHAT)
    with simulator_thread() as sim:
        ran = desk.call("run", "jobs.jsonl", "-o", "results.jsonl", "--base-url", sim.url, "-m", "simulator")
    assert ran.code == 78
    assert "does not offer /v1/images/generations" in ran.err
    assert "1 pending" in ran.err
    assert desk.ids() == ["chat"]
    assert desk.errors() == {}


@pytest.mark.parametrize(
    ("dialect", "suffix"),
    [("openai", ""), ("openai", "/v1"), ("native", ""), (None, "/v1"), (None, "/v1/chat/completions")],
)
def test_the_api_can_be_said_or_told_by_the_url(desk: Desk, dialect: str | None, suffix: str) -> None:
    """--dialect overrides, a URL in /v1 speaks the OpenAI API, and neither asks the server who it is, but for slots."""
    desk.write("jobs.jsonl", CHAT)
    with simulator_thread() as sim:
        ran = desk.call(
            *("run", "jobs.jsonl", "-o", "results.jsonl", "--base-url", sim.url + suffix, "-m", "simulator"),
            *(("--dialect", dialect) if dialect else ()),
        )
        assert ran.code == 0, ran.err
        openai = {"/props": 1, "/": 1, "/v1/chat/completions": 1}
        assert dict(sim.tally.paths) == ({"/api/chat": 1} if dialect == "native" else openai)


def test_a_broken_image_is_the_failure_of_its_job(desk: Desk) -> None:
    """An answer that is no base64 costs its own job, not the run."""
    jobs = [{"id": name, "url": "/v1/images/generations", "prompt": name} for name in ("a", "b")]
    desk.write("jobs.jsonl", *jobs)
    with echoing(200, body=b'{"data":[{"b64_json":"AAAAA"}]}') as server:
        ran = desk.call("run", "jobs.jsonl", "-o", "results.jsonl", "--base-url", f"{server.url}/v1", "-m", "m")
    assert ran.code == 3, ran.err
    assert desk.errors() == {"a": "malformed", "b": "malformed"}


@pytest.mark.parametrize("said", [(), ("--keep-alive", "2h")])
def test_how_long_a_model_stays_is_said_with_the_first_request(desk: Desk, said: tuple[str, ...]) -> None:
    """On Ollama, and with that one alone: with others it would hold up another client's model."""
    desk.write("jobs.jsonl", *({"id": f"q{n}", "prompt": f"q{n}"} for n in range(12)))
    with simulator_thread() as sim:
        ran = desk.call("run", "jobs.jsonl", "--base-url", sim.url, "-m", "simulator", "-c", "4", *said)
        assert ran.code == 0, ran.err
        stays = [seen.body.get("keep_alive") for seen in sim.tally.log if seen.path == "/api/generate"]
    assert stays == [said[1] if said else "30m", *[None] * 11]
