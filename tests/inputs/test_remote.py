"""Files at URLs, on real sockets: servers that give no parts, break off, say no, or have another file by now."""

from __future__ import annotations

import threading
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import fsspec
import pytest
from pyarrow import parquet
from support.datasets import delimited, jsonl, table

from batcher.failures import BatcherError, InputError
from batcher.inputs import steady
from batcher.inputs.formats.rows import values_of
from batcher.inputs.source import Source

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROWS = [{"id": f"r{number}", "prompt": f"say {number} " + "x" * 400} for number in range(20_000)]
LINES = jsonl(ROWS)


class Web(ThreadingHTTPServer):
    """Gives `files`, by the habits that a path names: `parts`, `cut` (so many times), `moves` (by then another)."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Habits)
        self.files: dict[str, bytes] = {}
        self.cuts = 0
        self.etag = "v1"
        self.sent = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *args: object) -> None:
        """A client that has enough hangs up."""


class Habits(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Web

    def log_message(self, *_args: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        _, habit, name = self.path.partition("?")[0].split("/")
        if habit.isdigit():
            self.send_response(int(habit))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        whole = body = self.server.files[name]
        wanted = self.headers.get("Range", "") if habit == "parts" else ""
        begin, _, end = wanted.removeprefix("bytes=").partition("-")
        if wanted:
            body = body[int(begin) : int(end) + 1]
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", self.server.etag)
        if wanted:
            self.send_header("Content-Range", f"bytes {begin}-{end}/{len(whole)}")
        self.end_headers()
        if self.command == "HEAD":
            return
        if habit in ("cut", "moves") and self.server.cuts:
            self.server.cuts -= 1
            body = body[: len(body) // 2]
            self.server.etag = "v2" if habit == "moves" else "v1"
            self.close_connection = True
        self.server.sent += len(body)
        self.wfile.write(body)


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    monkeypatch.setattr(steady, "PAUSES", (0.0, 0.0, 0.0))
    with Web() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def read(source: Source) -> list[Any]:
    return [values_of(line.data) for line in source.all_lines() if line.data is not None]


@pytest.mark.slow
@pytest.mark.parametrize(("habit", "cuts"), [("whole", 0), ("parts", 0), ("cut", 1), ("cut", 2)])
def test_text_comes_whole(web: Web, habit: str, cuts: int) -> None:
    """In one answer, whether or not the server has parts, and read on where it broke off."""
    web.files["a.jsonl"], web.cuts = LINES, cuts
    source = Source(f"{web.url}/{habit}/a.jsonl")
    assert (read(source) == ROWS, source.damage) == (True, [])
    assert web.sent <= len(LINES) * (1 + cuts)


@pytest.mark.slow
def test_what_never_comes_whole_is_told(web: Web) -> None:
    """What was readable is rows, the rest is damage, and the message has the URL without its key."""
    web.files["a.jsonl"], web.cuts = LINES, 1000
    source = Source(f"{web.url}/cut/a.jsonl?key=SECRET")
    assert 5000 < len(read(source)) < len(ROWS)
    [damage] = source.damage
    assert "cut/a.jsonl cannot be read" in damage
    assert "SECRET" not in damage


@pytest.mark.slow
def test_another_file_is_not_read_on(web: Web) -> None:
    """One that was replaced meanwhile is told, whether it broke off or came whole; its rows would be of two files."""
    web.files["a.jsonl"], web.cuts = LINES, 1
    source = Source(f"{web.url}/moves/a.jsonl")
    assert len(read(source)) < len(ROWS)
    assert "changed while it was read" in source.damage[0]
    later = Source(f"{web.url}/parts/a.jsonl")
    lines = later.all_lines()
    next(lines)
    web.etag = "v3"
    assert len(list(lines)) == len(ROWS) - 1
    assert "changed while it was read" in later.damage[0]


@pytest.mark.slow
def test_another_etag_is_another_input(web: Web) -> None:
    """By it a run that is taken up again knows whether rows may be passed over."""
    web.files["a.jsonl"] = LINES
    url = f"{web.url}/parts/a.jsonl"
    before = Source(url).fingerprint
    assert before == Source(url).fingerprint
    web.etag = "v3"
    assert Source(url).fingerprint not in ({}, before)


@pytest.mark.slow
@pytest.mark.parametrize(("habit", "share"), [("parts", 0.5), ("whole", 2.5)])
def test_parquet_comes_in_parts_where_there_are_some(web: Web, tmp_path: Path, habit: str, share: float) -> None:
    """Columns that nobody asks for are not fetched; of a server without parts the file is fetched once a pass."""
    from batcher.inputs.formats.reading import Reading

    rows = [{**row, "other": row["prompt"][::-1] * 20} for row in ROWS[:4000]]
    parquet.write_table(
        table(rows), tmp_path / "a.parquet", compression="none", row_group_size=500, use_dictionary=False
    )
    web.files["a.parquet"] = (tmp_path / "a.parquet").read_bytes()
    source = Source(f"{web.url}/{habit}/a.parquet", None, Reading(columns=("id", "prompt")))
    assert (read(source), source.damage) == (ROWS[:4000], [])
    assert web.sent < share * len(web.files["a.parquet"])


@pytest.mark.parametrize(
    ("status", "words"),
    [(404, "404 Not Found"), (403, "403 Forbidden"), (401, "401 Unauth"), (500, "500 Int"), (429, "429 Too")],
)
def test_what_a_server_says(web: Web, status: int, words: str) -> None:
    """In place of the file."""
    with pytest.raises(InputError, match=f"a.csv cannot be read: the server says {words}"):
        Source(f"{web.url}/{status}/a.csv?key=SECRET")


def test_nobody_there(web: Web) -> None:
    """Is another thing than a file that is not there."""
    web.shutdown()
    web.server_close()
    with pytest.raises(InputError, match="ConnectionRefused"):
        Source(f"{web.url}/whole/a.csv")


@pytest.mark.parametrize("name", ["status", "code", "response"])
def test_what_other_stores_say(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Each has its own name for the status of an answer; what else it says may hold a key, and is not told."""
    error = RuntimeError("for url: https://hub/x?token=SECRET")
    setattr(error, name, SimpleNamespace(status_code=404) if name == "response" else 404)
    monkeypatch.setattr(type(fsspec.filesystem("memory")), "info", Mock(side_effect=error))
    with pytest.raises(InputError) as caught:
        Source("memory://tests/x.csv")
    assert str(caught.value) == "memory://tests/x.csv cannot be read: the server says 404 Not Found"


