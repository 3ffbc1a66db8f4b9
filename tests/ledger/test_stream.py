"""Results on a pipe: whole lines, once an id, to a reader that is slow or gone."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from support.result_lines import entry

from batcher.failures import OutputIOError
from batcher.ledger.stream import StreamLedger

FULL = Path("/dev/full")


def test_stream() -> None:
    """A stream gets whole lines, at most one an id."""
    reading, writing = os.pipe()
    with StreamLedger(writing) as ledger:
        assert ledger.append([entry("a"), entry("b"), entry("a")]) == 2
        assert (ledger.refused, "a" in ledger, ledger.get("c")) == (1, True, None)
        ledger.sync()
        assert ledger.synced == ledger.end
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        assert file.read() == entry("a")[2] + entry("b")[2]


def test_stream_whose_reader_is_gone() -> None:
    """A reader that has gone is told apart from a disk that is full."""
    reading, writing = os.pipe()
    os.close(reading)
    with pytest.raises(BrokenPipeError):
        StreamLedger(writing).append([entry("a")])
    os.close(writing)


@pytest.mark.skipif(not FULL.exists(), reason="a device of Linux")
def test_stream_to_a_full_disk() -> None:
    """A stream that cannot be written for another reason says which, and how far it came."""
    with FULL.open("wb", buffering=0) as full, pytest.raises(OutputIOError, match="after 0 bytes of results: No space"):
        StreamLedger(full.fileno()).append([entry("a")])


def test_stream_that_does_not_block() -> None:
    """A pipe that refuses to wait gets all bytes all the same."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with subprocess.Popen(["wc", "-c"], stdin=reading, stdout=subprocess.PIPE) as reader:
        os.close(reading)
        ledger = StreamLedger(writing)
        ledger.append([entry(str(n), text="x" * 100_000) for n in range(10)])
        os.close(writing)
        assert int(reader.communicate()[0]) == ledger.end > 1_000_000
