"""An input that has changed in part: what its blocks prove, and what they must not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, strategies as st

from batcher.inputs import blocks
from batcher.inputs.blocks import Blocks, checksum, unchanged
from batcher.inputs.done import DoneIds
from batcher.inputs.formats import Line, parse_job
from batcher.inputs.formats.defaults import Defaults
from batcher.inputs.intake import Intake
from batcher.inputs.lineset import LineSet

if TYPE_CHECKING:
    from collections.abc import Sequence


def lines(texts: Sequence[str | None]) -> list[Line]:
    """Blank ones have no row, and keep their number."""
    return [Line(seq, 0, text.encode()) for seq, text in enumerate(texts) if text is not None]


def known(texts: Sequence[str | None]) -> list[Sequence[int]]:
    found = Blocks()
    for line in lines(texts):
        found.add(line)
    return found.blocks


def every(texts: Sequence[str | None]) -> LineSet:
    found = LineSet()
    found.update([line.seq for line in lines(texts)])
    return found


ROW = st.sampled_from(["a", "b", "ab", "", None])


@given(before=st.lists(ROW, max_size=12), after=st.lists(ROW, max_size=12), size=st.integers(1, 4))
def test_what_is_taken_for_unchanged_is(before: list[Any], after: list[Any], size: int) -> None:
    """Whatever was changed, moved, glued, left blank or taken out: a row that is proven is that of its number."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "ROWS", size)
        found = unchanged(lines(after), known(before), every(before))
        for line in lines(after):
            if line.seq in found.lines:
                assert before[line.seq] == after[line.seq]
        assert found.rest is not None
        assert sorted(
            [line.seq for line in found.rest] + [line.seq for line in lines(after) if line.seq in found.lines]
        ) == [line.seq for line in lines(after)]


def test_one_changed_row_costs_its_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """And one put in costs those behind it; rows behind the known blocks are looked at."""
    monkeypatch.setattr(blocks, "ROWS", 4)
    before = [f"row {number}" for number in range(18)]
    changed = [*before[:5], "other", *before[6:]]
    rest = unchanged(lines(changed), known(before), every(before)).rest
    assert [line.seq for line in rest or ()] == [4, 5, 6, 7, 16, 17]
    put_in = [*before[:9], "new", *before[9:]]
    rest = unchanged(lines(put_in), known(before), every(before)).rest
    assert [line.seq for line in rest or ()] == list(range(8, 19))
    proven = LineSet()
    proven.update([0, 1, 3])
    found = unchanged(lines(before), known(before), proven, at_most=6)
    assert [line.seq for line in found.rest or ()] == [2, 4, 5]
    assert found.read == 6


def test_too_many_rows_are_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are not kept in memory."""
    monkeypatch.setattr(blocks, "_KEPT", 10)
    assert unchanged(lines(["a" * 20]), [], LineSet()).rest is None


def test_the_intake_sums_up_what_it_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the first row that no block has, also of rows that are no jobs."""
    monkeypatch.setattr(blocks, "ROWS", 4)
    texts = [f'{{"prompt":"{number}"}}' if number % 3 else "no job" for number in range(13)]
    for before in (0, 4, 8):
        found = Blocks(known(texts[:before]))
        intake = Intake(parse_job, Defaults(model="m"), finished=DoneIds(), reject=lambda _: None, blocks=found)
        assert len([*intake.jobs(lines(texts))]) == 8
        assert found.blocks == known(texts)
        assert [block[0] for block in found.blocks] == [4, 8, 12]


def test_the_second_pass_goes_on_where_the_first_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Known blocks are taken over, and give the same as one pass."""
    monkeypatch.setattr(blocks, "ROWS", 4)
    texts = [f"row {number}" for number in range(30)]
    begun = Blocks(known(texts[:9]))
    for line in lines(texts):
        if line.seq >= begun.unknown:
            begun.add(line)
    assert begun.blocks == known(texts)
    assert checksum(lines(["a", None, "b", "c"])) != checksum(lines(["a", "b", None, "c"]))
    assert checksum(lines(["ab", "c"])) != checksum(lines(["a", "bc"]))
