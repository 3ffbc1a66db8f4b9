"""What a run does to its results file, in small: opening in various states, appending, syncing, a full disk."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from support.commandline import names, prompts
from support.result_lines import entry
from torture.scene import run_here

from batcher.failures import OutputIOError
from batcher.ledger.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path
    from random import Random

    from torture.recording import Log

    from batcher.ledger.lines import Entry


LINES: Final[dict[str, Entry]] = {
    ident: entry(ident, seq, text=f"answer {ident} " * (1 + seq * 5 % 17))
    for seq, ident in enumerate(f"job-{number:02d}" for number in range(20))
}
"""One line for each job, 80 to 400 bytes."""
_RAW: Final = [line for _, _, line in LINES.values()]


class Scenario(NamedTuple):
    """What stands there at first, what is done then, and how it is finished after a power cut."""

    before: dict[str, bytes]
    work: Callable[[Path, Log, Random], None]
    finish: Callable[[Path], None]
    ids: Collection[str]


def whole_runs(url: str) -> Scenario:
    """Real runs, with the errors file and the state file that stand beside the results."""
    jobs = names(20)
    before = b"".join(json.dumps(job).encode() + b"\n" for job in prompts(jobs, "tokens=3"))

    def run(results: Path) -> None:
        run_here(results.with_name("jobs.jsonl"), results, url, durability="each")

    def work(results: Path, log: Log, rng: Random) -> None:
        del log
        run_here(results.with_name("jobs.jsonl"), results, url, limit=rng.randint(1, 19))
        run(results)

    return Scenario({"jobs.jsonl": before}, work, run, jobs)


def finish(results: Path) -> None:
    """Open the file and give every job that has none a line: another one, as a model seldom says a thing twice."""
    with Ledger.open(results) as ledger:
        ledger.append([entry(ident, text="another answer") for ident in LINES if ident not in ledger])


def _work(results: Path, log: Log, rng: Random) -> None:
    """Append in groups, and sync now and then."""
    del log
    with Ledger.open(results) as ledger:
        _append_groups(ledger, rng)


def _work_on_a_full_disk(results: Path, log: Log, rng: Random) -> None:
    """Append until the disk is full, again when there is room, and so on."""
    with Ledger.open(results) as ledger:
        while len(ledger) < len(LINES):
            log.room = rng.randrange(1500)
            with suppress(OutputIOError):
                _append_groups(ledger, rng)
            log.room = None
            if rng.random() < 0.3:
                ledger.sync()


def _append_groups(ledger: Ledger, rng: Random) -> None:
    missing = [line for line in LINES.values() if line[0] not in ledger]
    while missing:
        count = rng.randint(1, 4)
        ledger.append(missing[:count])
        del missing[:count]
        if rng.random() < 0.4:
            ledger.sync()


_TORN: Final = b"".join(_RAW[:6])[:-40]
_HURT: Final = _RAW[0] + b"\0" * 100 + _RAW[1][50:] + _RAW[2] + _RAW[0] + b"hello\n" + _RAW[3] + _RAW[4]
_UNENDED: Final = b"".join(_RAW[:3])[:-1]

SCENARIOS: Final = {
    "fresh": Scenario({}, _work, finish, LINES),
    "empty": Scenario({"results.jsonl": b""}, _work, finish, LINES),
    "torn": Scenario({"results.jsonl": _TORN}, _work, finish, LINES),
    "unended": Scenario({"results.jsonl": _UNENDED}, _work, finish, LINES),
    "hurt": Scenario({"results.jsonl": _HURT}, _work, finish, LINES),
    "hurt, with leftovers": Scenario(
        {"results.jsonl": _HURT + _TORN, "results.quarantine": b"older\n", ".results.jsonl.new": _RAW[0]},
        _work,
        finish,
        LINES,
    ),
    "full disk": Scenario({}, _work_on_a_full_disk, finish, LINES),
    "hurt, full disk": Scenario({"results.jsonl": _HURT}, _work_on_a_full_disk, finish, LINES),
}
