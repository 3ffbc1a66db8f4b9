"""The short way to what is done, by the seal of a results file: it gives the same jobs as the long way by ids."""

from __future__ import annotations

import os
import random
import shutil
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
import pytest
from support.result_lines import entry, ids

from batcher.failures import InputError
from batcher.inputs import intake as intake_module
from batcher.inputs.formats import FORMATS, parse_job
from batcher.inputs.formats.defaults import Defaults
from batcher.inputs.intake import Intake
from batcher.inputs.lineset import LineSet
from batcher.inputs.source import Source
from batcher.ledger import disk, state
from batcher.ledger.ledger import Ledger
from batcher.ledger.names import state_path
from batcher.ledger.seal import HEAD, Prefixes, Seal
from batcher.running.resumption import compare, seal_of
from batcher.running.statekeeper import StateKeeper
from batcher.view.summary import Summary

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path

    from batcher.inputs.formats.rows import Data
    from batcher.inputs.identity import Ids
    from batcher.model import Job
    from batcher.outcome import Result

MODEL = Defaults(model="m")
OTHER = Defaults(model="other")
TEXT = "x" * HEAD + "hello"
PIXEL = b"\x89PNG\r\n\x1a\n" + b"\0" * 9


class Plan(NamedTuple):
    """What a run would do: the jobs it would send, the lines it would refuse, what it counts, and its complaint."""

    sent: list[tuple[int, str]]
    refused: list[tuple[int, str]]
    counts: tuple[int, ...]
    complaint: str | None


