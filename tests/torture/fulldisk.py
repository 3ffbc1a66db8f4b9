"""A results file on a disk that is too small: what was accepted is there, and it goes on when there is room."""

from __future__ import annotations

import os
import resource
import subprocess
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from support.commandline import until
from torture.evidence import check_kept, results_in
from torture.scene import Scene

from batcher.simulator import simulator_thread

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from random import Random

    from torture.budget import Budget

JOBS: Final = 240
"""About 110 kB of results."""
SIZES: Final = ("16k", "32k", "64k")
ROOM: Final = "4m"


def full_disks(place: Path, budget: Budget, rng: Random) -> Counter[str]:
    """Fill a tmpfs, and meet a limit on file sizes. Raises AssertionError on a violation."""
    figures: Counter[str] = Counter()
    with simulator_thread(keep=0) as sim:
        while budget.spend():
            scene = Scene(
                place / f"full{budget.spent}",
                sim,
                f"f{budget.spent}",
                JOBS,
                extra=("--disk-wait", "0s"),
            )
            if budget.spent % 2:
                _fill_a_tmpfs(scene, rng.choice(SIZES), figures)
            else:
                _meet_a_limit(scene, rng.randrange(10_000, 60_000), figures)
    return figures


def _fill_a_tmpfs(scene: Scene, size: str, figures: Counter[str]) -> None:
    with small_disk(scene.place / "disk", size) as disk:
        if disk is None:
            figures["no tmpfs: may not be mounted here"] += 1
            return
        scene.results = disk / "results.jsonl"
        lines = _stopped_by(scene, figures)
        check_kept(lines, _stopped_by(scene, figures))  # still full
        _mount("remount", ROOM, disk)
        check_kept(lines, scene.finish())
        _room_in_time(scene, disk, size, figures)
    figures["tmpfs"] += 1


def _room_in_time(scene: Scene, disk: Path, size: str, figures: Counter[str]) -> None:
    """A run that waits for room goes on by itself when there is some."""
    scene.results.unlink()
    _mount("remount", size, disk)
    scene.extra = ("--disk-wait", "30s")
    sent = scene.sent()
    with scene.start() as process:
        until(lambda: os.statvfs(disk).f_bavail == 0)
        _mount("remount", ROOM, disk)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0, (out, err)
    assert len(results_in(scene.results)) == scene.jobs
    assert scene.sent() - sent == scene.jobs, "a job was sent twice though its result waited for room"
    figures["went on by itself"] += 1


def _meet_a_limit(scene: Scene, size: int, figures: Counter[str]) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        lines = _stopped_by(scene, figures)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    check_kept(lines, scene.finish())
    figures["limits on the size"] += 1


def _stopped_by(scene: Scene, figures: Counter[str]) -> dict[str, bytes]:
    """Run into the wall: exit 74, whole lines only, and at most what was in flight is to be asked again."""
    sent = scene.sent()
    before = results_in(scene.results)
    ran = scene.run()
    assert ran.code == 74, ran
    assert str(scene.results) in ran.err
    found = results_in(scene.results)
    check_kept(before, found)
    again = scene.sent() - sent - (len(found) - len(before))
    assert again <= scene.concurrency, f"{again} requests without a line"
    figures["accepted lines"] += len(found) - len(before)
    figures["most sent again"] = max(figures["most sent again"], again)
    return found


@contextmanager
def small_disk(place: Path, size: str) -> Iterator[Path | None]:
    """A tmpfs of this size, or None where we may not mount one."""
    place.mkdir(parents=True)
    if not _mount("nodev", size, place):
        yield None
        return
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def _mount(how: str, size: str, place: Path) -> bool:
    options = f"{how},size={size}"
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], capture_output=True, check=False
    )
    return done.returncode == 0
