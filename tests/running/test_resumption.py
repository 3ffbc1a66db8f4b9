"""What a run does about earlier results and its state file: what it tells, what it moves, what it leaves."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from support.fulldisk import write_with_room
from support.result_lines import entry, ids

from batcher.failures import Exit, InputError, OutputIOError, UsageError
from batcher.inputs.changes import run_changes
from batcher.inputs.formats import FORMATS, parse_job
from batcher.inputs.formats.defaults import Defaults
from batcher.inputs.intake import Intake
from batcher.inputs.source import Source
from batcher.ledger import disk, state
from batcher.ledger.ledger import Ledger
from batcher.ledger.names import quarantine_path, state_path, superseded_path
from batcher.ledger.state import State, Status
from batcher.redaction import Redactor, Secret
from batcher.running.resumption import compare
from batcher.running.statekeeper import StateKeeper
from batcher.view.summary import Summary

if TYPE_CHECKING:
    from pathlib import Path

OLD = Defaults(model="old", params={"temperature": 0})
NEW = Defaults(model="new", params={"temperature": 0.5})


class Desk:
    """An input of three jobs, and the results of the first two by the model `old`."""

    def __init__(self, path: Path) -> None:
        self.path = path / "results.jsonl"
        self.input = path / "jobs.jsonl"
        self.notes: list[str] = []
        asked = [orjson.dumps({"id": name, "prompt": f"say {name}"}) for name in "abc"]
        self.input.write_bytes(b"\n".join(asked) + b"\n")
        self.old = [self.result(seq, line) for seq, line in enumerate(asked[:2])]
        self.path.write_bytes(b"".join(self.old))

    def result(self, seq: int, line: bytes) -> bytes:
        job = parse_job(line, seq, OLD)
        record = {"id": job.id, "seq": seq, "hash": job.hash, "model": "old", "text": "hm"}
        return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)

    def jobs(self, ledger: Ledger, defaults: Defaults = NEW, **settings: Any) -> list[str]:
        """The ids that a run would send."""
        source = Source(str(self.input), FORMATS["jsonl"])
        try:
            intake = Intake(parse_job, defaults, finished=ledger.done, reject=print, **settings)
            before, after = state.parameters(OLD), state.parameters(defaults)
            compare(intake, source, ledger, self.notes.append, before=before, parameters=after)
            return [job.id for job in intake.jobs(source.lines()) if job is not None]
        finally:
            source.close()


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_unchanged(desk: Desk) -> None:
    """The same jobs by the same parameters: what has a result is done."""
    with Ledger.open(desk.path) as ledger:
        assert desk.jobs(ledger, OLD) == ["c"]
    assert not superseded_path(desk.path).exists()


def test_error(desk: Desk) -> None:
    """Changed jobs are an error that names lines, models and parameters, and changes nothing."""
    with Ledger.open(desk.path) as ledger, pytest.raises(InputError) as caught:
        desk.jobs(ledger)
    assert caught.value.exit == Exit.INPUT
    message = str(caught.value)
    assert "line 1 (id 'a': model old → new), line 2 (id 'b': model old → new):" in message
    assert "differs from the one before: model old → new, params temperature 0 → 0.5." in message
    assert "--on-change rerun" in message
    assert desk.path.read_bytes() == b"".join(desk.old)


def test_rerun(desk: Desk) -> None:
    """With rerun the old lines go to the superseded file, and their jobs can have another line, once."""
    with Ledger.open(desk.path) as ledger:
        ledger.append([entry("kept")])
        assert desk.jobs(ledger, on_change="rerun") == ["a", "b", "c"]
        assert superseded_path(desk.path).read_bytes() == b"".join(desk.old)
        assert ids(desk.path) == ["kept"]
        assert ledger.append([entry("a"), entry("a"), entry("kept")]) == 1
        ledger.sync()
    assert ids(desk.path) == ["kept", "a"]
    assert "moved 2 results of other requests" in desk.notes[0]
    assert not quarantine_path(desk.path).exists()
    with Ledger.open(desk.path) as ledger:
        assert ledger.repaired is None


def test_rerun_keeps_the_lock(desk: Desk) -> None:
    """The rewritten file is the one that is locked and appended to."""
    from batcher.failures import LockedError

    with Ledger.open(desk.path) as ledger:
        ledger.append([entry("kept")])
        desk.jobs(ledger, on_change="rerun")
        with pytest.raises(LockedError):
            Ledger.open(desk.path)


def test_rerun_on_a_full_disk(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the moving fails, every result is still in the results file, and the next run can move it."""
    with Ledger.open(desk.path) as ledger:
        ledger.append([entry("kept")])
    whole = desk.path.read_bytes()
    for room in range(0, len(whole), 11):
        with monkeypatch.context() as patch, Ledger.open(desk.path) as ledger:
            patch.setattr(disk, "_write", write_with_room(room))
            with pytest.raises(OutputIOError, match="No space"):
                desk.jobs(ledger, on_change="rerun")
        assert desk.path.read_bytes() == whole
    with Ledger.open(desk.path) as ledger:
        assert desk.jobs(ledger, on_change="rerun") == ["a", "b", "c"]
    assert ids(desk.path) == ["kept"]


