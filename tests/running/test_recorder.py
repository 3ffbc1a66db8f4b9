"""What becomes of finished jobs: lines, images, failures and the sums, also when one of their files fails."""

from __future__ import annotations

import base64
import errno
import os
from typing import TYPE_CHECKING

import anyio
import orjson
import pytest
from support.result_lines import ids

from batcher.failures import Failure, FailureClass, OutputIOError
from batcher.ledger import disk, writer as writer_module
from batcher.ledger.errors import WAITING, ErrorsFile
from batcher.ledger.ledger import Ledger
from batcher.ledger.lines import result_line
from batcher.ledger.writer import Writer
from batcher.outcome import Completion, Delta, Result, Timing
from batcher.redaction import Redactor
from batcher.running.recorder import Recorder
from batcher.view.summary import Summary

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.anyio

PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)


def answer(ident: str, *images: bytes, seq: int = 0) -> Result:
    completion = Completion(images=[base64.b64encode(image).decode() for image in images] or None)
    completion.add(Delta(text="" if images else "Yes."))
    timing = Timing(started_at=1.0, started=1.0, finished=2.0)
    return Result(
        id=ident, seq=seq, hash="0123456789abcdef", path="/api/chat", completion=completion, timing=timing, attempts=1
    )


def failure(ident: str) -> Result:
    return Result(id=ident, seq=0, failure=Failure(FailureClass.PERMANENT, "bad", "No."), attempts=1, timing=Timing())


class Office:
    """A recorder with real files, and what it said."""

    def __init__(self, path: Path) -> None:
        self.results, self.images = path / "results.jsonl", path / "results.images"
        self.ledger = Ledger.open(self.results)
        self.errors = ErrorsFile(path / "results.errors.jsonl")
        self.said: list[str] = []
        self.spoke = anyio.Event()
        self.summary = Summary(started=0.0)
        self.recorder = Recorder(
            writer=Writer(ledger=self.ledger, note=self.note),
            errors=self.errors,
            summary=self.summary,
            redactor=Redactor(()),
            images=self.images,
        )

    def note(self, words: str) -> None:
        self.said.append(words)
        self.spoke.set()

    def saved(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.images.iterdir()} if self.images.exists() else {}


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    made = Office(tmp_path)
    yield made
    made.errors.close()
    made.ledger.close()


class BadDisk:
    """Lets writes of more than `largest` bytes fail, after their first half, until `mended`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, code: int = errno.ENOSPC, largest: int = 0) -> None:
        self.mended = False
        self.tries = 0

        def write(fd: int, data: memoryview) -> int:
            if self.mended or len(data) <= largest:
                return os.write(fd, data)
            self.tries += 1
            if self.tries % 2:
                return os.write(fd, data[: len(data) // 2 or 1])
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(disk, "_write", write)
        monkeypatch.setattr(writer_module, "DISK_EVERY", 0.001)


async def test_results_and_failures(office: Office) -> None:
    """Each finished job has one line in one of the files, and is counted when it has it."""
    await office.recorder.record([answer("a"), failure("b"), answer("c")])
    assert ids(office.results) == ["a", "c"]
    assert ids(office.errors.path) == ["b"]
    assert (office.summary.ok, office.summary.failed) == (2, 1)


async def test_images_are_saved_before_their_line(office: Office) -> None:
    """A line that names image files comes when they are there, whole, and nothing else is beside them."""
    await office.recorder.record([answer("a", PNG, PNG + b"2")])
    line = orjson.loads(office.results.read_bytes())
    assert line["images"] == ["results.images/1-a-0123456789abcdef-0.png", "results.images/1-a-0123456789abcdef-1.png"]
    assert office.saved() == {"1-a-0123456789abcdef-0.png": PNG, "1-a-0123456789abcdef-1.png": PNG + b"2"}


async def test_an_image_that_cannot_be_saved(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that breaks in the middle of an image leaves neither half of it, nor a line that names it."""
    BadDisk(monkeypatch, errno.EIO)
    with pytest.raises(OutputIOError, match="an image cannot be saved: Input/output error"):
        await office.recorder.record([answer("a", PNG)])
    assert office.saved() == {}
    assert office.results.read_bytes() == b""
    assert office.summary.ok == 0


