"""Which lines of an input are still to be done, when results, repeats, changes and limits meet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest

from batcher.failures import Exit, InputError
from batcher.inputs.done import DoneIds
from batcher.inputs.formats import Line, parse_job
from batcher.inputs.formats.defaults import Defaults
from batcher.inputs.intake import Intake

if TYPE_CHECKING:
    from batcher.outcome import Result

DEFAULTS = Defaults(model="m")


def lines(*texts: bytes) -> list[Line]:
    return [Line(seq, 0, text) for seq, text in enumerate(texts)]


def ask(ident: str, prompt: str = "hi") -> bytes:
    return orjson.dumps({"id": ident, "prompt": prompt})


def done_with(*texts: bytes) -> DoneIds:
    done = DoneIds()
    for seq, text in enumerate(texts):
        job = parse_job(text, seq, DEFAULTS)
        done.add(job.id, job.hash)
    return done


class Desk:
    """An intake and what it refused."""

    def __init__(self, done: DoneIds | None = None, **settings: Any) -> None:
        self.refused: list[Result] = []
        self.intake = Intake(parse_job, DEFAULTS, finished=done or DoneIds(), reject=self.refused.append, **settings)

    def ids(self, *texts: bytes, check: bool) -> list[str]:
        """The ids of the jobs to be done."""
        if check:
            self.intake.check(lines(*texts))
        return [job.id for job in self.intake.jobs(lines(*texts)) if job is not None]


both = pytest.mark.parametrize("check", [False, True], ids=["as it goes", "checked first"])


@both
def test_input_edited(*, check: bool) -> None:
    """Lines that were added, removed or moved change nothing for the others."""
    desk = Desk(done_with(ask("a"), ask("b"), ask("gone")))
    assert desk.ids(ask("new"), ask("b"), ask("a"), ask("last"), check=check) == ["new", "last"]
    assert (desk.intake.skipped, desk.intake.taken, desk.intake.duplicates) == (2, 2, 0)


@both
def test_repeats(*, check: bool) -> None:
    """A line that repeats an earlier one is counted, one that contradicts it refused under an id of its own."""
    desk = Desk(done_with(ask("a")))
    assert desk.ids(ask("a"), ask("b"), ask("b"), ask("b", "other"), ask("a"), ask("a", "x"), check=check) == ["b"]
    assert (desk.intake.skipped, desk.intake.duplicates, desk.intake.refused) == (1, 2, 2)
    assert [result.seq for result in desk.refused] == [3, 5]
    assert not {result.id for result in desk.refused} & {"a", "b"}


@both
def test_lines_without_ids(*, check: bool) -> None:
    """Equal lines without an id are jobs of their own, found again by their place among the equals."""
    line = b'{"prompt":"again"}'
    first = Desk().ids(line, line, line, check=False)
    assert [name.partition("#")[2] for name in first] == ["", "2", "3"]
    done = DoneIds()
    done.add(first[1], None)
    desk = Desk(done)
    assert desk.ids(line, line, line, line, check=check) == [first[0], first[2], first[0] + "#4"]
    assert desk.intake.skipped == 1


@both
def test_bad_lines(*, check: bool) -> None:
    """A line that is no job is refused once, whether the input is read once or twice."""
    desk = Desk(done_with(ask("a")))
    assert desk.ids(b"{", ask("a"), ask("b"), b"[]", check=check) == ["b"]
    assert [result.seq for result in desk.refused] == [0, 3]


@both
def test_limit(*, check: bool) -> None:
    """The first lines are the whole input, refused ones and repeats among them."""
    desk = Desk(done_with(ask("b")), at_most=4)
    assert desk.ids(b"{", ask("a"), ask("a"), ask("b"), ask("c"), check=check) == ["a"]
    assert (desk.intake.skipped, desk.intake.duplicates, desk.intake.refused) == (1, 1, 1)


def test_changed() -> None:
    """A check counts all jobs that ask for something else, keeps the first, and lets nothing of them out."""
    desk = Desk(done_with(*(ask(name) for name in "abcdef")))
    changed = [ask(name, "new") for name in "abcde"]
    desk.intake.check(lines(ask("f"), *changed))
    assert (desk.intake.changed, [job.id for job in desk.intake.examples]) == (5, ["a", "b", "c"])


def test_changed_as_it_goes() -> None:
    """Where the input is read but once, the first changed job ends the reading with code 65."""
    desk = Desk(done_with(ask("a"), ask("b")))
    with pytest.raises(InputError, match=r"line 2 \(id 'b'\)") as caught:
        desk.ids(ask("a"), ask("b", "new"), check=False)
    assert caught.value.exit == Exit.INPUT


@both
def test_changed_kept(*, check: bool) -> None:
    """With keep, the old result counts; a later line for the id is held against what the input asks now."""
    desk = Desk(done_with(ask("a"), ask("b")), on_change="keep")
    assert desk.ids(ask("a", "new"), ask("a", "new"), ask("a"), ask("c"), check=check) == ["c"]
    assert (desk.intake.skipped, desk.intake.duplicates, desk.intake.refused) == (1, 1, 1)


def test_changed_rerun() -> None:
    """With rerun, the changed jobs are to be done, and the memory can tell which results they replace."""
    done = done_with(ask("a"), ask("b"))
    desk = Desk(done, on_change="rerun")
    assert desk.ids(ask("a", "new"), ask("b"), check=True) == ["a"]
    assert (done.changed("a"), done.changed("b")) == (True, False)


@both
def test_failed_left_alone(*, check: bool) -> None:
    """Jobs that failed before are left alone if that is asked for, unless they have a result."""
    failed = DoneIds()
    for name in ("a", "b"):
        failed.add(name, None)
    desk = Desk(done_with(ask("b")), failed=failed.__contains__)
    assert desk.ids(ask("a"), ask("b"), ask("c"), check=check) == ["c"]
    assert (desk.intake.left, desk.intake.skipped) == (1, 1)


@both
def test_places(*, check: bool) -> None:
    """Every line is noted: with its job's id, or without one if it is no job or no first."""

    class InputOrder:
        def __init__(self) -> None:
            self.noted: dict[int, str] = {}

        def note(self, seq: int, ident: str) -> None:
            self.noted[seq] = ident

    places = InputOrder()
    desk = Desk(done_with(ask("b")), order=places)
    desk.ids(ask("a"), ask("b"), b"{", ask("a"), ask("a", "x"), ask("c"), check=check)
    assert places.noted == {0: "a", 1: "b", 2: "", 3: "", 4: "", 5: "c"}


