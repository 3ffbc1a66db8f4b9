"""The writer: when a result counts, what is synced when, and what a full or failing disk does to those who send."""

from __future__ import annotations

import errno
import os
import threading
from contextlib import suppress
from io import FileIO
from typing import TYPE_CHECKING

import anyio
import pytest
from support.result_lines import entry, ids

from batcher.failures import Exit, OutputIOError
from batcher.ledger import disk, writer as writer_module
from batcher.ledger.ledger import Ledger
from batcher.ledger.stream import StreamLedger
from batcher.ledger.writer import SYNC_BYTES, Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.jsonl"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    opened = Ledger.open(path)
    yield opened
    with suppress(OutputIOError):  # the tests break it
        opened.close()


@pytest.fixture
def pipe() -> Iterator[tuple[FileIO, FileIO]]:
    """Both ends, which a test may close: who closes a number twice closes what has got it since."""
    reading, writing = os.pipe()
    with FileIO(reading) as reader, FileIO(writing, "w") as writer:
        yield reader, writer


class Sender:
    """Whoever sends: remembers what the writer told it and the user."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.said: list[str] = []
        self.tries = 0
        self._patch = monkeypatch
        monkeypatch.setattr(writer_module, "DISK_EVERY", 0.001)

    def writer(self, ledger: Ledger | StreamLedger, durability: str = "batch", disk_wait: float = 60.0) -> Writer:
        return Writer(
            ledger=ledger,
            note=self.said.append,
            durability=durability,
            disk_wait=disk_wait,
            hold=lambda: self.said.append("HOLD"),
            release=lambda: self.said.append("RELEASE"),
        )

    def fail_writes(self, code: int, times: int, room: int = 0) -> None:
        """Let so many writes fail, the first of them after `room` bytes."""
        left = room

        def write(fd: int, data: memoryview) -> int:
            nonlocal left
            if left:
                written = os.write(fd, data[:left])
                left -= written
                return written
            self.tries += 1
            if self.tries <= times:
                raise OSError(code, os.strerror(code))
            return os.write(fd, data)

        self._patch.setattr(disk, "_write", write)

    def count_syncs(self, answer: Callable[[], None] = lambda: None) -> list[int]:
        calls: list[int] = []

        def sync(fd: int) -> None:
            calls.append(fd)
            answer()

        self._patch.setattr(disk, "sync", sync)
        return calls


@pytest.fixture
def sender(monkeypatch: pytest.MonkeyPatch) -> Sender:
    return Sender(monkeypatch)


@pytest.fixture
def hasty(sender: Sender, monkeypatch: pytest.MonkeyPatch) -> Sender:
    """One whose seconds are short."""
    monkeypatch.setattr(writer_module, "SYNC_EVERY", 0.001)
    return sender


def fail_with(code: int) -> Callable[[], None]:
    def fail() -> None:
        raise OSError(code, os.strerror(code))

    return fail


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
@pytest.mark.parametrize("room", [0, 10, 100])
async def test_a_full_disk_is_waited_for(ledger: Ledger, path: Path, sender: Sender, code: int, room: int) -> None:
    """While there is no room nothing is sent and the user is told once; then every line is in, once and whole."""
    sender.fail_writes(code, times=3, room=room)
    await sender.writer(ledger).append([entry("a"), entry("b")])
    assert ids(path) == ["a", "b"]
    assert sender.tries == 4
    assert [word for word in sender.said if word.isupper()] == ["HOLD", "RELEASE"]
    waiting, going_on = (word for word in sender.said if not word.isupper())
    assert os.strerror(code) in waiting
    assert "waiting up to 1m 00s for room" in waiting
    assert "going on" in going_on
    assert ledger.refused == 0


@pytest.mark.parametrize("code", [errno.EIO, errno.EROFS, errno.ESTALE])
async def test_a_broken_disk_is_not_waited_for(ledger: Ledger, sender: Sender, code: int) -> None:
    """An error that nobody mends by making room ends the run, and the sending, at the first try."""
    sender.fail_writes(code, times=9)
    writer = sender.writer(ledger)
    with pytest.raises(OutputIOError, match=os.strerror(code)):
        await writer.append([entry("a")])
    assert (sender.tries, sender.said) == (1, ["HOLD"])
    assert not await writer.append_last([entry("b")])
    assert sender.tries == 1


@pytest.mark.parametrize(("wait", "says"), [(0.0, "nobody made room:"), (0.02, "nobody made room in 0.0 s")])
async def test_the_wait_for_room_ends(ledger: Ledger, path: Path, sender: Sender, wait: float, says: str) -> None:
    """When nobody makes room the run ends with 74, and what was accepted stands whole in the file."""
    writer = sender.writer(ledger, disk_wait=wait)
    await writer.append([entry("a")])
    sender.fail_writes(errno.ENOSPC, times=10**6, room=len(entry("b")[2]) + 5)
    with pytest.raises(OutputIOError, match=says) as caught:
        await writer.append([entry("b"), entry("c")])
    assert caught.value.exit == Exit.IO
    assert "2 results are safe" in str(caught.value)
    assert "RELEASE" not in sender.said
    assert ids(path) == ["a", "b"]
    assert "c" not in ledger


@pytest.mark.parametrize(("durability", "syncs"), [("off", 0), ("batch", 0), ("each", 2)])
async def test_what_is_synced_before_it_counts(ledger: Ledger, sender: Sender, durability: str, syncs: int) -> None:
    """Only with `each` a result is on the disk before it counts: one sync a group."""
    calls = sender.count_syncs()
    writer = sender.writer(ledger, durability)
    await writer.append([entry("a"), entry("b")])
    await writer.append([entry("c")])
    assert len(calls) == syncs
    assert ledger.synced == (ledger.end if syncs else 0)


async def test_much_is_synced_at_once(ledger: Ledger, sender: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `batch`, 8 MiB do not wait for the second to be over."""
    monkeypatch.setattr(writer_module, "SYNC_EVERY", 3600.0)
    done = anyio.Event()
    sender.count_syncs(lambda: anyio.from_thread.run_sync(done.set))
    writer = sender.writer(ledger)
    async with anyio.create_task_group() as group:
        group.start_soon(writer.watch)
        await writer.append([entry("big", text="x" * SYNC_BYTES)])
        await done.wait()
        group.cancel_scope.cancel()