class Desk:
    """An input, its results, and runs over them that answer so many jobs. `parsed` counts lines that were parsed."""

    def __init__(self, path: Path) -> None:
        self.input = path / "jobs.jsonl"
        self.results = path / "results.jsonl"
        self.aside = path / "aside"
        self.parsed = 0

    def write(self, *lines: bytes) -> None:
        self.input.write_bytes(b"".join(line + b"\n" for line in lines))

    def plan(self, *, short: bool, defaults: Defaults = MODEL, **settings: Any) -> Plan:
        """What a run would do, by the seal or without it, on copies of the results and the state."""
        shutil.rmtree(self.aside, ignore_errors=True)
        self.aside.mkdir()
        for path in (self.results, state_path(self.results)):
            if path.exists():
                shutil.copy(path, self.aside)
        source = Source(str(self.input), FORMATS["jsonl"])
        fingerprint = source.fingerprint if short else None
        sent: list[Job] = []
        refused: list[Result] = []
        complaint = None
        with Ledger.open(self.aside / self.results.name, fingerprint=fingerprint) as ledger:
            intake = self._intake(ledger, refused, defaults, settings)
            try:
                self._compare(intake, source, ledger)
                sent.extend(job for job in intake.jobs(source.lines()) if job is not None)
            except InputError:
                complaint, sent = "changed", []
            finally:
                source.close()
        counts = (intake.skipped, intake.duplicates, intake.left, intake.refused, intake.taken, intake.changed)
        if complaint:
            return Plan([], [], (), complaint)
        return Plan([(job.seq, job.id) for job in sent], [(one.seq, one.id) for one in refused], counts, None)

    def run(
        self,
        answers: int,
        *,
        defaults: Defaults = MODEL,
        killed_after: int | None = None,
        failing: Collection[int] = (),
        **settings: Any,
    ) -> list[str]:
        """Answer so many jobs and end, or be killed so many after the last word of the state file.

        Jobs on `failing` lines get no answer.
        """
        source = Source(str(self.input), FORMATS["jsonl"])
        answered: list[str] = []
        keeper = StateKeeper(Summary(started=0.0), print)
        ledger = Ledger.open(self.results, fingerprint=source.fingerprint)
        intake = self._intake(ledger, [], defaults, settings)
        try:
            self._compare(intake, source, ledger)
            keeper.begin(ledger, state.parameters(defaults), source.fingerprint, dict, partial(seal_of, ledger, intake))
            for job in intake.jobs(source.lines()):
                if job is None or job.seq in failing:
                    continue
                if len(answered) == answers:
                    break
                ledger.append([entry(job.id, job.seq, TEXT, job.hash)])
                answered.append(job.id)
                if killed_after is not None and len(answered) == answers - killed_after:
                    ledger.sync()
                    keeper.keep()
        except InputError:
            pass
        finally:
            source.close()
            ledger.close()
        if killed_after is None:
            keeper.__exit__(None, None, None)
        return answered

    def sealed(self) -> Seal | None:
        found, _ = state.read(state_path(self.results))
        return found.seal if found else None

    def _intake(self, ledger: Ledger, refused: list[Result], defaults: Defaults, settings: dict[str, Any]) -> Intake:
        def parse(data: Data, seq: int, defaults: Defaults, ids: Ids | None = None) -> Job:
            self.parsed += 1
            return parse_job(data, seq, defaults, ids)

        own = Defaults(model=defaults.model, files_root=self.input.parent)
        return Intake(parse, own, finished=ledger.done, reject=refused.append, **settings)

    def _compare(self, intake: Intake, source: Source, ledger: Ledger) -> None:
        asked = state.parameters(intake.defaults)
        compare(intake, source, ledger, lambda _: None, before={}, parameters=asked)


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No power is cut here."""
    monkeypatch.setattr(disk, "sync", lambda _: None)
    monkeypatch.setattr(disk, "sync_directory", lambda _: None)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def ask(number: int, prompt: str = "hi") -> bytes:
    return orjson.dumps({"id": f"job-{number}", "prompt": f"{prompt} {number}"})


def both(desk: Desk, **settings: Any) -> Plan:
    """The plan of the short way, which is that of the long one."""
    short = desk.plan(short=True, **settings)
    assert short == desk.plan(short=False, **settings)
    return short


@pytest.mark.parametrize("answers", [0, 3, 10])
def test_what_is_done_is_not_parsed(desk: Desk, answers: int) -> None:
    """An interrupted run is taken up by parsing the lines without a result, and no other."""
    desk.write(*map(ask, range(10)))
    desk.run(answers)
    desk.parsed = 0
    plan = desk.plan(short=True)
    assert desk.parsed == 10 - answers if answers else 20
    assert [seq for seq, _ in plan.sent] == [*range(answers, 10)]
    assert plan.counts[0] == answers


def test_ids_are_read_only_where_they_are_asked_for(desk: Desk) -> None:
    """Once the whole input was met, and each line is a job of its own, no id is kept; who asks is answered rightly."""
    desk.write(*map(ask, range(10)))
    desk.run(10)
    source = Source(str(desk.input), FORMATS["jsonl"])
    source.close()
    with Ledger.open(desk.results, fingerprint=source.fingerprint) as ledger:
        assert (len(ledger), len(ledger.done)) == (10, 0)
        ledger.append([entry("new", 11)])
        assert "new" in ledger
        assert len(ledger.done) == 1
        assert ("job-3" in ledger, "none" in ledger) == (True, False)
        assert (len(ledger), len(ledger.done)) == (11, 11)
        assert ledger.append([entry("job-3"), entry("new")]) == 0


@pytest.mark.parametrize("killed_after", [0, 1, 3])
def test_a_killed_run(desk: Desk, killed_after: int) -> None:
    """What came after the last word of the state file is told by its ids, and sealed by the next run."""
    desk.write(*map(ask, range(10)))
    desk.run(6, killed_after=killed_after)
    assert both(desk).counts[0] == 6
    desk.parsed = 0
    desk.plan(short=True)
    assert desk.parsed == 10 - 6 + killed_after
    desk.run(2)
    desk.parsed = 0
    assert len(desk.plan(short=True).sent) == 2
    assert desk.parsed == 2


def test_a_killed_run_over_an_input_that_was_met(desk: Desk) -> None:
    """Also where no ids were needed, what came after the last word of the state file is told by its ids."""
    desk.write(*map(ask, range(10)))
    desk.run(99, failing={3, 5, 7})
    seal = desk.sealed()
    assert seal is not None
    assert seal.alone
    assert desk.run(2, killed_after=1) == ["job-3", "job-5"]
    assert both(desk).sent == [(7, "job-7")]


def test_two_results_of_one_line(desk: Desk) -> None:
    """A line of the input that two results name, one of them of an older input, ends what is sealed."""
    desk.write(*map(ask, range(3)))
    desk.run(2)
    before = desk.sealed()
    with desk.results.open("ab") as file:
        file.write(entry("gone", 1)[2])
    desk.run(0)
    assert desk.sealed() == before
    assert len(both(desk).sent) == 1


def test_a_file_that_was_replaced(desk: Desk) -> None:
    """Whoever puts other lines in the place of a file's leaves it without a seal."""
    desk.write(*map(ask, range(3)))
    desk.run(2)
    with Ledger.open(desk.results) as ledger:
        assert ledger.synced_seal is not None
        ledger.replace(lambda fd, path: (fd, path))
        ledger.append([entry("new")])
        ledger.sync()
        left = [ledger.synced_seal, ledger.prefixes.proven]
        assert left == [None, None]


