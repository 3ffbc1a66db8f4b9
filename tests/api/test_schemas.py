"""Structured answers: what a class or a schema asks for, and what becomes of an answer that fits or does not."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

import batcher
from batcher.api.schemas import Schema
from batcher.failures import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

ANSWERS = {
    "Paris": '{"name": "Paris", "people": 2100000}',
    "Atlantis": '{"name": "Atlantis", "people": "none"}',
    "Words": "There is no such city.",
}
AGAIN = '{"name": "Atlantis", "people": 0}'
"""The answer to whoever asks on."""


class City(BaseModel):
    name: str
    people: int


@contextmanager
def answering() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server that answers a prompt by the table above, and keeps what it was asked."""
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append(body)
            first, *again = body["messages"]
            message = {"role": "assistant", "content": AGAIN if again else ANSWERS[first["content"]]}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            data = json.dumps({"id": "1", "object": "chat.completion", "model": "m", "choices": [choice]}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/v1", asked
        finally:
            server.shutdown()
            thread.join()


def ask(url: str, names: list[str], **options: Any) -> list[batcher.Result[str, Any]]:
    settings: dict[str, Any] = {
        "base_url": url,
        "dialect": "openai",
        "endpoint": "/v1/chat/completions",
        "stream": False,
        "schema_retries": 0,
    } | options
    return batcher.map(names, model="m", concurrency=2, **settings)


def test_answers_become_objects() -> None:
    """The class's schema is asked for; what fits is an object of it, and what does not is flagged and has its text."""
    with answering() as (url, asked):
        results = ask(url, ["Paris", "Atlantis", "Words"], schema=City)
        assert asked[0]["response_format"]["json_schema"]["schema"] == City.model_json_schema()
        kept = ask(url, ["Paris"], schema=City.model_json_schema())
    assert results[0].parsed == City(name="Paris", people=2100000)
    assert [result.ok for result in results] == [True] * 3
    assert [result.parsed for result in results[1:]] == [None, None]
    assert ["schema_mismatch" in result.flags for result in results] == [False, True, True]
    assert [result.text for result in results] == [ANSWERS[name] for name in ("Paris", "Atlantis", "Words")]
    assert kept[0].parsed == {"name": "Paris", "people": 2100000}


def test_what_does_not_fit_is_asked_again() -> None:
    """With the fault named; the object is that of the answer that fits."""
    with answering() as (url, asked):
        [result] = ask(url, ["Atlantis"], schema=City, schema_retries=1)
        assert "people" in asked[1]["messages"][-1]["content"]
    assert result.parsed == City(name="Atlantis", people=0)
    assert "schema_mismatch" not in result.flags


def test_objects_of_results_that_were_kept(tmp_path: Any) -> None:
    """What is read back from a file is validated as what came just now."""
    with answering() as (url, asked):
        for _ in range(2):
            [paris, atlantis] = ask(url, ["Paris", "Atlantis"], schema=City, output=tmp_path / "out.jsonl")
            assert paris.parsed == City(name="Paris", people=2100000)
            assert atlantis.parsed is None
        assert len(asked) == 2


@pytest.mark.parametrize("schema", [5, "City", int, object(), City(name="x", people=1).name])
def test_what_is_no_schema_is_told(schema: Any) -> None:
    """Before anything is asked."""
    with pytest.raises(UsageError, match="schema is a JSON schema as a mapping, or a class"):
        batcher.map(["x"], schema=schema)


def test_one_format_is_asked_for() -> None:
    """Parameters that say what answers look like contradict it."""
    with pytest.raises(UsageError, match="leave 'format' out of params"):
        batcher.map(["x"], schema=City, params={"format": "json"})
    values = {"params": {"temperature": 0}}
    assert Schema(City).put(values) == {**values, "schema": City.model_json_schema()}