@pytest.mark.parametrize(("durability", "size"), [("batch", 1), ("off", SYNC_BYTES)])
async def test_little_is_synced_later(
    ledger: Ledger, sender: Sender, monkeypatch: pytest.MonkeyPatch, durability: str, size: int
) -> None:
    """Less waits for the second to be over, and with `off` anything waits for the end, which syncs it."""
    monkeypatch.setattr(writer_module, "SYNC_EVERY", 3600.0)
    calls = sender.count_syncs()
    writer = sender.writer(ledger, durability)
    async with anyio.create_task_group() as group:
        group.start_soon(writer.watch)
        await writer.append([entry("a", text="x" * size), entry("b")])
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    assert calls == []
    ledger.close()
    assert len(calls) == 1
    assert ledger.synced == ledger.end


@pytest.mark.parametrize("durability", ["off", "batch", "each"])
@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda path: path.unlink(), "moved or deleted"),
        (lambda path: path.rename(path.with_name("elsewhere")), "moved or deleted"),
        (lambda path: os.truncate(path, 3), "cut this file to 3 bytes"),
    ],
    ids=["deleted", "moved", "cut"],
)
async def test_harm_is_noticed_though_nothing_is_written(
    ledger: Ledger, hasty: Sender, durability: str, harm: Callable[[Path], object], says: str
) -> None:
    """A results file that others move, delete or cut is noticed within a second, at every durability."""
    writer = hasty.writer(ledger, durability)
    await writer.append([entry("a")])
    harm(ledger.path)
    with pytest.raises(OutputIOError, match=says):
        await writer.watch()
    with pytest.raises(OutputIOError, match=says):
        await writer.append([entry("b")])


@pytest.mark.parametrize("durability", ["batch", "each"])
async def test_a_failed_sync_ends_it(ledger: Ledger, path: Path, hasty: Sender, durability: str) -> None:
    """A sync that fails is not tried again, nothing is written after it, and the error says how much is safe."""
    calls = hasty.count_syncs(fail_with(errno.EIO))
    writer = hasty.writer(ledger, durability)

    async def work() -> None:
        await writer.append([entry("a")])
        await writer.watch()

    with pytest.raises(OutputIOError, match="safe only up to byte 0"):
        await work()
    with pytest.raises(OutputIOError):
        await writer.append([entry("b")])
    assert not await writer.append_last([entry("c")])
    assert set(hasty.said) == {"HOLD"}
    ledger.close()
    assert len(calls) == 1
    assert ids(path) == ["a"]


async def test_a_sync_under_way_is_finished(ledger: Ledger, sender: Sender) -> None:
    """Whoever cancels a run while a group is on its way to the disk waits until it is there."""
    begun, go_on = anyio.Event(), threading.Event()

    def answer() -> None:
        anyio.from_thread.run_sync(begun.set)
        go_on.wait()

    sender.count_syncs(answer)
    writer = sender.writer(ledger, "each")
    async with anyio.create_task_group() as group:
        group.start_soon(writer.append, [entry("a")])
        await begun.wait()
        group.cancel_scope.cancel()
        go_on.set()
    assert ledger.synced == ledger.end > 0


