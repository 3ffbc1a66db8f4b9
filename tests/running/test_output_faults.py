"""The real program on disks that are full or fail, and on files that others touch."""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
from typing import TYPE_CHECKING, Literal

import anyio
import pytest
from support.commandline import ended, names, prompts, until
from support.outputrun import SLOTS, arguments, sent, watched
from support.result_lines import ids

import batcher
from batcher.failures import OutputIOError
from batcher.ledger import disk, writer
from batcher.options import Options
from batcher.running.runner import Run
from batcher.simulator import simulator_thread
from batcher.view.observer import Silent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.commandline import Desk

    from batcher.outcome import Result
    from batcher.simulator import Simulator

pytestmark = pytest.mark.slow

IO = 74


@pytest.fixture
def sim() -> Iterator[Simulator]:
    with simulator_thread() as server:
        yield server


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KiB."""
    path = tmp_path / "tiny"
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", path], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        yield path
    finally:
        subprocess.run(["umount", path], check=True)


def test_a_full_disk_that_gets_room_again(desk: Desk, sim: Simulator, tiny: Path) -> None:
    """While the disk is full nothing is sent; when there is room the run goes on, and nobody is asked twice."""
    everyone = names(100)
    desk.write("jobs.jsonl", *prompts(everyone, "tokens=300"))
    ballast = tiny / "ballast"
    ballast.write_bytes(b"x" * 200_000)
    output = tiny / "results.jsonl"
    with watched(desk, *arguments(sim, output=str(output))) as (process, said):
        until(lambda: "waiting up to 1m 00s for room" in said() and not sim.tally.in_flight)
        assert sent(sim) <= len(ids(output)) + SLOTS
        ballast.unlink()
        assert process.wait() == 0
    assert sorted(ids(output)) == everyone
    assert set(sim.tally.counts.values()) == {1}
    assert said().count("waiting up to") == 1


def test_a_full_disk_that_stays_full(desk: Desk, sim: Simulator, tiny: Path) -> None:
    """A run ends with 74 when nobody makes room, with every accepted line whole; the next one does only the rest."""
    everyone = names(100)
    desk.write("jobs.jsonl", *prompts(everyone, "tokens=300"))
    ballast = tiny / "ballast"
    ballast.write_bytes(b"x" * 200_000)
    output = tiny / "results.jsonl"
    ran = desk.run(*arguments(sim, "-q", "--disk-wait", "0.2s", output=str(output)))
    assert ran.code == IO
    assert ran.err.count("\n") == 1
    assert "No space left on device, and nobody made room in 0.2 s" in ran.err
    accepted = ids(output)
    assert 0 < len(accepted) < len(everyone)
    assert sent(sim) <= len(accepted) + SLOTS
    ballast.unlink()
    assert desk.run(*arguments(sim, "-q", output=str(output))) == (0, "", "")
    assert sorted(ids(output)) == everyone
    assert {sim.tally.counts[name] for name in accepted} == {1}


def test_the_largest_file_the_system_allows(desk: Desk, sim: Simulator) -> None:
    """A limit on the size of files is a full disk: 74, whole lines, and the next run does the rest."""
    everyone = names(60)
    desk.write("jobs.jsonl", *prompts(everyone, "tokens=100"))
    limit = (20_000, resource.RLIM_INFINITY)
    process = desk.start(
        *arguments(sim, "-q", "--disk-wait", "0s"),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit),
    )
    ran = ended(process)
    assert ran.code == IO
    assert "File too large" in ran.err
    accepted = desk.ids()
    assert 0 < len(accepted) < len(everyone)
    assert sent(sim) <= len(accepted) + SLOTS
    assert desk.run(*arguments(sim, "-q")).code == 0
    assert desk.ids() == everyone


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda path: path.unlink(), "moved or deleted"),
        (lambda path: path.rename(path.with_name("elsewhere")), "moved or deleted"),
        (lambda path: os.truncate(path, 0), "cut this file to"),
    ],
    ids=["deleted", "moved", "cut"],
)
def test_harm_from_outside_ends_the_run(desk: Desk, sim: Simulator, harm: Callable[[Path], object], says: str) -> None:
    """Whoever moves, deletes or cuts the results ends the run with 74, though nothing is synced."""
    everyone = names(80)
    desk.write("jobs.jsonl", *prompts(everyone, "delay=0.02"))
    output = desk.path / "results.jsonl"
    with watched(desk, *arguments(sim, "--durability", "off")) as (process, said):
        until(lambda: output.exists() and output.stat().st_size)
        harm(output)
        assert process.wait() == IO
    assert says in said()
    assert sent(sim) < len(everyone)


def test_the_errors_file_takes_nothing(desk: Desk, sim: Simulator) -> None:
    """Where failures cannot be written the results are written all the same; the end says so, with 74."""
    desk.write("jobs.jsonl", *prompts(["good", "fine"]), *prompts(["bad", "worse"], "status=400"))
    ran = desk.run(*arguments(sim, "--errors", "/dev/full"))
    assert ran.code == IO
    assert ran.err.count("the run goes on") == 1
    assert "unsaved  /dev/full: cannot be written: No space left on device" in ran.err
    assert "2 failed" in ran.err
    assert desk.ids() == ["fine", "good"]


def test_the_summary_cannot_be_written(desk: Desk, sim: Simulator) -> None:
    """A summary file that cannot be written costs the exit code, not the summary on the screen."""
    desk.write("jobs.jsonl", *prompts(["a"]))
    ran = desk.run(*arguments(sim, "--summary-json", "/dev/full"))
    assert ran.code == IO
    assert "1 of 1 job done" in ran.err
    assert "unsaved  /dev/full cannot be written: No space left on device" in ran.err
    assert desk.ids() == ["a"]


def test_the_summary_replaces_files_alone(desk: Desk, sim: Simulator) -> None:
    """A pipe is written to, and a link goes on naming its file: nothing but a file is ever replaced."""
    desk.write("jobs.jsonl", *prompts(["a"]))
    pipe, link, real = (desk.path / name for name in ("pipe", "link", "real.json"))
    os.mkfifo(pipe)
    link.symlink_to(real)
    with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE) as reader:
        assert desk.run(*arguments(sim, "--summary-json", "pipe")).code == 0
        assert reader.stdout is not None
        assert json.loads(reader.stdout.read())["jobs"]["ok"] == 1
    assert pipe.is_fifo()
    assert desk.run(*arguments(sim, "--summary-json", "link")).code == 0
    assert link.is_symlink()
    assert json.loads(real.read_bytes())["jobs"]["skipped"] == 1


@pytest.mark.parametrize("more", ["--verbose", "--progress"])
def test_nothing_can_be_said(desk: Desk, sim: Simulator, more: str) -> None:
    """A full disk behind stderr costs the words alone."""
    everyone = names(9)
    desk.write("jobs.jsonl", *prompts(everyone))
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        process = desk.start(*arguments(sim, more), stderr=full)
        assert process.wait() == 0
        assert process.stdout is not None
        process.stdout.close()
    assert desk.ids() == everyone


@pytest.mark.parametrize(
    ("output", "code", "says"),
    [
        ("a/directory", 73, "is a directory"),
        ("nowhere/results.jsonl", 73, "there is no directory"),
        ("/dev/null", 73, "is not a regular file"),
        ("/dev/full", 73, "is not a regular file"),
        ("jobs.jsonl", 2, "is the input"),
        ("link.jsonl", 2, "is the input"),
    ],
)
def test_where_results_cannot_go(desk: Desk, sim: Simulator, output: str, code: int, says: str) -> None:
    """An output that cannot be one is refused before anything is sent."""
    (desk.path / "a" / "directory").mkdir(parents=True)
    jobs = desk.write("jobs.jsonl", *prompts(["a"]))
    (desk.path / "link.jsonl").symlink_to(jobs)
    before = jobs.read_bytes()
    ran = desk.run(*arguments(sim, "-q", output=output))
    assert (ran.code, sent(sim)) == (code, 0)
    assert says in ran.err
    assert jobs.read_bytes() == before


@pytest.mark.parametrize(("durability", "nth"), [("each", 1), ("each", 5), ("batch", 2)])
def test_a_failed_sync_stops_the_sending(
    desk: Desk, sim: Simulator, monkeypatch: pytest.MonkeyPatch, durability: Literal["batch", "each"], nth: int
) -> None:
    """After a sync that failed nothing is sent any more; the next run writes what is there anew and does the rest."""
    everyone = names(60)
    jobs = desk.write("jobs.jsonl", *prompts(everyone, "delay=0.002"))
    left = nth

    def sync(fd: int) -> None:
        nonlocal left
        left -= os.fstat(fd).st_ino == output.stat().st_ino
        if left == 0 and os.fstat(fd).st_ino == output.stat().st_ino:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        os.fdatasync(fd)

    output = desk.path / "results.jsonl"
    with monkeypatch.context() as patch:
        patch.setattr(disk, "sync", sync)
        patch.setattr(writer, "SYNC_EVERY", 0.02)
        with pytest.raises(OutputIOError, match="is safe only up to byte") as caught:
            batcher.run(jobs, output, base_url=sim.url, model="simulator", durability=durability, concurrency=SLOTS)
    assert caught.value.exit == IO
    assert left == 0
    assert len(desk.ids()) <= sent(sim) <= len(desk.ids()) + 2 * SLOTS < len(everyone)
    doubted = output.stat().st_ino
    accepted = desk.ids()
    summary = batcher.run(jobs, output, base_url=sim.url, model="simulator")
    assert (summary.skipped, summary.ok) == (len(accepted), len(everyone) - len(accepted))
    assert output.stat().st_ino != doubted
    assert desk.ids() == everyone


def test_what_counts_with_each_is_on_the_disk(desk: Desk, sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `each` nothing is counted, or shown, before the sync after it has ended."""
    jobs = desk.write("jobs.jsonl", *prompts(names(20)))
    output = desk.path / "results.jsonl"
    safe = 0

    def sync(fd: int) -> None:
        nonlocal safe
        os.fdatasync(fd)
        if os.fstat(fd).st_ino == output.stat().st_ino:
            safe = os.fstat(fd).st_size

    class Watcher(Silent):
        def finished(self, result: Result) -> None:
            assert b'{"id":"%s",' % result.id.encode() in output.read_bytes()[:safe]
            seen.append(result.id)

    seen: list[str] = []
    monkeypatch.setattr(disk, "sync", sync)
    options = Options(base_url=(sim.url,), model="simulator", durability="each")
    summary = anyio.run(Run(str(jobs), output, options, {}, Watcher()).run)
    assert summary.ok == 20
    assert sorted(seen) == desk.ids() == names(20)
