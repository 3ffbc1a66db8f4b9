"""Runs that make an array of vectors: killed, with calls on their files that fail, with the array exchanged meanwhile.

Texts come from several inputs and are cut into chunks, as many go in a request as is found out. However it goes, each
vector is under the text that it was made of: looked at without batcher's code, by what the server says to each text.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from support.commandline import Desk, Ran, ended, until
from torture.fulldisk import small_disk
from torture.syscalls import strace_works

from batcher.simulator import simulator_thread, vector

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from random import Random

    from torture.budget import Budget

    from batcher.simulator import BackgroundSimulator

FOLDERS: Final = ("a", "b")
FILES: Final = 12
"""Texts in each folder, of one to five chunks."""
RENAME: Final = "?rename,?renameat,?renameat2"
PWRITE: Final = "?pwrite64,?pwrite"
ARRAY, IDS, STORE = ".v.npy.new", ".v.npy.ids.json.new", "v.npy.vectors"
CALLS: Final = {
    "write of the array": ("write", ARRAY),
    "head of the array": (PWRITE, ARRAY),
    "sync of the array": ("fdatasync,fsync", ARRAY),
    "rename of the array": (RENAME, ARRAY),
    "write of the ids": ("write", IDS),
    "sync of the ids": ("fdatasync,fsync", IDS),
    "rename of the ids": (RENAME, IDS),
    "write to the store": ("write", STORE),
    "sync of the store": ("fdatasync", STORE),
    "mark in the store": (PWRITE, STORE),
    "write of the results": ("write", "v.npy.results.jsonl"),
}
"""What is disturbed: system calls on one file."""
FAULTS: Final = ("KILL", "EIO", "ENOSPC")


@dataclass(slots=True)
class Stage:
    """A directory with texts, and the command that embeds them."""

    place: Path
    sim: BackgroundSimulator
    desk: Desk
    texts: dict[str, str]

    @classmethod
    def made(cls, place: Path, sim: BackgroundSimulator, rng: Random) -> Stage:
        texts = {}
        for folder in FOLDERS:
            (place / folder).mkdir(parents=True)
            for number in range(FILES):
                name, words = f"{folder}{number:02d}.md", rng.randrange(4, 60)
                texts[name] = " ".join(f"{place.name} {folder}{number} word{word}" for word in range(words)) + "."
                (place / folder / name).write_text(texts[name])
        return cls(place, sim, Desk(place), texts)

    @property
    def command(self) -> tuple[str, ...]:
        return (
            *("run", *(f"{folder}/*.md" for folder in FOLDERS), "--embed", "{{ text }}", "--chunk", "200c"),
            *("--vectors", "v.npy", "-q", "--no-progress", "--base-url", self.sim.url, "--dialect", "native"),
            *("-m", "simulator", "-c", "4", "--pack", "auto", "--disk-wait", "0s", "--durability", "each"),
        )

    def start(self, *before: str) -> subprocess.Popen[str]:
        pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        command = [*before, *self.desk.command(*self.command)]
        return subprocess.Popen(command, cwd=self.place, env=self.desk.env, text=True, **pipes)

    def run(self, *before: str) -> Ran:
        return ended(self.start(*before), patience=60)

    def finish(self) -> None:
        """Run it undisturbed: all is there then, each under its text, and `verify` says so."""
        ran = self.run()
        assert ran.code == 0, ran
        chunks = self.chunks()
        for name, text in self.texts.items():
            at = 0
            for number in range(sum(ident.startswith(f"{name}#") for ident in chunks)):
                about = chunks[f"{name}#{number}"]
                assert not text[at : about["start"]].strip(), f"{name}: words between chunks are gone"
                at = about["end"]
            assert at == len(text), f"{name}: {at} of {len(text)} characters"
        ids = self.array(complete=True)
        assert sorted(ids) == sorted(chunks), "the array has other rows"
        assert ids == sorted(ids, key=lambda ident: (ident.partition("#")[0], int(ident.partition("#")[2])))
        told = ("verify", *(f"{folder}/*.md" for folder in FOLDERS), "v.npy.results.jsonl")
        proof = self.desk.run(*told, patience=60)
        assert proof.code == 0, proof

    def chunks(self) -> dict[str, Any]:
        """Id → what its line says of it, of each result."""
        lines = self.desk.lines("v.npy.results.jsonl")
        found = {line["id"]: line["meta"] for line in lines}
        assert len(found) == len(lines), "an id has two lines"
        return found

    def array(self, *, complete: bool = False) -> list[str]:
        """The ids of the array: each row that is no NaN is the vector of the chunk that its id names."""
        path = self.place / "v.npy"
        if not path.exists():
            assert not complete
            return []
        ids, rows = json.loads((self.place / "v.npy.ids.json").read_bytes()), np.load(path)
        if len(ids) != len(rows):
            assert not complete
            return []  # killed between the one and the other: the ids go first
        chunks = self.chunks()
        for ident, row in zip(ids, rows, strict=True):
            if np.isnan(row).all():
                assert not complete, f"{ident} has no vector"
                continue
            about = chunks[ident]
            wanted = vector(self.texts[about["of"]][about["start"] : about["end"]])
            assert np.allclose(row, np.array(wanted, "<f4")), f"{ident} has the vector of another"
        return list(ids)


def vectors(place: Path, budget: Budget, rng: Random) -> Counter[str]:
    """Disturb runs in each way by turns. Raises AssertionError on a violation."""
    figures: Counter[str] = Counter()
    place.mkdir(exist_ok=True)
    ways = [_killed, _exchanged, _filled, *([_disturbed] if strace_works(place) else [])]
    points = _points(rng)
    with simulator_thread(token_delay=0.002, keep=0) as sim:
        while budget.spend():
            stage = Stage.made(place / f"vectors{budget.spent}", sim, rng)
            way = ways[budget.spent % len(ways)]
            way(stage, rng, figures, next(points) if way is _disturbed else ("", "", 0))
            stage.finish()
            figures["finished"] += 1
    return figures


Point = tuple[str, str, int]
"""Which call is disturbed, how, and the how manieth."""


def _points(rng: Random) -> Iterator[Point]:
    """Every call with every fault, at first the first of its kind, then the second …, and again from the first."""
    while True:
        for when in range(1, 9):
            points = [(name, fault, when) for name in CALLS for fault in FAULTS]
            rng.shuffle(points)
            yield from points


def _killed(stage: Stage, rng: Random, figures: Counter[str], _: Point) -> None:
    """SIGKILL three times: at any moment, and as soon as the array or the ids are begun."""
    for number in range(3):
        begun = stage.place / rng.choice((ARRAY, IDS))
        with stage.start() as process:
            if number == 2:
                until(partial(_is_begun, begun, process), 60)
                time.sleep(rng.choice((0, 0, 0.001)))
            else:
                until(partial(_is_begun, stage.place / STORE, process), 60)
                time.sleep(rng.uniform(0, 0.15))
            process.kill()
            process.communicate()
        assert process.returncode in (-9, 0), process.returncode
        figures["kills"] += process.returncode == -9
        figures["kills while the array was made"] += (stage.place / ARRAY).exists()
        stage.array()


def _is_begun(path: Path, process: subprocess.Popen[str]) -> bool:
    return path.exists() or process.poll() is not None


def _exchanged(stage: Stage, rng: Random, figures: Counter[str], _: Point) -> None:
    """While a run goes, somebody puts something else in the place of the array of the run before."""
    first = next(iter(stage.texts))
    added = stage.texts.pop(first)
    file = stage.place / first[0] / first
    file.unlink()
    ran = stage.run()
    assert ran.code == 0, ran
    stage.texts = {first: added, **stage.texts}
    file.write_text(added)
    array, other = stage.place / "v.npy", stage.place / "other"
    how = rng.choice(("another array", "gone", "no array", "link", "directory", "ids gone"))
    with stage.start() as process:
        time.sleep(rng.uniform(0, 0.6))
        if how == "another array":
            np.save(stage.place / "other.npy", np.zeros((3, 5), "<f4"))
            (stage.place / "other.npy").replace(array)
        elif how == "ids gone":
            (stage.place / "v.npy.ids.json").unlink()
        else:
            array.unlink()
        if how == "no array":
            array.write_bytes(b"words")
        elif how == "link":
            other.write_bytes(b"words of others")
            array.symlink_to(other)
        elif how == "directory":
            array.mkdir()
        out, err = process.communicate(timeout=60)
    assert "Traceback" not in err, err
    expected = {"directory": (0, 73, 74), "no array": (0, 73), "link": (0, 73)}.get(how, (0,))
    assert process.returncode in expected, (how, process.returncode, out, err)
    figures[f"exchanged for {how}, ended with {process.returncode}"] += 1
    if process.returncode:
        if array.is_dir() and not array.is_symlink():
            array.rmdir()
        else:
            array.unlink()


def _filled(stage: Stage, rng: Random, figures: Counter[str], _: Point) -> None:
    """A disk without room for the array: 74, nothing half, what was paid for stays; with room it is made."""
    with small_disk(stage.place / "disk", "4m") as disk:
        if disk is None:
            figures["no tmpfs: may not be mounted here"] += 1
            return
        array = disk / "v.npy"
        command = tuple(str(array) if word == "v.npy" else word for word in stage.command)
        results = ("-o", str(stage.place / "v.npy.results.jsonl"))
        with (disk / "filler").open("wb", buffering=0) as filler, suppress(OSError):
            while True:
                filler.write(bytes(4096))
        (disk / "filler").unlink() if rng.random() < 0.2 else None
        ran = stage.desk.run(*command, *results, patience=60)
        full = (disk / "filler").exists()
        assert ran.code == (74 if full else 0), ran
        assert array.exists() is not full, [*disk.iterdir()]
        if full:
            assert not [path for path in disk.iterdir() if path.name != "filler"], [*disk.iterdir()]
            assert str(array) in ran.err, ran
            (disk / "filler").unlink()
            sent = sum(stage.sim.counts.values())
            assert stage.desk.run(*command, *results, patience=60).code == 0
            assert sum(stage.sim.counts.values()) == sent, "a text was asked again though its vector was safe"
        for path in (array, disk / "v.npy.ids.json"):
            (stage.place / path.name).write_bytes(path.read_bytes())
        stage.array(complete=True)
        figures["disks without room for the array" if full else "disks with room"] += 1


def _disturbed(stage: Stage, _rng: Random, figures: Counter[str], point: Point) -> None:
    """KILL, EIO or ENOSPC at a call: the code says so, and no row of an array that is there is another text's."""
    name, fault, when = point
    calls, file = CALLS[name]
    trace = stage.place / "trace"
    what = "signal=KILL" if fault == "KILL" else f"error={fault}"
    every, quick = "+" if fault == "ENOSPC" else "", () if fault == "KILL" else ("--seccomp-bpf",)
    ran = stage.run(
        *("strace", "-f", *quick, "-qq", "-o", str(trace), "-P", str((stage.place / file).resolve())),
        *("-e", f"trace={calls}", "-e", f"inject={calls}:{what}:when={when}{every}"),
    )
    met = "(INJECTED)" in trace.read_text() or "killed by SIGKILL" in trace.read_text()
    expected = 0 if not met else -9 if fault == "KILL" else 74
    assert ran.code == expected, f"{fault} at {name}, n = {when}: {ran}"
    assert met or when > 1, f"{fault} was not met at any {name}: nothing was tortured"
    figures[f"{fault} at a call" if met else "calls that were not made"] += 1
    stage.array()
