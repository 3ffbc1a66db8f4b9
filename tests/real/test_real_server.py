"""batcher and a real llama.cpp server: vectors, refusals, the commands and the sample jobs."""

from __future__ import annotations

import math
from array import array
from base64 import b64decode
from datetime import datetime
from operator import mul
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from support.commandline import PROJECT, Desk
from support.realserver import CONTEXT, MODEL, SLOTS, answers, results_of, serving

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.real, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The base URL of the embedded server, which serves all tests of this file."""
    with serving() as address:
        yield address


def test_a_vector_depends_on_its_own_input_alone(url: str, tmp_path: Path) -> None:
    """Packed, side by side in the server's slots, or alone, as floats or base64: a line gets the same vector."""
    # Inputs of unequal lengths are where llama.cpp has cut some in two.
    texts = ["A cat sleeps.", "The ledger is closed.", "Rain, all day long.", "7", "word " * 60, "Grüße " * 20]
    jobs = [{"id": str(place), "input": text} for place, text in enumerate(texts)]
    alone = answers(url, tmp_path / "alone", jobs)
    beside = answers(url, tmp_path / "beside", jobs, concurrency=SLOTS)
    packed = answers(url, tmp_path / "packed", jobs, pack=4)
    base64 = {"params": {"encoding_format": "base64"}, "embedding_format": "base64"}  # on the wire, and in the file
    packed64 = answers(url, tmp_path / "packed64", jobs, pack=4, **base64)
    assert [packed[str(place)]["pack"] for place in (0, 3, 4)] == [
        {"place": 0, "size": 4},
        {"place": 3, "size": 4},
        {"place": 0, "size": 2},
    ]
    for ident, line in alone.items():
        unpacked = array("f", b64decode(packed64[ident]["embedding"]))
        for vector in (beside[ident]["embedding"], packed[ident]["embedding"], unpacked):
            assert cosine(line["embedding"], vector) > 0.999
            assert [name for name in alone if cosine(alone[name]["embedding"], vector) > 0.99] == [ident]


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    return float(sum(map(mul, one, other))) / math.hypot(*one) / math.hypot(*other)


def test_what_does_not_fit_the_context_fails_alone(url: str, tmp_path: Path) -> None:
    """Too long a prompt, whole or streamed, and too long an input get one attempt and an error line; others go on."""
    desk = Desk(tmp_path)
    long = "word " * CONTEXT * 2
    jobs = [{"id": "chat", "prompt": long}, {"id": "embed", "input": long}, {"id": "fine", "prompt": "Hi"}]
    desk.write("jobs.jsonl", *jobs)
    for stream in ("--stream", "--no-stream"):
        args = ("--base-url", url, "-m", MODEL, "--param", "max_tokens=4", stream, "--overwrite")
        assert desk.run("run", "jobs.jsonl", "-o", "results.jsonl", *args).code == 3
        assert desk.ids() == ["fine"]
        assert desk.errors() == {"chat": "context_overflow", "embed": "context_overflow"}
        lines = desk.lines("results.errors.jsonl")
        assert {(line["id"], line["error"]["status"], line["attempts"]) for line in lines} == {
            ("chat", 400, 1),
            ("embed", 500, 1),
        }


@pytest.mark.parametrize("path", ["/api/chat", "/v1/images/generations"])
def test_an_endpoint_that_the_server_has_not_is_a_mistake_in_the_command(url: str, path: str, tmp_path: Path) -> None:
    """The run ends with 78, says which path is missing, and leaves the jobs pending."""
    desk = Desk(tmp_path)
    desk.write(
        "jobs.jsonl",
        {"id": "a", "prompt": "Hi", "url": path}
        if "image" in path
        else {"messages": [{"role": "user", "content": "Hi"}]},
    )
    ran = desk.run("run", "jobs.jsonl", "-o", "results.jsonl", "--base-url", url, "-m", MODEL, "--endpoint", path)
    assert ran.code == 78
    assert f"the server does not offer {path}" in ran.err
    assert "1 pending" in ran.err
    assert desk.lines() == desk.lines("results.errors.jsonl") == []


PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def test_an_image_for_a_model_that_sees_none_fails_alone(url: str, tmp_path: Path) -> None:
    """llama.cpp refuses it with 500, and no second try is made."""
    desk = Desk(tmp_path)
    desk.write("jobs.jsonl", {"id": "seen", "prompt": "What is this?", "images": [PIXEL]})
    ran = desk.run("run", "jobs.jsonl", "-o", "results.jsonl", "--base-url", url, "-m", MODEL)
    assert ran.code == 3
    [line] = desk.lines("results.errors.jsonl")
    assert (line["error"]["class"], line["error"]["status"], line["attempts"]) == ("permanent", 500, 1)


def test_check_and_models_tell_of_the_server(url: str, tmp_path: Path) -> None:
    """They name llama.cpp, its model, its slots and the context that a request has."""
    desk = Desk(tmp_path)
    found = desk.run("check", PROJECT / "jobs/hello.jsonl", "--base-url", url, "-m", MODEL, "--json")
    about = orjson.loads(found.out)["servers"][0]["about"]
    assert (found.code, about["kind"], about["slots"]) == (0, "llama.cpp", SLOTS)
    [model] = orjson.loads(desk.run("models", "--base-url", url, "--json").out)
    assert model["name"].startswith("SmolLM2-135M-Instruct")
    assert model["loaded_context"] == CONTEXT


@pytest.mark.parametrize("name", ["hello", "chat", "embed", "openai-batch", "tools"])
def test_the_sample_jobs_run(name: str, url: str, tmp_path: Path) -> None:
    """Every job that a newcomer finds in jobs/ gets its answer."""
    source = PROJECT / f"jobs/{name}.jsonl"
    found = results_of(source, tmp_path / "results.jsonl", base_url=url, concurrency=SLOTS)
    assert len(found) == len(source.read_bytes().splitlines())


def test_the_broken_sample_fails_by_its_broken_lines_alone(url: str, tmp_path: Path) -> None:
    """The good lines are answered, each bad one has its error line, and the exit code is 3."""
    desk = Desk(tmp_path)
    ran = desk.run("run", PROJECT / "jobs/broken.jsonl", "-o", "results.jsonl", "--base-url", url, "-m", MODEL)
    assert ran.code == 3
    assert desk.ids() == ["good-1", "good-2"]
    assert len(desk.errors()) == 14


def test_as_many_requests_are_in_flight_as_allowed(url: str, tmp_path: Path) -> None:
    """With as many requests as the server has slots, all slots work at once, and never more is asked."""
    jobs = [{"id": str(number), "prompt": f"Count to {number}.", "max_tokens": 16} for number in range(12)]
    found = answers(url, tmp_path, jobs, concurrency=SLOTS)
    spans = [(begin := _instant(line), begin + line["timing"]["total_s"]) for line in found.values()]
    # `started_at` is cut to milliseconds, so a request seems to begin up to 1 ms before the one it follows has ended.
    assert max(sum(begin <= at < end - 0.002 for begin, end in spans) for at, _ in spans) == SLOTS


def _instant(line: dict[str, Any]) -> float:
    return datetime.fromisoformat(line["timing"]["started_at"]).timestamp()
