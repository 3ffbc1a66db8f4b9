"""KILL, EIO and ENOSPC at the n-th system call on the files of a run, put there by strace."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from torture.evidence import check_accounted, check_kept, results_in, whole_lines
from torture.scene import Scene, run_here

from batcher.simulator import simulator_thread

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from random import Random

    from torture.budget import Budget

    from batcher.simulator import BackgroundSimulator

JOBS: Final = 24
LAST: Final = 20
"""The highest n."""
FAULTS: Final = ("KILL", "EIO", "ENOSPC")
RENAME: Final = "?rename,?renameat,?renameat2"


@dataclass(frozen=True, slots=True)
class Target:
    """System calls on one file, and the state in which the results file is found.

    `file` is relative to the run's directory; "." is the directory itself. No call after the `last` is disturbed.
    """

    calls: str
    file: str = "results.jsonl"
    found: str = "absent"
    extra: tuple[str, ...] = ()
    faults: tuple[str, ...] = FAULTS
    last: int = LAST


TARGETS: Final = {
    "write": Target("write"),
    "fdatasync": Target("fdatasync"),
    "fsync of the directory": Target("fsync", ".", last=1),  # those that follow are for the state file, a mere help
    "ftruncate of a torn end": Target("ftruncate", found="torn"),
    "write to the quarantine": Target("write", "results.quarantine", "hurt"),
    "fdatasync of the quarantine": Target("fdatasync", "results.quarantine", "hurt"),
    "write of the mended file": Target("write", ".results.jsonl.new", "hurt"),
    "fdatasync of the mended file": Target("fdatasync", ".results.jsonl.new", "hurt"),
    "rename of the mended file": Target(RENAME, ".results.jsonl.new", "hurt"),
    "write after mending": Target("write", found="hurt"),
    "fdatasync of the ordered file": Target("fdatasync", ".results.jsonl.new", "reversed", ("--ordered",)),
    "rename of the ordered file": Target(RENAME, ".results.jsonl.new", "reversed", ("--ordered",)),
    "write to the atomic file": Target("write", "results.jsonl.part", extra=("--atomic",)),
    "rename of the atomic file": Target(RENAME, "results.jsonl.part", extra=("--atomic",)),
    "rename of the state file": Target(RENAME, ".results.state.json.new", faults=("KILL",)),
}


def strace_works(place: Path) -> bool:
    """Whether strace is here and may put faults into the processes that it starts."""
    strace = shutil.which("strace")
    if strace is None:
        return False
    probe = [strace, "-f", "-o", str(place / "probe"), "-e", "inject=fsync:error=EIO", "true"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


def syscalls(place: Path, budget: Budget, rng: Random, targets: tuple[str, ...] = tuple(TARGETS)) -> Counter[str]:
    """Disturb the n-th call for n = 1, 2 … until a run makes no n-th. Raises AssertionError on a violation."""
    figures: Counter[str] = Counter()
    over: set[tuple[str, str]] = set()
    if not strace_works(place):
        figures["not done, strace cannot be used here"] = 1
        return figures
    with simulator_thread(keep=0) as sim:
        for number, (name, fault, when) in enumerate(_rounds(targets, rng, over)):
            if not budget.spend():
                break
            scene = _scene(place / f"call{number}", sim, TARGETS[name], f"s{number}")
            met, again = _disturbed(scene, TARGETS[name], fault, when)
            assert met or when > 1, f"{fault} was not met in any {name}: nothing was tortured"
            if met:
                figures[fault] += 1
                figures["most sent again"] = max(figures["most sent again"], again)
            else:
                over.add((name, fault))
    return figures


def _rounds(targets: tuple[str, ...], rng: Random, over: set[tuple[str, str]]) -> Iterator[tuple[str, str, int]]:
    """Every target with every fault, first for n = 1, then for n = 2 … as long as some run gets that far."""
    for when in range(1, LAST + 1):
        due = [name for name in targets if when <= TARGETS[name].last]
        left = [(name, fault) for name in due for fault in TARGETS[name].faults if (name, fault) not in over]
        rng.shuffle(left)
        for name, fault in left:
            yield name, fault, when


def _scene(place: Path, sim: BackgroundSimulator, target: Target, name: str) -> Scene:
    """A scene whose run makes many writes and syncs, one result each where that can be asked for."""
    scene = Scene(place, sim, name, jobs=JOBS, extra=("--durability", "each", "--disk-wait", "0s", *target.extra))
    if target.found != "absent":
        scene.results.write_bytes(_harmed(scene, target.found))
    return scene


def _harmed(scene: Scene, how: str) -> bytes:
    """Results of the first jobs: backwards, with a torn end, or with lost pages and a repeated line ("hurt")."""
    lines = [_line(scene, number) for number in range(4)]
    if how == "reversed":
        return b"".join(reversed(lines))
    if how == "torn":
        return b"".join(lines)[:-30]
    return lines[0] + b"\0" * 300 + b"\n" + lines[1] + lines[0] + lines[2] + lines[3][:-30]


def _line(scene: Scene, number: int) -> bytes:
    """A line as a run would have written it: taken from one."""
    found = results_in(_sample(scene))
    return list(found.values())[number]


def _sample(scene: Scene) -> Path:
    sample = scene.place / "sample.jsonl"
    if not sample.exists():
        run_here(scene.place / "jobs.jsonl", sample, scene.sim.url, limit=4)
        for ident in scene.ids:
            scene.sim.counts.pop(ident, None)
    return sample


def _disturbed(scene: Scene, target: Target, fault: str, when: int) -> tuple[bool, int]:
    """Run with the fault, then without; whether the fault was met, and how many requests were made twice."""
    before = scene.results.read_bytes() if scene.results.exists() else b""
    trace = scene.place / "trace"
    what = "signal=KILL" if fault == "KILL" else f"error={fault}"
    every = "+" if fault == "ENOSPC" else ""  # a full disk is full for the next try as well
    quick = () if fault == "KILL" else ("--seccomp-bpf",)  # with which strace forgets about signals
    ran = scene.run(
        *("strace", "-f", *quick, "-qq", "-o", str(trace), "-P", str((scene.place / target.file).resolve())),
        *("-e", f"trace={target.calls}", "-e", f"inject={target.calls}:{what}:when={when}{every}"),
    )
    met = "(INJECTED)" in trace.read_text() or "killed by SIGKILL" in trace.read_text()
    expected = 0 if not met else -9 if fault == "KILL" else 74
    assert ran.code == expected, f"{fault} in {target}, n = {when}: {ran}"
    left = scene.results.read_bytes() if scene.results.exists() else b""
    found = scene.finish()
    check_kept({_ident(line): line for line in whole_lines(left) if _whole(line)}, found)
    check_accounted(left, scene.results)
    check_accounted(before, scene.results)
    again = scene.sent() - sum(1 for ident in scene.ids if scene.sim.counts[ident])
    assert again <= scene.concurrency, f"{fault} in {target}, n = {when}: {again} sent again"
    return met, again


def _whole(line: bytes) -> bool:
    return line.endswith(b"}\n") and b"\0" not in line


def _ident(line: bytes) -> str:
    return line.split(b'"', 4)[3].decode()