def test_keep(desk: Desk) -> None:
    """With keep, what has any result is done."""
    with Ledger.open(desk.path) as ledger:
        assert desk.jobs(ledger, on_change="keep") == ["c"]
    assert desk.path.read_bytes() == b"".join(desk.old)


def test_rerun_from_a_pipe(desk: Desk) -> None:
    """What can be read but once cannot be compared before anything is sent: it is refused."""
    desk.input.unlink()
    os.mkfifo(desk.input)
    held = os.open(desk.input, os.O_RDWR)  # so that opening it to read does not wait
    try:
        with Ledger.open(desk.path) as ledger, pytest.raises(UsageError, match="as a file"):
            desk.jobs(ledger, on_change="rerun")
    finally:
        os.close(held)


def test_state_round_trip(tmp_path: Path) -> None:
    """A state is read as it was written, by its owner alone, without what was cleaned out."""
    path = tmp_path / "results.state.json"
    written = State(status=Status.STOPPED, run={"system": "secret-key"}, counts={"ok": 3}, synced=7, sync_failed=True)
    assert state.write(path, written, Redactor([Secret("secret-key")]).value) is None
    found, note = state.read(path)
    assert note is None
    assert found == State(status=Status.STOPPED, run={"system": "***"}, counts={"ok": 3}, synced=7, sync_failed=True)
    assert found.untrusted == 7
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"{}", b'{"version":2}', b'{"version":1,"run":3}', b"\xff", b'{"version":1}']
)
def test_state_that_cannot_be_read(tmp_path: Path, content: bytes) -> None:
    """A broken state, or one of a version to come, is passed over with a note that names the file."""
    path = tmp_path / "results.state.json"
    path.write_bytes(content)
    found, note = state.read(path)
    assert found is None
    assert note is not None
    assert str(path) in note


def test_no_state(tmp_path: Path) -> None:
    """A state that is not there is nothing to mention."""
    assert state.read(tmp_path / "none.json") == (None, None)


def test_state_that_cannot_be_written(tmp_path: Path) -> None:
    """A state that cannot be written is told, and ends nothing."""
    note = state.write(tmp_path / "none" / "results.state.json", State(status=Status.RUNNING))
    assert note is not None
    assert "no worse for it" in note


def test_keeper(tmp_path: Path) -> None:
    """A run leaves a state at its start and at its end, which says how far the disk has the results."""
    path = tmp_path / "results.jsonl"
    summary, notes = Summary(started=0.0), list[str]()
    with StateKeeper(summary, notes.append) as keeper, Ledger.open(path) as ledger:
        assert keeper.before(ledger) == {}
        keeper.begin(ledger, {"model": "m"}, {"size": 5}, dict)
        first, _ = state.read(state_path(path))
        assert first is not None
        assert (first.status, first.run, first.input, first.synced) == ("running", {"model": "m"}, {"size": 5}, 0)
        ledger.append([entry("a")])
        summary.ok = 1
    last, _ = state.read(state_path(path))
    assert last is not None
    assert (last.status, last.counts["ok"], last.synced, last.untrusted) == ("complete", 1, path.stat().st_size, None)
    with StateKeeper(Summary(started=0.0), notes.append) as keeper, Ledger.open(path) as ledger:
        assert keeper.before(ledger) == {"model": "m"}
    assert state.read(state_path(path))[0] == last  # a run that never began leaves what the last one left
    assert notes == []


def test_keeper_after_a_failed_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that ends because a sync failed leaves word of how far its results can be trusted."""
    path = tmp_path / "results.jsonl"

    def fail(fd: int) -> None:
        raise OSError(5, "Input/output error")

    def end_badly() -> None:
        with StateKeeper(Summary(started=0.0), print) as keeper, Ledger.open(path) as ledger:
            keeper.begin(ledger, {}, {}, dict)
            ledger.append([entry("a")])
            ledger.sync()
            ledger.append([entry("b")])
            with monkeypatch.context() as patch:
                patch.setattr(disk, "sync", fail)
                ledger.sync()

    with pytest.raises(OutputIOError):
        end_badly()
    found, _ = state.read(state_path(path))
    assert found is not None
    assert (found.status, found.untrusted) == ("stopped", len(entry("a")[2]))


def test_what_changed() -> None:
    """Parameters are compared one by one; what is not said is (none)."""
    before = {"model": "a", "params": {"seed": 0, "top_p": 1}, "system": "x" * 100}
    after = {"model": "a", "params": {"seed": 1, "top_p": 1}, "endpoint": "/api/chat"}
    assert run_changes(before, after) == [
        "endpoint (none) → /api/chat",
        "params seed 0 → 1",
        f"system {'x' * 39}… → (none)",
    ]
