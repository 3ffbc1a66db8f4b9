"""Results files cut at every byte, and with zeros, torn, repeated, foreign and altered lines in them."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from support.commandline import Desk, names, prompts
from support.result_lines import entry
from torture.evidence import check_accounted, check_finished, check_kept, results_in, whole_lines
from torture.scene import run_here

from batcher.ledger.ledger import Ledger
from batcher.simulator import simulator_thread

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from random import Random

    from torture.budget import Budget

JOBS: Final = 20
RUN_EVERY: Final = 50
"""Of the states, one in so many is finished by a whole run, the others by the ledger alone."""
FOREIGN: Final = (
    b"hello",
    b"",
    b"[]",
    b"{}",
    b'{"a":1}',
    b"\xff\xfe\0",
    b'{"id":null}',
    b"null",
    b'{"id":"q001"',
    b"\r",
)
_ID: Final = re.compile(rb'\{"id":"([^"]*)","seq":')


@dataclass(slots=True)
class Patient:
    """A real results file of a real run, and a place to hurt copies of it."""

    home: Path
    url: str
    lines: list[bytes]

    @property
    def results(self) -> Path:
        return self.home / "results.jsonl"

    def lay(self, data: bytes) -> None:
        """Put a file there with nothing beside it but the jobs."""
        for path in self.home.iterdir():
            if path.name != "jobs.jsonl":
                path.unlink()
        self.results.write_bytes(data)

    def finish(self, *, by_run: bool) -> None:
        """Give every job its line."""
        if by_run:
            run_here(self.home / "jobs.jsonl", self.results, self.url)
            return
        with Ledger.open(self.results) as ledger:
            ledger.append([entry(name) for name in names(JOBS) if name not in ledger])


def truncations(place: Path, budget: Budget, rng: Random) -> Counter[str]:
    """Cut the file at every byte, or at as many random ones as the budget has. Raises AssertionError."""
    figures: Counter[str] = Counter()
    with simulator_thread(keep=0) as sim:
        patient = _patient(place / "cut", sim.url)
        whole = b"".join(patient.lines)
        offsets = list(range(len(whole) + 1))
        if budget.turns < len(offsets):
            offsets = rng.sample(offsets, budget.turns)
        figures["bytes of the file"] = len(whole)
        for offset in offsets:
            if not budget.spend():
                break
            data = whole[:offset]
            by_run = budget.spent % RUN_EVERY == 1
            patient.lay(data)
            patient.finish(by_run=by_run)
            _check(patient, data, by_run=by_run)
            kept = results_in(patient.results)
            complete = offset >= len(whole) - 1 or whole[offset : offset + 1] == b"\n"
            assert len(set(kept.values()) & set(patient.lines)) == len(whole_lines(data)) + (
                complete and not data.endswith(b"\n") and offset > 0
            ), f"cut at {offset}: not all whole lines were kept"
            figures["cuts"] += 1
            figures["by a whole run"] += by_run
    return figures


def surgery(place: Path, budget: Budget, rng: Random) -> Counter[str]:
    """Hurt the file at random, one to four times over, and finish it. Raises AssertionError on a violation."""
    figures: Counter[str] = Counter()
    with simulator_thread(keep=0) as sim:
        patient = _patient(place / "surgery", sim.url)
        while budget.spend():
            cuts = rng.sample(list(HARM), rng.randint(1, 4))
            data = b"".join(patient.lines)
            for name in cuts:
                data = HARM[name](data, rng) if data else data
            patient.lay(data)
            by_run = budget.spent % RUN_EVERY == 1 and "alter" not in cuts
            if not set(whole_lines(data)) & set(patient.lines):
                continue  # nothing of ours is left in it, and a file of foreign lines is refused
            patient.finish(by_run=by_run)
            if "alter" in cuts:
                _check_altered(patient, data)
            else:
                _check(patient, data, by_run=by_run)
            figures["states"] += 1
            figures["by a whole run"] += by_run
            figures["with altered bytes"] += "alter" in cuts
    return figures


def _check(patient: Patient, data: bytes, *, by_run: bool) -> None:
    """Each job once, every whole line kept as it was, and all else set aside."""
    found = results_in(patient.results)
    if by_run and found.keys() == set(names(JOBS)):
        check_finished(patient.results, names(JOBS))
    assert found.keys() >= set(names(JOBS)), "a job has no result"
    own = set(patient.lines)
    check_kept({_ident(line): line for line in whole_lines(data) if line in own}, found)
    check_accounted(data, patient.results)


def _check_altered(patient: Patient, data: bytes) -> None:
    """Bytes exchanged for others are not noticed everywhere; still each job has one line, and nothing vanishes."""
    found = Counter(_readable(line) for line in whole_lines(patient.results.read_bytes()))
    assert found.keys() >= {name.encode() for name in names(JOBS)}, "a job has no result"
    assert found.total() == len(found), "an id has two lines"
    check_accounted(data, patient.results)


def _readable(line: bytes) -> bytes:
    """The id of a line, also where what follows on it is no JSON any more."""
    match = _ID.match(line)
    return match[1] if match else str(json.loads(line)["id"]).encode()


def _patient(home: Path, url: str) -> Patient:
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    Desk(home).write("jobs.jsonl", *prompts(names(JOBS)))
    run_here(home / "jobs.jsonl", home / "results.jsonl", url)
    lines = whole_lines((home / "results.jsonl").read_bytes())
    assert len(lines) == JOBS
    return Patient(home, url, lines)


def _lines(data: bytes) -> list[bytes]:
    """All lines, an unended last one too."""
    return [*whole_lines(data), data[data.rfind(b"\n") + 1 :]]


def _zero(data: bytes, rng: Random) -> bytes:
    """A page, or a few, of which only zeros reached the disk."""
    page = rng.choice((16, 512, 4096))
    start = rng.randrange(len(data) // page + 1) * page
    length = min(page * rng.randint(1, 3), len(data) - start)
    return data[:start] + bytes(length) + data[start + length :]


def _tear(data: bytes, rng: Random) -> bytes:
    """A line that was cut short with the next one glued to it, which is batcher's own: no other program writes here."""
    lines = _lines(data)
    number = rng.choice([at for at, line in enumerate([*lines[1:], b""]) if line == b"" or _ID.match(line)])
    lines[number] = lines[number][: rng.randrange(len(lines[number]) or 1)]
    return b"".join(lines)


def _cut(data: bytes, rng: Random) -> bytes:
    return data[: rng.randrange(len(data))]


def _repeat(data: bytes, rng: Random) -> bytes:
    lines = _lines(data)
    lines.insert(rng.randint(0, len(lines)), rng.choice(lines))
    return b"".join(lines)


def _insert(data: bytes, rng: Random) -> bytes:
    """A line that others wrote into the file, though not onto one that was cut short."""
    lines = _lines(data)
    lines.insert(rng.randrange(len(lines)), rng.choice(FOREIGN) + b"\n")
    return b"".join(lines)


def _alter(data: bytes, rng: Random) -> bytes:
    altered = bytearray(data)
    for _ in range(rng.randint(1, 5)):
        altered[rng.randrange(len(altered))] ^= 1 << rng.randrange(8)
    return bytes(altered)


HARM: Final[dict[str, Callable[[bytes, Random], bytes]]] = {
    "zero": _zero,
    "tear": _tear,
    "cut": _cut,
    "repeat": _repeat,
    "insert": _insert,
    "alter": _alter,
}


def _ident(line: bytes) -> str:
    return line.split(b'"', 4)[3].decode()
