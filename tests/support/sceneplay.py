"""Plays a scene by the real process, and a second run of it; the server's own counts are the evidence."""

from __future__ import annotations

import re
import subprocess
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, NamedTuple

from support.commandline import WAIT, Desk

from batcher.simulator import Tally, simulator_thread

if TYPE_CHECKING:
    from support.scenes import Scene

    from batcher.simulator import BackgroundSimulator

SOON: Final = 10.0
"""The moment (seconds) at which is counted how many healthy jobs are done."""
KEY_FILE: Final = "key"


class Ended(NamedTuple):
    """The exit code, None if the run was stopped for being late; the seconds; what was said on stderr."""

    code: int | None
    took: float
    said: str


@dataclass(slots=True)
class Stage:
    """The server of a scene and the run's directory, for what happens meanwhile."""

    sims: list[BackgroundSimulator]
    desk: Desk
    tally: Tally
    wrong: list[str] = field(default_factory=list)
    """What those who act meanwhile found wrong."""

    @property
    def sim(self) -> BackgroundSimulator:
        return self.sims[0]

    @property
    def answered(self) -> int:
        return len(self.tally.answered)

    def change_key(self, key: str, *, tell: bool = True) -> None:
        """From now on the server takes this key alone; `tell` puts it into the file as well, just before."""
        if tell:
            self.write_key(key)
        self.sim.settings = replace(self.sim.settings, key=key)

    def write_key(self, key: str) -> None:
        """Replace the file of the key, as those do who rotate keys."""
        new = self.desk.path / "key.new"
        new.touch(mode=0o600)
        new.write_text(key)
        new.replace(self.desk.path / KEY_FILE)

    def go_away(self, seconds: float, server: int = 0) -> None:
        self.sims[server].kill()
        time.sleep(seconds)
        self.sims[server].revive()


@dataclass(slots=True)
class Played:
    """What came of a scene. Times in seconds; an exit code of None means that the run was stopped for being late."""

    scene: Scene
    code: int | None = None
    took: float = 0.0
    healthy: float | None = None
    """From the first request to the last answer to a job that nothing is wrong with."""
    soon: int = 0
    """How many of those were answered after `SOON`."""
    quiet: float = 0.0
    """The longest time with neither a request nor the end of an answer, up to the end of the run."""
    results: int = 0
    errors: int = 0
    requests: int = 0
    memory: int = 0
    """The most, in MiB, if it was looked at."""
    again: int | None = None
    """The exit code of the second run, and how long it took."""
    again_took: float = 0.0
    wrong: list[str] = field(default_factory=list)
    """What ought not to be so."""

    def __str__(self) -> str:
        scene = self.scene
        healthy = "     -" if self.healthy is None else f"{self.healthy:5.1f}s"
        return (
            f"{scene.name:54} {self.soon:4}/{len(scene.must - scene.late):<4} {healthy} results {self.results:4} "
            f"errors {self.errors:3} requests {self.requests:5} exit {_code(self.code)} in {self.took:5.1f}s, "
            f"again {_code(self.again)} in {self.again_took:5.1f}s  {'; '.join(self.wrong) or 'ok'}"
        )


def play(scene: Scene, place: Path, slack: float = 1.0) -> Played:
    """Play a scene and judge it; the healthy may take `slack` times as long on a machine that has other work.

    Nothing is raised for what is wrong: it stands in `wrong`.
    """
    place.mkdir(parents=True)
    desk, played = Desk(place), Played(scene)
    desk.write("jobs.jsonl", *map(dict, scene.jobs))
    with ExitStack() as stack:
        tally = Tally()  # one for all: a job that fails so often does so wherever it is asked
        sims = [stack.enter_context(simulator_thread(tally=tally, **{**scene.server, **own})) for own in scene.servers]
        stage = Stage(sims, desk, tally)
        if stage.sim.settings.key is not None:
            stage.write_key(stage.sim.settings.key)
        beside = threading.Thread(target=lambda: scene.meanwhile and scene.meanwhile(stage), daemon=True)
        beside.start()
        played.code, played.took, said = _run(stage, scene, played)
        ended = time.monotonic()
        beside.join(30)
        _measure(played, stage, ended)
        _judge(played, stage, said, slack)
        played.wrong += stage.wrong
        if scene.again and played.code is not None:
            _run_again(played, stage)
    return played


def _run(stage: Stage, scene: Scene, played: Played) -> Ended:
    """Run the command of a scene to its end. The most memory of the process goes into `played`."""
    path = "/v1" if stage.sim.look == "openai" else ""
    began = time.monotonic()
    with ExitStack() as stack:
        source: IO[bytes] | int | None = subprocess.DEVNULL
        if scene.stdin:
            jobs = str(stage.desk.path / "jobs.jsonl")
            source = stack.enter_context(subprocess.Popen(["cat", jobs], stdout=subprocess.PIPE)).stdout
        process = stage.desk.start(
            *("run", "-" if scene.stdin else "jobs.jsonl", "-o", "results.jsonl", "--no-progress", "-m", "simulator"),
            *(word for sim in stage.sims for word in ("--base-url", sim.url + path)),
            *scene.args,
            stdin=source,
            stdout=subprocess.DEVNULL,
        )
        return _watched(process, scene, played, began)


