"""Any order of starts, stops, kills and edits, held against a model: what each job's line must say."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from hypothesis import HealthCheck, seed, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from torture.evidence import check_accounted, results_in, whole_lines
from torture.kills import settle
from torture.scene import run_here

from batcher.failures import InputError
from batcher.simulator import BackgroundSimulator, simulator_thread, text
from batcher.view.observer import Silent

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from random import Random

    from torture.budget import Budget

    from batcher.outcome import Result

STEPS = 30
POLICIES = st.sampled_from(("error", "rerun", "keep"))
PICK = st.integers(min_value=0, max_value=1000)


class KilledError(Exception):
    """Stands for SIGKILL in a run that happens in this process."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a job asks for: which edit of its prompt, at which temperature, and whether the server will refuse it."""

    edit: int
    temperature: int
    bad: bool = False


class Watcher(Silent):
    """Does something once so many jobs have finished."""

    def __init__(self, after: int | None, act: Callable[[], None]) -> None:
        self._left = after
        self._act = act

    def finished(self, result: Result) -> None:
        del result
        if self._left is not None:
            self._left -= 1
            if self._left == 0:
                self._act()


class Life(RuleBasedStateMachine):
    """The life of one results file."""

    sim: ClassVar[BackgroundSimulator]
    home: ClassVar[Path]
    seen: ClassVar[Counter[str]]

    def __init__(self) -> None:
        super().__init__()
        shutil.rmtree(self.home, ignore_errors=True)
        self.home.mkdir(parents=True)
        self.results = self.home / "results.jsonl"
        self.jobs: list[str] = []
        self.asked: dict[str, tuple[int, bool]] = {}
        self.done: dict[str, tuple[Asked, bytes]] = {}
        self.temperature = 0
        self.made = 0
        self.seen["lives"] += 1

    @initialize(count=st.integers(1, 8))
    def begin(self, count: int) -> None:
        for _ in range(count):
            self.add(0, bad=False)

    @rule(place=PICK, bad=st.booleans())
    def add(self, place: int, bad: bool) -> None:  # noqa: FBT001 - drawn by name
        name = f"q{self.made}"
        self.made += 1
        self.jobs.insert(place % (len(self.jobs) + 1), name)
        self.asked[name] = (0, bad)

    @precondition(lambda self: len(self.jobs) > 1)
    @rule(place=PICK)
    def remove(self, place: int) -> None:
        self.jobs.pop(place % len(self.jobs))

    @rule(rng=st.randoms(use_true_random=False))
    def reorder(self, rng: Random) -> None:
        rng.shuffle(self.jobs)

    @rule(place=PICK, bad=st.booleans())
    def change(self, place: int, bad: bool) -> None:  # noqa: FBT001 - as above
        name = self.jobs[place % len(self.jobs)]
        self.asked[name] = (self.asked[name][0] + 1, bad)

    @rule(temperature=st.integers(0, 1))
    def change_the_parameters(self, temperature: int) -> None:
        self.temperature = temperature

    @rule(policy=POLICIES, concurrency=st.integers(1, 5))
    def finish(self, policy: str, concurrency: int) -> None:
        """Let it run to its end: every job then has its answer, or its complaint."""
        if not self._run("finished", policy, concurrency, None, lambda: None):
            return
        bad = {name for name in self.jobs if self._now(name).bad and name not in self.done}
        assert set(self.jobs) - bad <= self.done.keys(), "a job has no result"
        errors = self.home / "results.errors.jsonl"
        failed = [json.loads(line)["id"] for line in whole_lines(errors.read_bytes())] if errors.exists() else []
        assert len(failed) == len(set(failed)), "a failure stands there twice"
        assert bad <= set(failed), "a failure is missing"
        assert not self.done.keys() & set(failed), "a failure stands there though its job has succeeded"

    @rule(
        number=st.sampled_from((signal.SIGINT, signal.SIGTERM, signal.SIGHUP)),
        after=st.integers(1, 6),
        policy=POLICIES,
        concurrency=st.integers(1, 5),
    )
    def stop(self, number: signal.Signals, after: int, policy: str, concurrency: int) -> None:
        """A signal in the middle: what was in flight is finished and kept."""
        self._run("stopped", policy, concurrency, after, lambda: os.kill(os.getpid(), number), signals=True)

    @rule(after=st.integers(1, 6), policy=POLICIES, concurrency=st.integers(1, 5), torn=st.integers(0, 60))
    def kill(self, after: int, policy: str, concurrency: int, torn: int) -> None:
        """The files are found as they were at that moment, perhaps with the beginning of another line."""
        left: dict[str, bytes] = {}

        def die() -> None:
            left.update({path.name: path.read_bytes() for path in self.home.iterdir() if path.is_file()})
            raise KilledError

        def restore() -> None:
            settle(self.sim)  # what the dead had sent is counted before the next one begins
            if not left:
                return
            for path in self.home.iterdir():
                path.unlink()
            left["results.jsonl"] += b'{"id":"q0","seq":0,"hash":"0123456789abcdef","model":"simulator"'[:torn]
            for name, data in left.items():
                (self.home / name).write_bytes(data)

        self._run("killed", policy, concurrency, after, die, restore=restore)

    def _now(self, name: str) -> Asked:
        edit, bad = self.asked[name]
        return Asked(edit, self.temperature, bad)

    def _run(
        self,
        how: str,
        policy: str,
        concurrency: int,
        after: int | None,
        act: Callable[[], None],
        *,
        restore: Callable[[], None] = lambda: None,
        signals: bool = False,
    ) -> bool:
        """Run once, and hold the files against the model; false if it was refused, as it had to be."""
        parameters = {"temperature": self.temperature}
        options: dict[str, Any] = {"concurrency": concurrency, "params": parameters, "on_change": policy}
        jobs = self._write_jobs()
        before = self.results.read_bytes() if self.results.exists() else b""
        sent = self.sim.counts.total()
        changed = {name for name in self.jobs if name in self.done and self.done[name][0] != self._now(name)}
        try:
            run_here(jobs, self.results, self.sim.url, Watcher(after, act), signals=signals, **options)
        except InputError:
            assert changed, "refused without a reason"
            assert policy == "error"
            self._check_refused(sent)
            return False
        except (KilledError, ExceptionGroup) as error:
            if isinstance(error, ExceptionGroup) and error.split(KilledError)[1] is not None:
                raise
        assert not changed or policy != "error", "a changed job went through"
        restore()
        self.seen[how] += 1
        self._check_lines(before, changed if policy == "rerun" else set())
        return True

    def _write_jobs(self) -> Path:
        jobs = self.home / "jobs.jsonl"
        with jobs.open("w") as file:
            for name in self.jobs:
                now = self._now(name)
                prompt = f"[[sim id={name}e{now.edit} tokens=3{' status=400' if now.bad else ''}]]"
                file.write(json.dumps({"id": name, "prompt": prompt}) + "\n")
        return jobs

    def _check_refused(self, sent: int) -> None:
        self.seen["refused"] += 1
        assert self.sim.counts.total() == sent, "something was sent though the input contradicts the results"
        assert results_in(self.results) == {name: line for name, (_, line) in self.done.items()}
        for name, (asked, _) in self.done.items():  # its user takes the edits back
            self.asked[name] = (asked.edit, asked.bad)
            self.temperature = asked.temperature

    def _check_lines(self, before: bytes, replaced: set[str]) -> None:
        """What had a line has it still; what is new answers what was asked; what was removed was set aside."""
        left = self.results.read_bytes()
        beside = self.home / "results.superseded.jsonl"
        superseded = set(whole_lines(beside.read_bytes())) if beside.exists() else set()
        lines = {_ident(line): line for line in whole_lines(left)}
        assert len(lines) == len(whole_lines(left)), "an id has two lines"
        for name, line in lines.items():
            if name in self.done and self.done[name][1] == line:
                continue
            assert name not in self.done or self.done[name][1] in superseded, f"the line of {name} was replaced"
            now = self._now(name)
            assert json.loads(line)["text"] == text(f"{name}e{now.edit}", 3), f"{name} has another answer"
            self.done[name] = (now, line)
        for name in list(self.done.keys() - lines.keys()):
            assert self.done[name][1] in superseded, f"the line of {name} is gone"
            del self.done[name]
        if not replaced:
            check_accounted(before, self.results)


def lives(place: Path, budget: Budget, rng: Random, *, derandomize: bool = False) -> Counter[str]:
    """Live as many lives as the budget has turns, of thirty steps each. Raises AssertionError on a violation."""
    seen: Counter[str] = Counter()
    with simulator_thread(keep=0) as sim:

        class Placed(Life):
            home = place / "life"

        Placed.sim, Placed.seen = sim, seen
        chosen = settings(
            max_examples=budget.turns,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            derandomize=derandomize,
            suppress_health_check=list(HealthCheck),
        )
        test = Placed if derandomize else seed(rng.randrange(2**32))(Placed)
        run_state_machine_as_test(test, settings=chosen)
    return seen


def _ident(line: bytes) -> str:
    return line.split(b'"', 4)[3].decode()
