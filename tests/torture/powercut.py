"""Power cuts: from a log of what was done to the files, the states in which a disk may be found afterwards.

A sync of a file keeps its bytes and its length, a sync of the directory keeps the names. Of what came later, any
beginning may have happened; the last write may be torn, and any page of it may be zeros though later ones are there.
"""

from __future__ import annotations

import shutil
from collections import Counter
from typing import TYPE_CHECKING, Final

from torture.evidence import check_accounted, check_kept, results_in
from torture.recording import Log, Op, recording
from torture.work import SCENARIOS, Scenario, whole_runs

from batcher.simulator import simulator_thread

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from random import Random

    from torture.budget import Budget

PAGES: Final = (16, 64, 512, 4096)
"""Sizes of what a disk writes whole. The small ones are worse than any disk, and so find more."""
CUTS_A_LOG: Final = 40


def power_cuts(place: Path, budget: Budget, rng: Random) -> Counter[str]:
    """Cut the power at random moments of what the ledger does, and recover. Raises AssertionError on a violation."""
    return _cut_all(place / "power", list(SCENARIOS.values()), budget, rng)


def power_cuts_of_runs(place: Path, budget: Budget, rng: Random) -> Counter[str]:
    """The same with whole runs, which have more files; another whole run recovers."""
    with simulator_thread(keep=0) as sim:
        return _cut_all(place / "power", [whole_runs(sim.url)], budget, rng)


def _cut_all(home: Path, scenarios: Sequence[Scenario], budget: Budget, rng: Random) -> Counter[str]:
    figures: Counter[str] = Counter()
    while not budget.over:
        scenario = rng.choice(scenarios)
        log = _recorded(home, scenario, rng)
        figures["logs"] += 1
        for _ in range(CUTS_A_LOG):
            if not budget.spend():
                break
            _cut_and_recover(home, log, scenario, rng, figures)
    return figures


def _recorded(home: Path, scenario: Scenario, rng: Random) -> Log:
    _fill(home, scenario.before)
    with recording(home) as log:
        scenario.work(home / "results.jsonl", log, rng)
    for file in ("results.jsonl", "results.quarantine"):  # else the log has a hole in it, and proves nothing
        path = home / file
        assert replay(log.before, log.ops).get(file) == (path.read_bytes() if path.exists() else None)
    return log


def _cut_and_recover(home: Path, log: Log, scenario: Scenario, rng: Random, figures: Counter[str]) -> None:
    """One cut, one recovery; now and then the power fails during the recovery as well, and again."""
    results = home / "results.jsonl"
    ops = log.ops[: rng.randrange(len(log.ops) + 1)]
    promised = next((op.promised for op in reversed(ops) if op.what == "promise"), ())
    state = cut(log.before, ops, rng)
    figures["states"] += 1
    while rng.random() < 0.2:
        _fill(home, state)
        with recording(home) as again:
            scenario.finish(results)
        figures["cut in recovery"] += 1
        state = cut(state, again.ops[: rng.randrange(len(again.ops) + 1)], rng)
    _fill(home, state)
    left = state.get("results.jsonl", b"")
    scenario.finish(results)
    found = results_in(results)
    assert found.keys() >= set(scenario.ids), "a job has no result"
    check_kept({_ident(line): line for line in promised}, found)
    check_accounted(left, results)
    check_accounted(log.before.get("results.jsonl", b""), results)
    figures["with bad bytes"] += b"\0" in left or (left != b"" and not left.endswith(b"\n"))
    figures["promised lines"] += len(promised)


def cut(before: dict[str, bytes], ops: Sequence[Op], rng: Random) -> dict[str, bytes]:
    """What is found on the disk, name → bytes, when the power fails after these."""
    names, pending_names = _names(before, ops)
    for op in pending_names[: rng.randint(0, len(pending_names))]:
        _rename(names, op)
    return {name: _found(before, ops, file, rng) for name, file in names.items()}


def replay(before: dict[str, bytes], ops: Sequence[Op]) -> dict[str, bytes]:
    """What the files hold when nothing fails."""
    names, pending = _names(before, ops)
    for op in pending:
        _rename(names, op)
    contents = {}
    for name, file in names.items():
        contents[name] = bytes(_written(*_history(before, ops, file)))
    return contents


def _names(before: dict[str, bytes], ops: Sequence[Op]) -> tuple[dict[str, int | str], list[Op]]:
    """Name → file as the last sync of the directory left them, and what was done to names since."""
    names: dict[str, int | str] = {name: name for name in before}
    pending: list[tuple[int, Op]] = []
    for index, op in enumerate(ops):
        if op.what == "find":
            names[op.name] = op.file
        elif op.what in ("create", "rename", "unlink"):
            pending.append((index, op))
        elif op.what == "sync" and op.file == -1:
            for done in [one for one in pending if one[0] < op.upto]:
                _rename(names, done[1])
                pending.remove(done)
    return names, [op for _, op in pending]


def _rename(names: dict[str, int | str], op: Op) -> None:
    if op.what == "create":
        names[op.name] = op.file
    elif op.what == "unlink":
        names.pop(op.name, None)
    elif op.name in names:
        names[op.target] = names.pop(op.name)


def _history(before: dict[str, bytes], ops: Sequence[Op], file: int | str) -> tuple[bytes, list[Op]]:
    """What of a file is safe, and what was done to it since its last sync."""
    if isinstance(file, str):
        return before[file], []  # nobody touched it
    found = next((op.name for op in ops if op.what == "find" and op.file == file), None)
    safe = before[found] if found is not None else b""
    pending: list[tuple[int, Op]] = []
    for index, op in enumerate(ops):
        if op.file != file:
            continue
        if op.what in ("write", "truncate"):
            pending.append((index, op))
        elif op.what == "sync":
            safe = bytes(_written(safe, [one for at, one in pending if at < op.upto]))
            pending = [(at, one) for at, one in pending if at >= op.upto]
    return safe, [op for _, op in pending]


def _written(safe: bytes, pending: Sequence[Op]) -> bytearray:
    content = bytearray(safe)
    for op in pending:
        if op.what == "write":
            content += op.data
        else:
            del content[op.size :]
    return content


def _found(before: dict[str, bytes], ops: Sequence[Op], file: int | str, rng: Random) -> bytes:
    """What is found in a file: some beginning of what is not safe, torn, and with pages that were never written."""
    safe, pending = _history(before, ops, file)
    happened = rng.randint(0, len(pending))
    content = _written(safe, pending[:happened])
    floor = min([len(safe), *(op.size for op in pending[:happened] if op.what == "truncate")])
    if happened < len(pending) and pending[happened].what == "write":
        data = pending[happened].data
        content += data[: rng.randint(0, len(data))]
    page, holes = rng.choice(PAGES), rng.choice((0.0, 0.1, 0.5, 1.0))
    for start in range(floor - floor % page, len(content), page):
        if rng.random() < holes:
            hole = range(max(start, floor), min(start + page, len(content)))
            content[hole.start : hole.stop] = bytes(len(hole))
    return bytes(content)


def _fill(home: Path, state: dict[str, bytes]) -> None:
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    for name, data in state.items():
        (home / name).write_bytes(data)


def _ident(line: bytes) -> str:
    return line.split(b'"', 4)[3].decode()
