"""What came of a soak: the files held against what the server said, without batcher's code, and the targets."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson
from soak.faults import TOKENS, name
from soak.gauge import MB, by_hour, by_job
from soak.journal import Account, What, account
from support.commandline import Desk
from torture.evidence import SCHEMA

from batcher.simulator import text

if TYPE_CHECKING:
    from pathlib import Path

    from soak.gauge import Sample
    from soak.stage import Stage

GROWTH: Final = 1.0
"""MB an hour that the memory of a client may grow by."""
LONG_ENOUGH: Final = 120.0
"""Seconds of work from which on growth by the hour can be told from noise."""
SPARE_FILES: Final = 24
"""Open files beside the connections: the input, the results, the errors, the loop's own."""
_SCHEMA_EVERY: Final = 997
"""The schema is a hundred times as slow as the rest."""


class Target(NamedTuple):
    """One line of the table. `met` is None where this soak was too short to tell."""

    what: str
    found: str
    wanted: str
    met: bool | None

    def __str__(self) -> str:
        verdict = {True: "met", False: "MISSED", None: "too short to tell"}[self.met]
        return f"{self.what:<28} {self.found:>24}   {self.wanted:<24} {verdict}"


@dataclass(slots=True)
class Findings:
    """What the results file holds."""

    lines: int = 0
    duplicated: int = 0
    wrong: list[str] = field(default_factory=list)
    """Lines that are no answer of the server's to their job: the first few."""
    seen: bytearray = field(default_factory=bytearray)

    @property
    def lost(self) -> int:
        return self.seen.count(0)