def test_an_input_that_grew(desk: Desk) -> None:
    """A changed input is compared once, and sealed with the results if these are where they were."""
    desk.write(*map(ask, range(5)))
    desk.run(5)
    desk.write(*map(ask, range(7)))
    assert [seq for seq, _ in both(desk).sent] == [5, 6]
    desk.run(1)
    desk.parsed = 0
    assert [seq for seq, _ in both(desk).sent] == [6]
    assert desk.parsed == 1 + 7 + 1  # by the seal; compared by ids, and what is sent


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([ask(0), ask(0), ask(1), ask(1, "else")], id="repeats and clashes"),
        pytest.param([b'{"prompt":"x"}'] * 4, id="equal lines without ids"),
        pytest.param([b"{", ask(0), b"", b"[]", ask(1)], id="lines that are no jobs"),
        pytest.param([orjson.dumps({"id": 'quo"te', "prompt": "x"}), ask(1)], id="an id with an escape"),
        pytest.param([orjson.dumps({"id": "x" * HEAD, "prompt": "x"}), ask(1)], id="a long id"),
        pytest.param([b'{"id":"a","prompt":"x","images":["a.png"]}', ask(1)], id="an image"),
        pytest.param([b'{"id":"a","prompt":"x","images":["gone.png"]}', b'{"id":"a","prompt":"y"}'], id="no image"),
    ],
)
def test_inputs_of_all_kinds(desk: Desk, lines: list[bytes]) -> None:
    """Stopped after any number of jobs, any input is taken up as it is by ids, also when an image has changed."""
    image, gone = desk.input.with_name("a.png"), desk.input.with_name("gone.png")
    image.write_bytes(PIXEL)
    desk.write(*lines)
    for _ in range(len(lines) + 1):
        for limit in (None, 1, 3):
            both(desk, at_most=limit)
        image.write_bytes(PIXEL + b"2")
        gone.write_bytes(PIXEL)
        both(desk)
        gone.unlink()
        image.write_bytes(PIXEL)
        desk.run(1)