def _watched(process: subprocess.Popen[str], scene: Scene, played: Played, began: float) -> Ended:
    if scene.memory is not None:
        threading.Thread(target=_weigh, args=(process, played), daemon=True).start()
    try:
        _, said = process.communicate(timeout=scene.ends)
    except subprocess.TimeoutExpired:
        for _ in range(2):  # the second breaks off what is in flight
            process.terminate()
            time.sleep(0.5)
        _, said = process.communicate(timeout=WAIT)
        return Ended(None, time.monotonic() - began, said)
    assert "Traceback" not in said, said
    return Ended(process.returncode, time.monotonic() - began, said)


def _weigh(process: subprocess.Popen[str], played: Played) -> None:
    """Look at the most memory that the process has had, as long as it lives."""
    while process.poll() is None:
        with suppress(OSError):
            found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
            played.memory = max(played.memory, int(found[1]) // 1024 if found else 0)
        time.sleep(0.05)


def _measure(played: Played, stage: Stage, ended: float) -> None:
    """What the servers saw, up to the end of the run."""
    timed, answers = played.scene.must - played.scene.late, list(stage.tally.answers)
    arrivals = [seen.time for seen in stage.tally.log]
    played.requests = stage.tally.counts.total()
    if not arrivals:
        return
    firsts = {name: moment - arrivals[0] for moment, name in reversed(answers) if name in timed}
    played.soon = sum(moment <= SOON for moment in firsts.values())
    played.healthy = max(firsts.values(), default=None)
    events = sorted([*arrivals, *(moment for moment, _ in answers), ended])
    played.quiet = max(after - before for before, after in pairwise(events))


def _judge(played: Played, stage: Stage, said: str, slack: float) -> None:
    """Hold the files, the exit code and the servers' counts against the scene."""
    scene, wrong = played.scene, played.wrong
    results, errors = set(stage.desk.ids()), stage.desk.errors().keys()
    played.results, played.errors = len(results), len(errors)
    if played.code is None:
        wrong.append(f"not over after {scene.ends:.0f} s")
    elif played.code not in scene.codes:
        wrong.append(f"exit {played.code}, not {_or(scene.codes)}")
    for what, found in (
        ("without a result", scene.must - results),
        ("healthy with an error line", scene.must & errors),
        ("bad without an error line", scene.bad - errors),
        ("bad with a result", scene.bad & results),
        ("with a line that should wait", scene.pending & (results | errors)),
        ("with a result and an error line", results & errors),
    ):
        if found:
            wrong.append(f"{len(found)} {what}")
    if played.healthy is not None and played.healthy > scene.healthy * slack:
        wrong.append(f"healthy after {played.healthy:.1f} s, not {scene.healthy * slack:.0f}")
    if played.quiet > scene.quiet:
        wrong.append(f"nothing happened for {played.quiet:.0f} s")
    if scene.requests is not None and played.requests > scene.requests:
        wrong.append(f"{played.requests} requests, not {scene.requests}")
    if scene.memory is not None and played.memory > scene.memory:
        wrong.append(f"{played.memory} MiB, not {scene.memory}")
    if scene.says not in said:
        wrong.append(f"{scene.says!r} is not said")


def _run_again(played: Played, stage: Stage) -> None:
    """The same command once more: what is done stays as it is, and it comes to its end."""
    scene, wrong = played.scene, played.wrong
    before = stage.desk.lines()
    # where all that is left is refused, nobody can tell that from a server that has no time for anybody
    patient = replace(scene, args=(*scene.args, "--max-wait", "20s"))
    played.again, played.again_took, _ = _run(stage, patient, played)
    after, errors = stage.desk.lines(), stage.desk.errors().keys()
    if played.again is None:
        wrong.append(f"the second run is not over after {scene.ends:.0f} s")
    if after[: len(before)] != before:
        wrong.append("the second run changed results")
    if scene.again == "mends":
        if {line["id"] for line in after} != set(scene.ids) or errors or played.again:
            wrong.append("the second run does not do the rest")
    elif len(after) > len(before) and not scene.unsure:
        wrong.append(f"the second run adds {len(after) - len(before)} results")
    if scene.bad - errors:
        wrong.append(f"{len(scene.bad - errors)} bad without an error line after the second run")


def _code(code: int | None) -> str:
    return " -" if code is None else f"{code:2}"


def _or(codes: tuple[int, ...]) -> str:
    return " or ".join(map(str, codes))
