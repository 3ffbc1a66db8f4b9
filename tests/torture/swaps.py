"""Somebody exchanges the names beside the results while commands run: for links, FIFOs, directories, files of others.

It is a directory that everybody may write to, and whoever does it is as fast as a loop of renames. Nothing that lies
elsewhere may change, nothing that has a second name there, and each command ends: by itself, or by a signal.
"""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from support.commandline import Desk, names, prompts

from batcher.simulator import simulator_thread

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from torture.budget import Budget

LASTS: Final = 8.0
"""Seconds that a command has; then it gets a signal, as it may be at work with what was put there."""
GRACE: Final = 60.0
"""Seconds after which one that had its signal is taken for hanging."""
_OUT: Final = "results"
TARGETS: Final = [
    *(f"{_OUT}.jsonl", f"{_OUT}.jsonl.part", f"{_OUT}.state.json", f"{_OUT}.errors.jsonl"),
    *(f"{_OUT}.quarantine", f"{_OUT}.superseded", f"{_OUT}.images", "table.csv", "table.csv.results.jsonl"),
    *(f".{_OUT}.jsonl.new", f".{_OUT}.state.json.new", f".{_OUT}.errors.jsonl.new", ".table.csv.new", "sums.json"),
    *("a.db-journal", "a.db-wal", "v.npy", ".v.npy.new", "v.npy.ids.json", ".v.npy.ids.json.new", "v.npy.vectors"),
    *("v.npy.results.jsonl", "v.npy.state.json", ".v.npy.state.json.new", "v.npy.errors.jsonl"),
]
_HOW: Final = ("-q", "-m", "simulator", "--retries", "0", "--max-wait", "1s")
_RUN: Final = ("run", "jobs.jsonl", *_HOW)
COMMANDS: Final[list[tuple[str, ...]]] = [
    (*_RUN, "-o", f"{_OUT}.jsonl"),
    (*_RUN, "-o", f"{_OUT}.jsonl", "--overwrite", "--ordered", "--on-change", "rerun"),
    (*_RUN, "-o", f"{_OUT}.jsonl", "--atomic", "--summary-json", "sums.json"),
    (*_RUN, "-o", "table.csv"),
    (*_RUN, "-o", "sqlite:a.db"),
    ("run", "texts.jsonl", *_HOW, "--vectors", "v.npy"),
    ("verify", "jobs.jsonl", f"{_OUT}.jsonl", "-m", "simulator"),
    ("export", f"{_OUT}.jsonl", "-o", "table.csv"),
    ("export", f"{_OUT}.jsonl", "-o", "batch.jsonl", "--format", "openai-batch"),
]


def swaps(place: Path, budget: Budget, rng: Random) -> Counter[str]:
    """Run commands under somebody who exchanges names. Raises AssertionError on a violation."""
    figures: Counter[str] = Counter()
    with simulator_thread() as sim:
        while budget.spend():
            desk, theirs = Desk(place / f"swaps{budget.spent}"), place / f"theirs{budget.spent}"
            _prepare(desk, theirs)
            command = COMMANDS[(budget.spent - 1) % len(COMMANDS)]
            if command[0] == "run":
                command = (*command, "--base-url", sim.url)
            before = picture(theirs)
            code = _under_attack(desk, theirs, command, rng.randrange(10**6))
            assert picture(theirs) == before, f"{' '.join(command)}: something else was changed"
            figures[f"ended with {code}"] += 1
    return figures


def _prepare(desk: Desk, theirs: Path) -> None:
    for path in (desk.path, theirs, theirs / "folder"):
        path.mkdir()
    desk.write("jobs.jsonl", *prompts(names(20)), *prompts(["bad"], "do=400"))
    desk.write("texts.jsonl", *({"id": name, "input": f"text {name}"} for name in names(20)))
    (theirs / "keys").write_bytes(b"ssh-ed25519 AAAA me@home\n")
    (theirs / "results").write_bytes(b'{"id":"gone","seq":0,"hash":"0123456789abcdef","text":"x"}\nplanted\n')
    (theirs / "errors").write_bytes(b'{"id":"gone","seq":0,"line":1,"error":{"class":"permanent","code":"x"}}\n')
    (theirs / "state").write_bytes(b"{}")
    desk.path.chmod(0o777)


def _under_attack(desk: Desk, theirs: Path, command: tuple[str, ...], seed: int) -> int:
    """How a command ends."""
    here = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    attacker = subprocess.Popen([sys.executable, __file__, desk.path, theirs, str(seed)], env=here)
    process = desk.start(*command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        try:
            _, said = process.communicate(timeout=LASTS)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
            try:
                _, said = process.communicate(timeout=GRACE)
            except subprocess.TimeoutExpired:
                raise AssertionError(f"{' '.join(command)}: hangs") from None
        assert "Traceback" not in said, f"{' '.join(command)}: {said}"
    finally:
        attacker.kill()
        attacker.wait()
        process.kill()
        process.wait()
    return process.returncode


def picture(path: Path) -> dict[str, Any]:
    """What is in a directory; of each its kind, and what is in it. Links to it come and go, and change no more."""
    found: dict[str, Any] = {}
    for entry in sorted(path.rglob("*")):
        status = entry.lstat()
        is_file = stat.S_ISREG(status.st_mode)
        found[str(entry.relative_to(path))] = status.st_mode, status.st_ino, entry.read_bytes() if is_file else None
    return found


def attack(place: Path, theirs: Path, rng: Random) -> None:
    """Exchange names until killed: each is made under another one and renamed, or lent and taken back."""
    scratch = place / ".scratch"
    victims = sorted(path for path in theirs.iterdir() if path.is_file())
    kinds: dict[str, Callable[[], object]] = {
        "link": lambda: scratch.symlink_to(rng.choice(victims)),
        "dangling": lambda: scratch.symlink_to(theirs / "new"),
        "folder": lambda: scratch.symlink_to(theirs / "folder"),
        "second name": lambda: scratch.hardlink_to(rng.choice(victims)),
        "fifo": lambda: os.mkfifo(scratch),
        "file": lambda: scratch.write_bytes(rng.choice(victims).read_bytes()),
        "directory": scratch.mkdir,
    }
    targets, pause = rng.sample(TARGETS, rng.choice([1, 2, 4, len(TARGETS)])), rng.choice([0, 0.001, 0.02])
    while True:
        time.sleep(rng.random() * pause)  # the faster, the earlier a command gives up
        target = place / rng.choice(targets)
        with suppress(OSError):
            kinds[rng.choice([*kinds])]()
            scratch.rename(target)
        with suppress(OSError):
            scratch.unlink()
        with suppress(OSError):
            scratch.rmdir()
        if rng.random() < 0.5:
            with suppress(OSError):
                target.rmdir() if target.is_dir() and not target.is_symlink() else target.unlink()


if __name__ == "__main__":
    import random

    attack(Path(sys.argv[1]), Path(sys.argv[2]), random.Random(sys.argv[3]))