def _cut(data: bytes) -> bytes:
    return data[: len(data) * 2 // 3]


def _lines_of(change: Callable[[list[bytes]], list[bytes]]) -> Callable[[bytes], bytes]:
    return lambda data: b"".join(change(data.splitlines(keepends=True)))


EDITS: dict[str, Callable[[bytes], bytes]] = {
    "cut": _cut,
    "emptied": lambda _: b"",
    "reversed": _lines_of(lambda lines: lines[::-1]),
    "neighbours exchanged": _lines_of(lambda lines: [lines[1], lines[0], *lines[2:]]),
    "first gone": _lines_of(lambda lines: lines[1:]),
    "middle gone": _lines_of(lambda lines: lines[:2] + lines[3:]),
    "one repeated": _lines_of(lambda lines: [*lines, lines[0]]),
    "one in the place of another": _lines_of(lambda lines: [lines[0], lines[0], *lines[2:]]),
    "a foreign result": _lines_of(lambda lines: [*lines, b'{"id":"job-7"}\n']),
    "a result of an older input": _lines_of(lambda lines: [*lines, entry("gone", 8)[2]]),
    "ids exchanged": lambda data: data.replace(b"job-1", b"job-x").replace(b"job-2", b"job-1"),
    "an id exchanged": lambda data: data.replace(b'"job-1"', b'"job-9"'),
    "a seq exchanged": lambda data: data.replace(b'"seq":1', b'"seq":9'),
    "a hash exchanged": lambda data: data.replace(b'"hash":"', b'"hash":"0', 1).replace(b'","text"', b'"text"', 1),
    "zeros in the body": lambda data: data.replace(b"hello", b"\0" * 5, 1),
    "zeros at the end": lambda data: data[:-20] + b"\0" * 20,
    "two glued": lambda data: data.replace(b"\n", b"", 1),
    "blank line": lambda data: data.replace(b"\n", b"\n\n", 1),
}


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("killed_after", [None, 2])
@pytest.mark.parametrize("answers", [5, 10])
def test_a_results_file_that_someone_edited(desk: Desk, edit: str, killed_after: int | None, answers: int) -> None:
    """Whatever became of the results, jobs without one are sent and the others are not."""
    desk.write(*map(ask, range(10)))
    desk.run(answers, killed_after=killed_after)
    desk.results.write_bytes(EDITS[edit](desk.results.read_bytes()))
    both(desk)
    desk.run(2)
    both(desk)
    desk.run(20, on_change="rerun")
    assert both(desk).sent == []
    assert {*ids(desk.results)} >= {f"job-{number}" for number in range(10)}
    assert len(ids(desk.results)) == len({*ids(desk.results)})


def _touch(desk: Desk, *, same_time: bool) -> None:
    """Exchange an answered line for another of the same length, and set the time back."""
    before = desk.input.stat()
    desk.input.write_bytes(desk.input.read_bytes().replace(b"hi 1", b"ha 1"))
    if same_time:
        os.utime(desk.input, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("same_time", [False, True])
def test_a_changed_line_is_found(desk: Desk, *, same_time: bool) -> None:
    """An input of the same size, even of the same time, is not taken for the one before."""
    desk.write(*map(ask, range(5)))
    desk.run(5)
    _touch(desk, same_time=same_time)
    assert both(desk).complaint == "changed"
    assert both(desk, on_change="keep").sent == []
    assert both(desk, on_change="rerun").sent == [(1, "job-1")]


@pytest.mark.parametrize("on_change", ["error", "keep", "rerun"])
def test_changed_parameters(desk: Desk, on_change: str) -> None:
    """A seal is for the parameters beside it, whatever a run with others did in between."""
    desk.write(*map(ask, range(6)))
    desk.run(3)
    both(desk, defaults=OTHER, on_change=on_change)
    desk.run(2, defaults=OTHER, on_change=on_change)
    for defaults in (MODEL, OTHER):
        for choice in ("error", "keep", "rerun"):
            both(desk, defaults=defaults, on_change=choice)


@pytest.mark.parametrize("change", ["batcher", "input", "run", "seal", "nonsense", "types", "none"])
def test_a_state_file_of_another_run(desk: Desk, change: str) -> None:
    """Without the right state file there is no short way, and nothing else is different."""
    desk.write(*map(ask, range(6)))
    desk.run(4)
    path = state_path(desk.results)
    record = orjson.loads(path.read_bytes())
    match change:
        case "none":
            path.unlink()
        case "nonsense":
            path.write_bytes(b"{")
        case "types":
            path.write_bytes(orjson.dumps(record | {"seal": {"size": "4", "crc": None, "alone": 1}}))
        case "seal":
            path.write_bytes(orjson.dumps(record | {"seal": record["seal"] | {"crc": 1}}))
        case _:
            path.write_bytes(orjson.dumps(record | {change: {} if change != "batcher" else "0"}))
    desk.parsed = 0
    assert len(desk.plan(short=True).sent) == 2
    assert desk.parsed == 6 + 2
    both(desk)


def test_a_sync_that_failed_leaves_no_seal(desk: Desk) -> None:
    """Results that the disk may not have are found by their ids, after they were written anew."""
    desk.write(*map(ask, range(4)))
    desk.run(2)
    path = state_path(desk.results)
    path.write_bytes(orjson.dumps(orjson.loads(path.read_bytes()) | {"sync_failed": True}))
    desk.parsed = 0
    assert len(desk.plan(short=True).sent) == 2
    assert desk.parsed > 4


class Life:
    """Runs, stops, kills, and whatever people do between them, by a random number."""

    def __init__(self, desk: Desk, number: int) -> None:
        self.desk = desk
        self.rng = random.Random(number)
        self.next = 8
        desk.write(*[self.line(n) for n in range(self.next)])

    def line(self, number: int) -> bytes:
        kinds = [ask(number)] * 6 + [b'{"prompt":"same"}', b"{", b"", ask(max(0, number - 2)), ask(0, "clash")]
        return self.rng.choice(kinds)

    def steps(self) -> Iterator[Callable[[], object]]:
        while True:
            yield self.rng.choice([self.run, self.run, self.run, self.edit_input, self.edit_results, self.lose_state])

    def run(self) -> None:
        rng = self.rng
        self.desk.run(
            rng.choice([1, 3, 5, 99]),
            defaults=rng.choice([MODEL, MODEL, MODEL, OTHER]),
            killed_after=rng.choice([None, None, 0, 2]),
            failing=rng.sample(range(10), k=rng.choice([0, 0, 3])),
            at_most=rng.choice([None, None, None, 4]),
            on_change=rng.choice(["error", "keep", "rerun"]),
        )

    def edit_input(self) -> None:
        lines, rng = self.desk.input.read_bytes().splitlines(), self.rng
        match rng.randrange(5):
            case 0:
                lines.append(self.line(self.next))
                self.next += 1
            case 1 if len(lines) > 1:
                del lines[rng.randrange(len(lines))]
            case 2:
                lines.insert(0, self.line(self.next))
                self.next += 1
            case 3:
                rng.shuffle(lines)
            case _:
                lines[rng.randrange(len(lines))] = self.line(0)
        self.desk.write(*lines)

    def edit_results(self) -> None:
        path = self.desk.results
        data = path.read_bytes() if path.exists() else b""
        if data.count(b"\n") > 3:
            path.write_bytes(EDITS[self.rng.choice([*EDITS])](data))

    def lose_state(self) -> None:
        state_path(self.desk.results).unlink(missing_ok=True)


@pytest.mark.parametrize(
    "numbers",
    [range(15), pytest.param(range(15, 40), marks=pytest.mark.slow)],
    ids=["a few", "many"],
)
def test_lives(tmp_path: Path, numbers: range) -> None:
    """Whatever happened, the short way is the way of the ids, and in the end each job has one result."""
    for number in numbers:
        path = tmp_path / str(number)
        path.mkdir()
        life = Life(Desk(path), number)
        for step, _ in zip(life.steps(), range(12), strict=False):
            step()
            both(life.desk, on_change=life.rng.choice(["error", "keep", "rerun"]), at_most=life.rng.choice([None, 4]))
        life.desk.run(99, on_change="rerun")
        assert both(life.desk).sent == [], number
        found = ids(life.desk.results)
        assert len(found) == len({*found})


@pytest.mark.parametrize("sealed", [True, False])
def test_the_reading_is_broken_off(desk: Desk, *, sealed: bool) -> None:
    """What the checkpoint raises ends the opening of a file, by its seal or by ids; it is left unlocked as it was."""
    desk.write(*map(ask, range(4)))
    desk.run(4)
    before = desk.results.read_bytes()
    source = Source(str(desk.input), FORMATS["jsonl"])
    source.close()

    def checkpoint() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Ledger.open(desk.results, fingerprint=source.fingerprint if sealed else None, checkpoint=checkpoint)
    with Ledger.open(desk.results):
        assert desk.results.read_bytes() == before


def test_others_have_their_turn(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """While many lines are passed over, nothing is yielded now and then, and someone is told that there is more."""
    monkeypatch.setattr(intake_module, "TURN", 3)
    desk.write(*map(ask, range(10)))
    desk.run(8)
    source, turns = Source(str(desk.input), FORMATS["jsonl"]), list[int]()
    with Ledger.open(desk.results, fingerprint=source.fingerprint) as ledger:
        intake = Intake(parse_job, MODEL, finished=ledger.done, reject=print, rest=lambda: turns.append(1))
        compare(intake, source, ledger, print, before={}, parameters=state.parameters(MODEL))
        assert [job and job.seq for job in intake.jobs(source.lines())] == [None, None, 8, 9]
    source.close()
    assert len(turns) == 2


@pytest.mark.parametrize("piece", [1 << 18, 200, 1])
def test_pieces(desk: Desk, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A seal does not depend on how many lines were read, or written, at a time."""
    monkeypatch.setattr("batcher.ledger.seal._PIECE", piece)
    lines = [entry(f"job-{number}", number)[2] for number in (3, 0, 2)]
    desk.results.write_bytes(b"".join(lines))
    prefixes = Prefixes()
    with desk.results.open("rb") as file:
        prefixes.read_on(file, desk.results.stat().st_size, bool)
    assert prefixes.seal == Seal().over(lines) == Seal().over(lines[:1]).over(lines[1:])
    assert [seq for seq in range(5) if seq in prefixes.lines] == [0, 2, 3]


def test_line_set() -> None:
    """Sets of lines are equal if they hold the same, however they grew."""
    one, other = LineSet(), LineSet()
    one.update([5, 70_000, 5])
    other.add(70_000)
    assert one != other
    other.add(5)
    assert one == other == one.copy()
    assert (len(one), 6 in one, 70_000 in one, 10**12 in one) == (2, False, True, False)
