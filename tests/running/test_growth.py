"""What is kept for the length of a run is a few bytes a line, whatever becomes of the lines; nothing else grows."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING

import orjson
import pytest

from batcher.inputs.done import DoneIds
from batcher.inputs.formats import Line, parse_job
from batcher.inputs.formats.defaults import Defaults
from batcher.inputs.intake import Intake
from batcher.ledger.errors import ErrorsFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

COUNT = 4_000
EACH = 60
"""Bytes a line at the peak: 30 for an id, a few for a repeat's number, and the old index while a new one is made."""


def peak(act: Callable[[], object]) -> int:
    """The most memory that something takes while it is done, in bytes."""
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def refused(_: object) -> None:
    """A line that is refused is written elsewhere, and not kept."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        '{"prompt":"N"}',
        '{"prompt":"p"}',
        '{"prompt":"HALF"}',
        '{"id":"a","prompt":"N"}',
        '{"id":"a","prompt":"p"}',
        '{"id":"N","prompt":"p","keyN":1}',
        '{"id":"N"}',
    ],
    ids=["no ids", "all alike", "each twice", "one id for all", "repeats", "a new key on each line", "no jobs"],
)
@pytest.mark.parametrize("checked", [False, True], ids=["as it goes", "checked first"])
def test_intake(text: str, *, checked: bool) -> None:
    """Lines without ids, lines that repeat others and lines that are refused cost no more than others do."""

    def lines() -> Iterator[Line]:
        for seq in range(COUNT):
            yield Line(seq, 0, text.replace("N", str(seq)).replace("HALF", str(seq // 2)).encode())

    def read() -> None:
        done = DoneIds()
        done.add("an earlier result", None)
        intake = Intake(parse_job, Defaults(model="m"), finished=done, reject=refused)
        if checked:
            intake.check(lines())
        for _ in intake.jobs(lines()):
            pass

    read()  # what is made once for all is no growth
    assert peak(read) < COUNT * EACH + 60_000


def test_changed_results() -> None:
    """To forget results that are asked for anew takes no memory for each of them."""
    done = DoneIds()
    for number in range(COUNT):
        done.add(f"a{number}", "0" * 16)
        done.see(f"a{number}", "1" * 16)
    assert peak(done.discard_changed) < 4 * COUNT
    assert len(done) == 0


def test_standing_failures(tmp_path: Path) -> None:
    """An errors file of any length is tidied in the memory of an id for each line."""
    path = tmp_path / "errors.jsonl"
    with path.open("wb") as file:
        for number in [*range(COUNT), *range(COUNT)]:
            record = {"id": f"a{number}", "error": {"class": "permanent", "code": "bad"}, "attempts": 1}
            file.write(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))
    errors = ErrorsFile(path)
    assert peak(lambda: errors.finish(lambda _: False)) < COUNT * EACH + (3 << 20)
    assert path.read_bytes().count(b"\n") == COUNT
