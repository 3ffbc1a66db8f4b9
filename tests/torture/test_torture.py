"""A sample of `make torture`: kills, faults, cuts and rivals, few of each, with the same checks."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from torture.budget import Budget
from torture.fulldisk import full_disks
from torture.kills import kills
from torture.machine import lives
from torture.outages import Outage, play, scenes
from torture.powercut import power_cuts, power_cuts_of_runs
from torture.rivals import rivals
from torture.scene import shelf
from torture.surgery import surgery, truncations
from torture.syscalls import strace_works, syscalls

from batcher.ledger import disk, repair

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

pytestmark = pytest.mark.slow

RNG = random.Random


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=shelf(), prefix="torture-") as made:
        yield Path(made)


def test_killed_at_random_moments(place: Path) -> None:
    """After kill -9 no line is lost or there twice, and no more is sent again than was in flight."""
    figures = kills(place, Budget(3, 20), RNG(1))
    assert figures["kills"] == 3
    assert figures["sent again"] <= 3 * 4


def test_faults_of_single_system_calls(place: Path) -> None:
    """Whichever write or sync fails or is the last, the exit code says so and the next run finishes the file."""
    if not strace_works(place):
        pytest.skip("strace cannot put faults into processes here")
    targets = ("write", "fdatasync", "rename of the mended file")
    figures = syscalls(place, Budget(3, 20), RNG(2), targets)
    assert figures["KILL"] + figures["EIO"] + figures["ENOSPC"] == 3


def test_cut_at_any_byte(place: Path) -> None:
    """A results file cut at any byte keeps its whole lines, and the rest is done again."""
    assert truncations(place, Budget(200, 20), RNG(3))["cuts"] == 200


def test_hurt_in_any_way(place: Path) -> None:
    """Zeros, torn, repeated and foreign lines are set aside, none of them vanishes, and each job has its line."""
    figures = surgery(place, Budget(300, 20), RNG(4))
    assert figures["states"] > 250
    assert figures["by a whole run"] > 0


def test_power_cuts(place: Path) -> None:
    """What was called synced survives every state in which a power cut may leave the disk, also one in recovery."""
    figures = power_cuts(place, Budget(600, 20), RNG(5))
    assert figures["states"] == 600
    assert figures["with bad bytes"] > 100
    assert figures["promised lines"] > 1000


def test_power_cuts_of_whole_runs(place: Path) -> None:
    """The files beside the results, in whichever state a power cut leaves them, never make a run lose or repeat."""
    assert power_cuts_of_runs(place, Budget(30, 20), RNG(10))["states"] == 30


@pytest.mark.parametrize(
    ("module", "name"),
    [(disk, "sync"), (disk, "sync_directory"), (repair, "_set_aside")],
    ids=["no sync", "no sync of the directory", "no quarantine"],
)
def test_the_power_cuts_would_show_it(
    place: Path, monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str
) -> None:
    """Leave out one of the things that make the file safe, and the states of a power cut show the loss."""
    monkeypatch.setattr(module, name, lambda *_: None)
    with pytest.raises(AssertionError, match=r"lost or changed|vanished"):
        power_cuts(place, Budget(400, 20), RNG(6))


def test_full_disks(place: Path) -> None:
    """A run that meets a full disk ends with 74 and whole lines, and the next one goes on as soon as there is room."""
    figures = full_disks(place, Budget(2, 30), RNG(7))
    assert figures["accepted lines"] > 0
    assert figures["limits on the size"] == 1


def test_rivals(place: Path) -> None:
    """Of several runs at once on one file one does the work, and the others leave with 75."""
    assert rivals(place, Budget(1, 30), RNG(8))["contests"] == 1


def test_lives(place: Path) -> None:
    """However starts, stops, kills and edits follow each other, each line answers what was asked when it was made."""
    seen = lives(place, Budget(40, 20), RNG(9), derandomize=True)
    assert all(seen[what] for what in ("finished", "stopped", "killed", "refused")), seen


SHORT = [
    scene
    for scene in scenes(4.0, 3.0)
    if scene.name in ("restarts, 64 in flight", "SIGSTOP", "20 % reset in the stream")
]


@pytest.mark.parametrize("scene", [*SHORT, Outage("50 % answered 503", ("--fault", "503=50%"), 3.0)], ids=str)
def test_outages(place: Path, scene: Outage) -> None:
    """Whole runs through a few outages: every job has its answer, and few answers were made for nothing."""
    figures = play(place / "outage", scene, 11)
    assert figures.outages + figures.refused + figures.again > 0
