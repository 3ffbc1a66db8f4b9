"""Where lines come from: files read by several at once, pipes within bounds, FIFOs, and what breaks off."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from support.commandline import until

from batcher.failures import InputError
from batcher.inputs import source as module
from batcher.inputs.formats import FORMATS
from batcher.inputs.formats.lines import Line
from batcher.inputs.source import Source

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Iterator

Opener: TypeAlias = "Callable[[Path | str], Source]"
JSONL = FORMATS["jsonl"]
LINES = [b'{"n":%d}' % number for number in range(1000)]


@pytest.fixture
def opened() -> Iterator[Opener]:
    """Opens inputs; what is left open, as FIFOs are, is closed at the end."""
    made: list[Source] = []

    def open_one(path: Path | str) -> Source:
        made.append(Source(str(path), JSONL))
        return made[-1]

    yield open_one
    for source in made:
        if source.path != "-":
            source._file.close()


def datas(source: Source) -> list[bytes | None]:
    return [line.data for line in source.lines() if line is not None]


def arriving(source: Source) -> Iterator[bytes]:
    """The lines of a pipe, waiting for each."""
    arrival = threading.Event()
    source.on_arrival = arrival.set
    for line in source.lines():
        if line is None:
            assert arrival.wait(20)
            arrival.clear()
        else:
            assert line.data is not None
            yield line.data


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[io.BufferedReader]:
    """Standard input that is a file of some lines, of which others read the first."""
    path = tmp_path / "jobs.jsonl"
    path.write_bytes(b"\n".join(LINES))
    with path.open("rb") as file:
        os.lseek(file.fileno(), len(LINES[0]) + 1, os.SEEK_SET)
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=file))
        yield file


def test_a_file_is_read_by_several_at_once(tmp_path: Path, opened: Opener) -> None:
    """Each reader has a place of its own: who counts the lines does not move who reads them."""
    path = tmp_path / "jobs.jsonl"
    path.write_bytes(b"\n".join(LINES))
    source = opened(path)
    both = zip(source.lines(), source.all_lines(), strict=True)
    for seq, (one, other) in enumerate(both):
        assert one == other
        assert one is not None
        assert one.data == LINES[seq]
        if seq == 500:
            assert source.count(bool) == len(LINES)
    source.close()


def test_counting_can_be_ended(tmp_path: Path, opened: Opener) -> None:
    """What the checkpoint raises ends the counting, whatever the lines are."""
    path = tmp_path / "jobs.jsonl"
    path.write_bytes(b"x" * 10_000_000)
    looked = []

    def checkpoint() -> None:
        looked.append(1)
        if len(looked) > 3:
            raise KeyError

    with pytest.raises(KeyError):
        opened(path).count(checkpoint)


def test_a_file_as_standard_input_is_read_from_where_it_stands(stdin: io.BufferedReader, opened: Opener) -> None:
    """What somebody read of it before is not read again, however often it is read; another place is another input."""
    source = opened("-")
    assert source.is_regular
    for _ in range(2):
        assert datas(source) == LINES[1:]
    assert source.count(bool) == len(LINES) - 1
    os.lseek(stdin.fileno(), 0, os.SEEK_SET)
    assert datas(opened("-")) == LINES
    assert opened("-").fingerprint != source.fingerprint


def test_standard_input_that_is_closed(monkeypatch: pytest.MonkeyPatch, opened: Opener) -> None:
    """A process that was started without one is told so."""
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(InputError, match="standard input is closed"):
        opened("-")


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="a file of Linux")
@pytest.mark.parametrize("read", [Source.lines, Source.all_lines, lambda source: iter([source.count(bool)])])
def test_an_input_that_breaks_off(read: object, opened: Opener) -> None:
    """An I/O error in the input is told as such; the first page of a process' memory cannot be read."""
    assert callable(read)
    with pytest.raises(InputError, match="/proc/self/mem: the input broke off: Input/output error"):
        list(read(opened("/proc/self/mem")))


@pytest.mark.parametrize("whole", [False, True])
def test_a_fifo_is_waited_for_where_it_is_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, opened: Opener, *, whole: bool
) -> None:
    """Opening it waits for nobody; a writer who comes late is heard, and his end is the end."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    source = opened(path)
    assert not source.is_regular
    if not whole:
        lines = source.lines()
        assert [next(lines), next(lines)] == [None, None]  # nobody has written, and it has not ended
        monkeypatch.setattr(source, "lines", lambda: lines)
    writer = threading.Thread(target=lambda: path.write_bytes(b"\n".join(LINES)))
    writer.start()
    read = (line.data for line in source.all_lines()) if whole else arriving(source)
    assert sorted(read, key=lambda data: data or b"") == sorted(LINES)
    writer.join()


def test_a_pipe_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, opened: Opener) -> None:
    """A fast writer of long lines is held back; one line that is longer than all that may be held comes through."""
    monkeypatch.setattr(module, "_HELD_BYTES", 100_000)
    path = tmp_path / "fifo"
    os.mkfifo(path)
    wanted = [*[b"x" * 30_000] * 40, b"y" * 400_000, *[b"z" * 30_000] * 10]
    writer = threading.Thread(target=lambda: path.write_bytes(b"\n".join(wanted)))
    writer.start()
    source = opened(path)
    made: list[module._Pipe] = []
    original = module._Pipe

    def make(*more: Any) -> module._Pipe:
        made.append(original(*more))
        return made[-1]

    monkeypatch.setattr(module, "_Pipe", make)
    lines = arriving(source)
    read = [next(lines)]
    until(lambda: made[0]._is_full(Line(0, 0, wanted[1])))
    for line in lines:
        assert made[0]._bytes <= 100_000 or len(made[0]._lines) == 1
        read.append(line)
    assert read == wanted
    writer.join()