def test_a_pipe_that_has_nothing_yet() -> None:
    """Where nothing has arrived, nothing is yielded and the reading goes on."""
    desk = Desk(at_most=2)
    arriving = [None, Line(0, 0, ask("a")), None, Line(1, 0, ask("b")), Line(2, 0, ask("c"))]
    assert [job and job.id for job in desk.intake.jobs(arriving)] == [None, "a", None, "b"]


@both
def test_lines_that_are_asked_for_again(*, check: bool) -> None:
    """They are the jobs that they were, under the ids that they had; what is no longer what it was is passed over."""
    texts = [orjson.dumps({"prompt": "same"})] * 3 + [ask("a"), ask("b"), ask("c")]
    desk = Desk()
    ids = desk.ids(*texts, check=check)
    again = [*texts[:4], ask("b", "edited"), texts[5]]
    found = desk.intake.again(lines(*again), iter([(1, 5), (4, 6), (5, 7)]))
    assert [(job.seq, job.id, number) for job, number in filter(None, found)] == [(1, ids[1], 5), (5, "c", 7)]
    assert desk.intake.taken == 6
    assert not desk.refused


def test_others_have_their_turn_while_lines_are_looked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long way to a line is gone in stretches."""
    monkeypatch.setattr("batcher.inputs.intake.TURN", 3)
    texts = [ask(str(number)) for number in range(10)]
    desk = Desk()
    desk.ids(*texts, check=False)
    rests: list[int] = []
    desk.intake.rest = lambda: rests.append(1)
    found = list(desk.intake.again(lines(*texts), iter([(8, 1)])))
    assert [one and one[0].seq for one in found] == [None, None, 8]
    assert len(rests) == 2