async def test_an_image_waits_for_room(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image that a full disk refuses is kept, and saved when there is room."""
    broken = BadDisk(monkeypatch)
    async with anyio.create_task_group() as group:
        group.start_soon(office.recorder.record, [answer("a", PNG)])
        await office.spoke.wait()
        broken.mended = True
    assert office.saved() == {"1-a-0123456789abcdef-0.png": PNG}
    assert ids(office.results) == ["a"]


async def test_an_image_that_is_none(office: Office) -> None:
    """A server that sends rubbish for an image costs that job, not the run."""
    bad = answer("bad")
    assert bad.completion is not None
    bad.completion.images = ["!!!"]
    await office.recorder.record([bad, answer("good")])
    assert ids(office.results) == ["good"]
    assert orjson.loads(office.errors.path.read_bytes())["error"]["code"] == "malformed"


async def test_the_errors_file_fails(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """An errors file that takes nothing is told of once; results go on, and what it missed goes in when it can."""
    broken = BadDisk(monkeypatch)
    monkeypatch.setattr(office.ledger, "append", len)
    await office.recorder.record([failure("a"), answer("x"), failure("b")])
    await office.recorder.record([failure("c")])
    assert [note.rpartition(": ")[2] for note in office.said] == [
        "No space left on device; the run goes on, and tries again with the next failure"
    ]
    assert (office.summary.ok, office.summary.failed) == (1, 3)
    assert office.errors.path.read_bytes() == b""
    broken.mended = True
    assert office.errors.finish(lambda _: False) == 3
    assert ids(office.errors.path) == ["a", "b", "c"]
    assert office.errors.lost == 0


async def test_memory_for_failures_is_bounded(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """An errors file that never takes anything does not eat the memory; what is lost is counted."""
    BadDisk(monkeypatch)
    await office.recorder.record([failure(str(number)) for number in range(WAITING + 5)])
    assert office.errors.lost == 5
    assert office.summary.failed == WAITING + 5


async def test_the_last_of_a_run_that_is_cut_off(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """What had finished when a run is cancelled is written and counted once: held up, or still to be handed over."""
    broken = BadDisk(monkeypatch, largest=20)
    monkeypatch.setattr(office.errors, "append", len)
    async with anyio.create_task_group() as group:
        group.start_soon(office.recorder.record, [answer("a"), failure("b"), answer("c", PNG)])
        await office.spoke.wait()
        group.cancel_scope.cancel()
    assert office.summary.ok == office.summary.failed == 0
    broken.mended = True
    await office.recorder.record_last([answer("d"), answer("e", PNG)])
    assert ids(office.results) == ["a", "c", "d", "e"]
    assert (office.summary.ok, office.summary.failed) == (4, 1)
    assert sorted(office.saved()) == ["1-c-0123456789abcdef-0.png", "1-e-0123456789abcdef-0.png"]


async def test_the_last_of_a_run_on_a_full_disk(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not get in at the end is not counted as done, and its images are no reason to stop."""
    BadDisk(monkeypatch, largest=20)
    await office.recorder.record_last([answer("a"), answer("b", PNG)])
    assert office.summary.ok == 0
    assert office.results.read_bytes() == b""
    assert office.saved() == {}


async def test_a_bug_that_the_line_of_one_answer_meets_costs_no_other(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a failure then, in the errors file and in the sums."""

    def line_of(result: Result, *, base64: bool, redactor: Redactor) -> bytes:
        if result.id == "odd":
            raise KeyError("oops")
        return result_line(result, base64=base64, redactor=redactor)

    monkeypatch.setattr("batcher.running.recorder.result_line", line_of)
    await office.recorder.record([answer("a"), answer("odd"), answer("b")])
    office.errors.close()
    assert ids(office.results) == ["a", "b"]
    (line,) = [orjson.loads(line) for line in office.errors.path.read_bytes().splitlines()]
    assert (line["id"], line["error"]["code"]) == ("odd", "internal")
    assert (office.summary.ok, office.summary.failed) == (2, 1)
