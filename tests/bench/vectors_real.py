"""Embeddings of the real llama.cpp server: what `--pack auto` does beside a grid of fixed numbers, and what comes out.

Seconds are those from the first request to the last answer, as the lines of the results tell, less those in which the
server's thread that computes was ready and got no core. The ways take turns, in another order each round.
"""

from __future__ import annotations

from datetime import datetime
from statistics import median
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from bench.pace_real import threads, waited_for_a_core
from support.commandline import read_lines
from support.realserver import server_process

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

PACKS: Final = (1, 8, 32, 128)
FLYING: Final = (1, 4, 8)
ALONE: Final = "--pack 1 -c 1"


def ways() -> dict[str, tuple[str, ...]]:
    """Options by the names of the ways."""
    grid = {f"--pack {p} -c {c}": ("--pack", str(p), "-c", str(c)) for p in PACKS for c in FLYING}
    return {"auto": (), **grid}


def seconds_of(lines: Sequence[dict[str, Any]]) -> float:
    """From the first request to the last answer."""
    starts = [datetime.fromisoformat(line["timing"]["started_at"]).timestamp() for line in lines]
    ends = [start + line["timing"]["total_s"] for start, line in zip(starts, lines, strict=True)]
    seconds: float = max(ends) - min(starts)
    return seconds


def rates(folder: Path, run: Callable[..., None], model: Path, count: int, turns: int) -> dict[str, float]:
    """Texts a second of each way. `run` makes `v.npy` in the folder from a server and options."""
    found: dict[str, list[float]] = {name: [] for name in ways()}
    with server_process(model=model) as (url, pid):
        run(url, *ways()[ALONE])  # the model's pages are read
        for turn in range(turns):
            names = [*ways()]
            first = turn % len(names)
            for name in names[first:] + names[:first]:
                before = threads(pid)
                run(url, *ways()[name])
                hindered = waited_for_a_core(before, threads(pid))
                seconds = seconds_of(read_lines((folder / "v.npy.results.jsonl").read_text()))
                found[name].append(count / max(seconds - hindered, 1e-3))
    return {name: median(each) for name, each in found.items()}


def alike(folder: Path, run: Callable[..., None], model: Path) -> dict[str, float]:
    """The least cosine of vectors with those asked alone, one request after the other, by how else they were asked."""
    asked = {
        "alone": ways()[ALONE],
        "alone, once more": ways()[ALONE],
        "alone, four requests at a time": ways()["--pack 1 -c 4"],
        "eight a request, one at a time": ways()["--pack 8 -c 1"],
        "auto": (),
    }
    arrays = {}
    with server_process(model=model) as (url, _):
        for name, args in asked.items():
            run(url, *args)
            arrays[name] = np.load(folder / "v.npy")
    alone = arrays.pop("alone")
    return {name: float(_cosines(alone, array).min()) for name, array in arrays.items()}


def _cosines(one: Any, other: Any) -> Any:
    """Row by row."""
    one, other = one.astype(np.float64), other.astype(np.float64)
    return np.sum(one * other, axis=1) / (np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1))
