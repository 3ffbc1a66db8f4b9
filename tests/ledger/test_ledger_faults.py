"""Each call to the system fails once, wherever it comes: what was accepted stays, and the next run mends the rest."""

from __future__ import annotations

import errno
import os
import stat
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from support.result_lines import entry, ids

from batcher.failures import BatcherError, Exit, LockedError
from batcher.ledger import disk, state
from batcher.ledger.ledger import Ledger
from batcher.ledger.names import quarantine_path, state_path
from batcher.ledger.state import State, Status

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from batcher.ledger.lines import Entry

TORN = b'{"id":"torn","seq":9,"ha'
JUNK = b'{"id":"junk",\n'
BEFORE = [entry("old"), entry("older")]
GROUPS = [[entry("a"), entry("b")], [entry("c")], [entry("d"), entry("e"), entry("f")]]
CALLS = {
    "write": (disk, "_write"),
    "fdatasync": (os, "fdatasync"),
    "fsync": (os, "fsync"),
    "ftruncate": (os, "ftruncate"),
    "rename": (os, "rename"),
    "pread": (os, "pread"),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.jsonl"


class NthFails:
    """Lets the n-th of some calls fail; a write has put half of its bytes there by then."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, call: str, nth: int, code: int) -> None:
        self.calls = 0
        self._nth = nth
        owner, name = CALLS[call]
        original: Callable[..., Any] = getattr(owner, name)

        def fail(*args: Any) -> Any:
            self.calls += 1
            if self.calls != nth:
                return original(*args)
            if call == "write":
                original(args[0], args[1][: len(args[1]) // 2])
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(owner, name, fail)

    @property
    def happened(self) -> bool:
        return self.calls >= self._nth


def work(path: Path, accepted: list[str]) -> None:
    """What a run does to its file: open it, write group by group with a sync after each, close it."""
    with Ledger.open(path) as ledger:
        for group in GROUPS:
            ledger.append(group)
            accepted.extend(ident for ident, *_ in group)
            ledger.sync()


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize(
    ("call", "junk"),
    [(call, JUNK) for call in CALLS if call != "ftruncate"]  # damage in the middle: the file is written anew
    + [(call, b"") for call in CALLS if call != "rename"],  # at the end: it is cut off
)
def test_each_call_fails_once(path: Path, monkeypatch: pytest.MonkeyPatch, call: str, junk: bytes, code: int) -> None:
    """Whichever call fails, the run ends with 74, and the next one has every accepted line and all removed bytes."""
    for nth in count(1):
        accepted = [ident for ident, *_ in BEFORE]
        path.write_bytes(BEFORE[0][2] + junk + BEFORE[1][2] + TORN)
        quarantine_path(path).unlink(missing_ok=True)
        with monkeypatch.context() as patch:
            fault = NthFails(patch, call, nth, code)
            try:
                work(path, accepted)
            except BatcherError as error:
                assert error.exit == Exit.IO  # noqa: PT017 - it need not be raised
                assert fault.happened
        with Ledger.open(path) as ledger:
            assert all(ident in ledger for ident in accepted)
        work(path, [])
        found = ids(path)
        assert sorted(found) == sorted(
            [ident for ident, *_ in BEFORE] + [line[0] for group in GROUPS for line in group]
        )
        removed = quarantine_path(path).read_bytes()
        assert junk in removed
        assert TORN in removed
        assert sorted(name.name for name in path.parent.iterdir()) == ["results.jsonl", "results.quarantine"]
        if not fault.happened:
            assert nth > 1
            return


@pytest.mark.parametrize("lines", [[], [entry("a"), entry("b")]])
def test_a_file_that_a_sync_failed_on(path: Path, monkeypatch: pytest.MonkeyPatch, lines: list[Entry]) -> None:
    """What a failed sync left in doubt is copied to a new file and synced there, under the same lock and mode."""
    with Ledger.open(path) as ledger:
        ledger.append(lines)
    path.chmod(0o640)
    before = path.stat().st_ino
    renewed: list[int] = []

    def sync(fd: int) -> None:
        renewed.append(os.fstat(fd).st_ino)

    state.write(state_path(path), State(status=Status.STOPPED, synced=0, sync_failed=True))
    monkeypatch.setattr(disk, "sync", sync)
    with Ledger.open(path) as ledger:
        assert ledger.synced == ledger.end
        assert renewed == [path.stat().st_ino] != [before]
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        assert path.read_bytes() == b"".join(line for *_, line in lines)
        with pytest.raises(LockedError):
            Ledger.open(path)
        assert ledger.append([entry("a"), entry("c")]) == (1 if lines else 2)
    assert {file.name for file in path.parent.iterdir()} == {"results.jsonl", "results.state.json"}