def test_stores_in_general() -> None:
    """A file, a pattern, a directory, and one that is not there, as any store of fsspec has them."""
    store = fsspec.filesystem("memory")
    for number in range(2):
        store.pipe(f"/tests/{number}.csv", delimited(ROWS[number : number + 1]))
    assert read(Source("memory://tests/0.csv")) == ROWS[:1]
    assert read(Source("memory://tests/*.csv")) == ROWS[:2]
    with pytest.raises(InputError, match=r"is a directory; .*memory://tests/\*\.parquet"):
        Source("memory://tests")
    with pytest.raises(InputError, match="FileNotFoundError"):
        Source("memory://tests/2.csv")


@pytest.mark.parametrize("port", ["9", "x"])
@pytest.mark.parametrize("secret", ["me:{}@127.0.0.1:{}/x.jsonl", "127.0.0.1:{1}/x.jsonl?X-Amz-Signature={0}"])
def test_a_password_in_a_url_is_in_no_traceback(port: str, secret: str) -> None:
    """Libraries repeat the URL in their own errors, which Python shows with ours as their cause."""
    url = "http://" + secret.format(
        "Canary7Secret9Qz5word", port
    )  # a traceback shows lines, and this is not among them
    with pytest.raises(BatcherError) as caught:
        Source(url)
    assert "Canary" not in "".join(traceback.format_exception(caught.value))