@dataclass(slots=True)
class Verdict:
    """All figures of a soak."""

    stage: Stage
    findings: Findings
    account: Account
    errors: int
    """Lines in the errors file."""
    verified: int
    """The exit code of `batcher verify`."""
    kinds: Counter[str]
    """Faults that the jobs had in store."""

    @classmethod
    def of(cls, stage: Stage) -> Verdict:
        """Read all that a soak has left."""
        errors = stage.results.with_suffix(".errors.jsonl")
        verify = Desk(stage.place).command("verify", stage.input, stage.results)
        return cls(
            stage,
            read_results(stage.results, stage.plan.jobs),
            account(stage.journal, stage.plan.jobs),
            errors.read_bytes().count(b"\n") if errors.exists() else 0,
            subprocess.run(verify, check=False, capture_output=True).returncode,
            Counter(kind for number in range(stage.plan.jobs) if (kind := stage.faults.kind(number))),
        )

    @property
    def calm(self) -> list[Sample]:
        """The samples of the life that was left alone, settled."""
        last = self.stage.lives[-1]
        return last.settled if last.calm and last.samples else []

    def targets(self) -> list[Target]:
        """What was to be shown."""
        stage, found, counted = self.stage, self.findings, self.account
        most = stage.plan.concurrency
        return [
            Target("the last run ended with", str(stage.code), "0", stage.code == 0),
            Target("lost", f"{found.lost:,}", "0", not found.lost),
            Target("duplicated", f"{found.duplicated:,}", "0", not found.duplicated),
            Target("wrong lines", f"{len(found.wrong):,}", "0", not found.wrong),
            Target("in the errors file", f"{self.errors:,}", "0", not self.errors),
            Target("batcher verify ended with", str(self.verified), "0", not self.verified),
            self._sent_again("re-sent for a kill", What.CLIENT, most),
            self._sent_again("re-sent for a restart", What.SERVER, most),
            self._sent_again("re-sent for a crash", What.CRASH, most),
            Target("re-sent for nothing", f"{len(counted.causeless):,}", "0", not counted.causeless),
            *self._growth(),
            *self._files(),
        ]

    @property
    def is_met(self) -> bool:
        return all(target.met is not False for target in self.targets())

    def remarks(self) -> list[str]:
        """What else there is to know."""
        stage, counted = self.stage, self.account
        pace = (
            f"{stage.done:,} of {stage.plan.jobs:,} jobs in {stage.elapsed:.0f} s, {stage.done / stage.elapsed:,.0f}/s"
        )
        met = f"{self.kinds.total():,} jobs with faults of {len(self.kinds)} kinds"
        said = [
            f"{pace}; {stage.kills} kills, {stage.restarts} restarts of the server",
            f"{counted.requests:,} requests; {met}; {counted.faults:,} requests ended by one",
        ]
        said += self._memory()
        if counted.causeless:
            again = (f"{name(number)} ({stage.faults.kind(number) or 'no fault'})" for number in counted.causeless[:9])
            said.append(f"sent again for nothing: {', '.join(again)}")
        if stage.code:
            said.append(f"its last words: {stage.words[-500:]}")
        return said + [f"wrong: {line}" for line in self.findings.wrong[:3]]

    def as_json(self) -> dict[str, Any]:
        stage = self.stage
        return {
            "plan": asdict(stage.plan),
            "done": stage.done,
            "seconds": stage.elapsed,
            "kills": stage.kills,
            "restarts": stage.restarts,
            "requests": self.account.requests,
            "faults": dict(self.kinds),
            "lives": [
                {"calm": life.calm, "samples": [(*one,) for one in life.samples]}
                for life in stage.lives
                if life.samples
            ],
            "remarks": self.remarks(),
            "targets": [target._asdict() for target in self.targets()],
            "met": self.is_met,
        }

    def _sent_again(self, words: str, what: What, most: int) -> Target:
        lost, worst = self.account.lost[what], self.account.most[what]
        return Target(words, f"{worst} at most, {lost:,} in all", f"≤ {most} each", worst <= most)

    def _growth(self) -> list[Target]:
        """Of the life that is left alone. It knew all ids before: what it does must not add a byte."""
        samples = self.calm
        rise = by_hour(samples)
        if rise is None:
            return []
        words = f"{rise.rise:+.2f} ± {rise.error:.2f} MB/h"
        long_enough = samples[-1].time - samples[0].time >= LONG_ENOUGH
        return [
            Target("growth, all ids known", words, f"< {GROWTH:g} MB/h", rise.rise < GROWTH if long_enough else None)
        ]

    def _memory(self) -> list[str]:
        """How a client starts and grows: by what it remembers of each job, if it meets the job for the first time."""
        samples = [one for life in self.stage.lives for one in life.samples]
        if not samples:
            return []
        starts = [life.samples[0].time - life.began for life in self.stage.lives if life.samples]
        said = [f"from a start to its first new result {max(starts):.1f} s at most, {median(starts):.1f} s as a median"]
        said += [f"memory {min(one.rss for one in samples) / MB:.0f} to {max(one.rss for one in samples) / MB:.0f} MB"]
        killed = max((life.settled for life in self.stage.lives if not life.calm and life.samples), key=len, default=[])
        for words, those in (("that met jobs for the first time", killed), ("that knew all jobs before", self.calm)):
            if (rise := by_job(those)) is not None:
                span, jobs = those[-1].time - those[0].time, those[-1].done - those[0].done
                each = f"{rise.rise:+.2f} ± {rise.error:.2f} bytes a job"
                said.append(f"in the longest life {words}: {each} ({jobs:,} jobs in {span:.0f} s)")
        return said

    def _files(self) -> list[Target]:
        samples = [one for life in self.stage.lives for one in life.samples]
        if not samples:
            return []
        most, limit = max(one.files for one in samples), self.stage.plan.concurrency + SPARE_FILES
        return [Target("open files", f"{most} at most", f"≤ {limit}", most <= limit)]


def read_results(path: Path, jobs: int) -> Findings:
    """Hold each line against what the server says to its job, and count the jobs."""
    found = Findings(seen=bytearray(jobs))
    if not path.exists():
        return found
    with path.open("rb") as file:
        for line in file:
            found.lines += 1
            try:
                number = _number(line)
                if found.lines % _SCHEMA_EVERY == 0:
                    SCHEMA.validate(json.loads(line))
                found.duplicated += found.seen[number]
                found.seen[number] = 1
            except Exception as error:  # noqa: BLE001 - whatever is wrong with a line is counted and told
                found.wrong.append(f"{error}: {line[:200]!r}")
    return found


def _number(line: bytes) -> int:
    """Whose answer a line is. Raises whatever shows that it is none, or that of another."""
    record = orjson.loads(line)
    number = int(record["id"][1:])
    if (record["id"], record["seq"], record["text"]) != (name(number), number, text(name(number), TOKENS)):
        raise ValueError("the answer of another")
    if not line.endswith(b"\n"):
        raise ValueError("no end")
    return number