async def test_nobody_leaves_between_the_file_and_the_disk(ledger: Ledger, path: Path, sender: Sender) -> None:
    """A run that is cancelled just before a line's sync has it all the same: what is in the file is on the disk."""
    writer = sender.writer(ledger, "each")
    with anyio.CancelScope() as scope:
        scope.cancel()
        await writer.append([entry("a")])
    assert ids(path) == ["a"]
    assert ledger.synced == ledger.end > 0


async def test_what_had_finished_when_the_wait_is_cut_off(ledger: Ledger, path: Path, sender: Sender) -> None:
    """A run that is cancelled while it waits for room tries once more, says what does not fit, and lets it go."""
    sender.fail_writes(errno.ENOSPC, times=10**6, room=len(entry("a")[2]))
    writer = sender.writer(ledger)
    held = [entry("a"), entry("b")]
    async with anyio.create_task_group() as group:
        group.start_soon(writer.append, held)
        await anyio.wait_all_tasks_blocked()
        assert "HOLD" in sender.said
        group.cancel_scope.cancel()
    assert await writer.append_last([entry("b"), entry("c")])
    assert "run the same command again" in sender.said[-1]
    assert ids(path) == ["a"]
    sender.fail_writes(errno.ENOSPC, times=0)
    assert await writer.append_last([entry("b"), entry("c")])
    assert ids(path) == ["a", "b", "c"]


async def test_a_slow_reader_blocks_nobody_else(pipe: tuple[FileIO, FileIO], sender: Sender) -> None:
    """While a reader takes its time the event loop goes on; in the end it has every line whole."""
    reading, writing = pipe
    writer = sender.writer(StreamLedger(writing.fileno()))
    lines = [entry(str(number), text="x" * 1000) for number in range(500)]
    async with anyio.create_task_group() as group:
        group.start_soon(writer.append, list(lines))
        await anyio.wait_readable(reading)  # only a loop that is not blocked comes by here
        got = b""
        while len(got) < sum(len(line) for *_, line in lines):
            got += await anyio.to_thread.run_sync(reading.read, 4096)
    assert got == b"".join(line for *_, line in lines)


async def test_a_reader_who_does_not_read_keeps_no_run_from_ending(pipe: tuple[FileIO, FileIO], sender: Sender) -> None:
    """A cancelled run leaves a write behind that nobody takes, and puts no other line into the middle of it."""
    reading, writing = pipe
    writer = sender.writer(StreamLedger(writing.fileno()))
    line = entry("a", text="x" * 500_000)
    async with anyio.create_task_group() as group:
        group.start_soon(writer.append, [line])
        await anyio.wait_readable(reading)
        group.cancel_scope.cancel()
    assert not await writer.append_last([entry("b")])
    got = b""
    while len(got) < len(line[2]):
        got += await anyio.to_thread.run_sync(reading.read, 1 << 16)
    assert got == line[2]


async def test_a_reader_who_leaves_is_missed(pipe: tuple[FileIO, FileIO], hasty: Sender) -> None:
    """That the reader is gone is noticed though there is nothing to write: nobody pays for answers to no one."""
    reading, writing = pipe
    writer = hasty.writer(StreamLedger(writing.fileno()))
    with anyio.move_on_after(0.01):
        await writer.watch()
    reading.close()
    with pytest.raises(BrokenPipeError):
        await writer.watch()
    assert not await writer.append_last([entry("a")])
    assert hasty.said == ["HOLD"]


async def test_a_stream_goes_on_in_mid_line(pipe: tuple[FileIO, FileIO], sender: Sender) -> None:
    """Half a line on a stream cannot be taken back: when there is room again its other half comes next."""
    reading, writing = pipe
    sender.fail_writes(errno.ENOSPC, times=2, room=10)
    writer = sender.writer(StreamLedger(writing.fileno()))
    await writer.append([entry("a"), entry("b")])
    await writer.append([entry("c")])
    writing.close()
    assert reading.read() == b"".join(entry(name)[2] for name in "abc")


async def test_each_line_is_on_the_disk_before_anybody_leaves(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cancelled as it writes, `each` syncs what it wrote all the same."""
    writer = Sender(monkeypatch).writer(ledger, durability="each")
    with anyio.CancelScope() as scope:
        scope.cancel()
        await writer.append([entry("a")])
    assert ledger.synced == ledger.end > 0
