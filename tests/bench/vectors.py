"""The benchmark of embeddings in bulk: CPU of a text, requests that are saved, what bad texts and kills cost.

All of it goes against a server whose answers are made in advance, beside a loop that makes nothing safe to trust
(`vectors_beside.py`).
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it runs as a script, as `make bench` does

import numpy as np
import orjson
from bench.vectors_beside import BAD, BARE, DIM, asked, server
from bench.vectors_curve import curve
from bench.vectors_real import alike, rates, seconds_of
from support.embedder import LAYERS, made
from support.realserver import server_process

if TYPE_CHECKING:
    from collections.abc import Callable

WORDS: Final = " and some words more" * 8
EDGES: Final = (0.0, 0.1, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds of a run between which is told how `auto` went."""


class Row(NamedTuple):
    """One figure: what it is, its value, what is wanted ("" where nothing is), and whether it is met."""

    what: str
    value: str
    target: str = ""
    met: bool = True


class Bench:
    """A directory, and what is run in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, count: int, bad: int = 0, words: str = WORDS) -> None:
        step = count // bad if bad else 2 * count + 2
        with (self.folder / "texts.jsonl").open("wb") as file:
            for n in range(count):
                start = BAD if n % step == step // 2 else "text"
                file.write(orjson.dumps({"id": f"t{n}", "input": f"{start} {n}{words}"}) + b"\n")

    def start(self, url: str, *args: str, said: IO[bytes] | None = None) -> subprocess.Popen[bytes]:
        """Start a run; what it says goes to a file, or nowhere."""
        command = [sys.executable, "-m", "batcher", "run", "texts.jsonl", "-m", "m", "--base-url", f"{url}/v1", "-q"]
        return subprocess.Popen([*command, *args], cwd=self.folder, stderr=said or subprocess.DEVNULL)

    def cost(self, process: subprocess.Popen[bytes]) -> tuple[float, float, int]:
        """CPU and time in seconds, and the exit code."""
        began = time.monotonic()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        return usage.ru_utime + usage.ru_stime, time.monotonic() - began, process.returncode

    def clear(self) -> None:
        for path in self.folder.iterdir():
            if path.name != "texts.jsonl":
                path.unlink()


def cpu(bench: Bench, count: int, turns: int) -> list[Row]:
    """CPU of a text, 64 a request, right beside the bare loop's; a run of one text is taken off each side.

    One text a request with its numbers on its line is what all of them were before packs and arrays.
    """
    bench.write(count)
    with (bench.folder / "texts.jsonl").open("rb") as texts:
        first = texts.readline()
    packed = ("-c", "2", "--pack", "64")
    with server() as url:
        ways: dict[str, Callable[[], subprocess.Popen[bytes]]] = {
            "one": lambda: bench.start(url, "-n", "1", "--vectors", "v.npy"),
            "bare one": lambda: subprocess.Popen([*BARE, url, "one.jsonl", "1"], cwd=bench.folder),
            "base64": lambda: bench.start(url, *packed, "--vectors", "v.npy"),
            "bare base64": lambda: subprocess.Popen([*BARE, url, "texts.jsonl", "1"], cwd=bench.folder),
            "lists": lambda: bench.start(url, *packed, "--vectors", "v.npy", "--param", "encoding_format=float"),
            "bare lists": lambda: subprocess.Popen([*BARE, url, "texts.jsonl", "0"], cwd=bench.folder),
            "jsonl": lambda: bench.start(url, *packed, "-o", "v.jsonl"),
            "alone": lambda: bench.start(url, "-c", "8", "--pack", "1", "-o", "v.jsonl"),
        }
        took: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(turns):
            for name, start in ways.items():
                bench.clear()
                (bench.folder / "one.jsonl").write_bytes(first)
                took[name].append(bench.cost(start())[0])
    starts = {name: median(took.pop(name)) for name in ("one", "bare one")}  # what each differs by is 3 µs a text
    each = {
        name: [(cost - starts["bare one" if name.startswith("bare") else "one"]) / count * 1e6 for cost in costs]
        for name, costs in took.items()
    }

    def ratio(name: str, other: str) -> float:
        return median(a / b for a, b in zip(each[name], each[other], strict=True))

    rows = [Row(f"{name}, µs of CPU a text", f"{median(costs):.1f}") for name, costs in each.items()]
    for name in ("base64", "lists"):
        found = ratio(name, f"bare {name}")
        rows.append(Row(f"--vectors, {name}, of the bare loop", f"{found:.2f}", "≤ 1.3", met=found <= 1.3))
    together, alone = ratio("jsonl", "base64"), ratio("alone", "base64")
    rows.append(Row("numbers on lines, 64 a request, of --vectors", f"{together:.2f}"))
    return [*rows, Row("numbers on lines, one a request, of --vectors", f"{alone:.2f}", "≥ 5", met=alone >= 5)]


def pace(bench: Bench, count: int, turns: int) -> list[Row]:
    """Texts a second where a request costs 5 ms and a text 1 ms, one after the other, from a cold start.

    Seconds are those from the first request to the last answer, so that the start of a process is not among them. What
    else the machine does is: so the ways take turns, and what their requests cost the server by its own price, which
    is the same on each machine, stands beside.
    """
    bench.write(count)
    each, text = 0.005, 0.001
    ways = {"one a request": ("--pack", "1"), "auto": (), **{f"--pack {n}": ("--pack", str(n)) for n in (8, 32, 128)}}
    rates: dict[str, list[float]] = {name: [] for name in ways}
    prices: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(turns):
        names = [*ways]
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            bench.clear()
            with server(each, text) as url:
                bench.cost(bench.start(url, "--vectors", "v.npy", *ways[name]))
                prices[name].append(count / (each * asked(url) + text * count))
            lines = (bench.folder / "v.npy.results.jsonl").read_bytes().splitlines()
            rates[name].append(count / seconds_of([orjson.loads(line) for line in lines]))
    rows = []
    for what, found in (("5 ms a request", rates), ("by the server's price", prices)):
        middle = {name: median(values) for name, values in found.items()}
        best = max(rate for name, rate in middle.items() if name != "auto")
        gain, near = middle["auto"] / middle["one a request"], middle["auto"] / best
        rows += [Row(f"{what}, {name}, texts/s", f"{rate:.0f}") for name, rate in middle.items()]
        rows.append(Row(f"{what}: auto, of one a request", f"{gain:.2f}", "≥ 3", met=gain >= 3))
        rows.append(Row(f"{what}: auto, of the best", f"{near:.2f}", "≥ 0.95", met=near >= 0.95))
    return rows


def real(bench: Bench, count: int, turns: int) -> list[Row]:
    """Texts a second of the real llama.cpp server, found out and by a grid; vectors beside those asked alone.

    Of a model that people embed with, on texts as long as titles and as notes; and of its first layer alone, which
    takes a sixth of the time, as on a faster machine, so that more of it is what a request costs.
    """

    def run(url: str, *args: str) -> None:
        bench.clear()
        with (bench.folder / "said").open("w+b") as said:
            code = bench.cost(bench.start(url.removesuffix("/v1"), "--vectors", "v.npy", *args, said=said))[2]
            if code:
                said.seek(0)
                words = f"a run with {' '.join(args) or 'auto'} against {url} ended with {code}"
                raise RuntimeError(f"{words}: {said.read().decode()}")

    rows = []
    with tempfile.TemporaryDirectory() as models:
        whole, first = (made(Path(models) / f"{layers}.gguf", layers) for layers in (LAYERS, 1))
        for name, model, texts, words in (
            ("titles", whole, count, " and some words more" * 2),
            ("notes", whole, count // 4, " and some words more" * 16),
            ("titles, one layer", first, 5 * count, " and some words more" * 2),
        ):
            bench.write(texts, words=words)
            found = rates(bench.folder, run, model, texts, turns)
            rows += [Row(f"{name}, {way}, texts/s", f"{rate:.1f}") for way, rate in found.items()]
            best = max(rate for way, rate in found.items() if way != "auto")
            single = max(rate for way, rate in found.items() if way.startswith("--pack 1 "))
            near, gain = found["auto"] / best, found["auto"] / single
            rows.append(Row(f"{name}: auto, of the best of the grid", f"{near:.3f}", "≥ 0.95", met=near >= 0.95))
            rows.append(Row(f"{name}: the best, of the best of one a request", f"{best / single:.2f}"))
            rows.append(Row(f"{name}: auto, of that", f"{gain:.2f}", "≥ 1.2", met=gain >= 1.2))
        bench.write(96)
        cosines = alike(bench.folder, run, whole)
    return [
        *rows,
        *(Row(f"least cosine, {name}", f"{least:.6f}") for name, least in cosines.items() if name != "auto"),
        Row("least cosine, auto", f"{cosines['auto']:.6f}", "≥ 0.9999", met=cosines["auto"] >= 0.9999),
    ]


def went(bench: Bench, count: int) -> list[Row]:
    """How `auto` goes from a cold start, where a request costs 5 ms and a text 1 ms, and on the real llama.cpp."""
    rows = []
    with tempfile.TemporaryDirectory() as models, ExitStack() as stack:
        priced = stack.enter_context(server(0.005, 0.001))
        real_url, _ = stack.enter_context(server_process(model=made(Path(models) / "model.gguf")))
        for name, url in (("5 ms a request", priced), ("llama.cpp", real_url.removesuffix("/v1"))):
            bench.write(count, words=" and some words more" * 2)
            bench.clear()
            bench.cost(bench.start(url, "--vectors", "v.npy"))
            lines = (bench.folder / "v.npy.results.jsonl").read_bytes().splitlines()
            for span in curve([orjson.loads(line) for line in lines], EDGES):
                what = f"{name}, from {span.start:g} to {span.end:g} s"
                told = f"{span.in_flight:.1f} × {span.pack:.0f}: {span.rate:.0f}/s"  # noqa: RUF001 - times
                rows.append(Row(what, told))
    return rows


def bad_texts(bench: Bench, count: int, bad: int) -> list[Row]:
    """Requests beyond those that as many texts take in packs of 128, the most that go together."""
    bench.write(count, bad)
    bench.clear()
    with server() as url:
        bench.cost(bench.start(url, "--vectors", "v.npy"))
        requests = asked(url)
    errors = bench.folder / "v.npy.errors.jsonl"
    lines = len(errors.read_bytes().splitlines())
    extra = requests - count // 128
    return [
        Row(f"error lines of {bad} bad texts among {count}", str(lines), str(bad), met=lines == bad),
        Row("requests more", str(extra), f"≤ {15 * bad}", met=extra <= 15 * bad),
    ]


def kills(bench: Bench, count: int, times: int) -> list[Row]:
    """SIGKILL so many times, each a bit later; at the end all is there once, and `verify` agrees."""
    bench.write(count)
    bench.clear()
    store, died = bench.folder / "v.npy.vectors", 0
    with server(0.001) as url:
        for number in range(times):
            process = bench.start(url, "--vectors", "v.npy", "--pack", "16", "-c", "2")
            until = time.monotonic() + 30
            size = store.stat().st_size if store.exists() else 0
            while process.poll() is None and time.monotonic() < until:
                if store.exists() and store.stat().st_size > size + number * 4096:
                    break
                time.sleep(0.0005)
            process.send_signal(signal.SIGKILL)
            died += process.wait() == -signal.SIGKILL
        code = bench.cost(bench.start(url, "--vectors", "v.npy"))[2]
    verify = [sys.executable, "-m", "batcher", "verify", "texts.jsonl", "v.npy.results.jsonl", "--json"]
    proof = json.loads(subprocess.run(verify, cwd=bench.folder, stdout=subprocess.PIPE, check=False).stdout)
    ids = json.loads((bench.folder / "v.npy.ids.json").read_bytes())
    array: Any = np.load(bench.folder / "v.npy")
    lost = count - proof["ok"] + int(np.isnan(array).any(axis=1).sum())
    shifted = sum(ident != f"t{n}" for n, ident in enumerate(ids)) + proof["findings"]["misplaced"]["count"]
    met = (died, code) == (times, 0)
    return [
        Row("times killed, and the exit code of the last run", f"{died}, {code}", f"{times}, 0", met=met),
        Row("lost; shifted", f"{lost}; {shifted}", "0; 0", met=not lost and not shifted),
    ]


def size(bench: Bench, count: int) -> list[Row]:
    """Bytes on disk of the array and the store, the most while the array is made, and the time to load it."""
    bench.write(count, words="")
    bench.clear()
    most, array = 0, 4 * DIM * count
    with server() as url:
        process = bench.start(url, "--vectors", "v.npy")
        while process.poll() is None:
            most = max(most, sum(path.stat().st_blocks for path in bench.folder.glob("*.npy*")) * 512)
            time.sleep(0.2)
    sizes = {path.name: path.stat().st_size for path in bench.folder.iterdir()}
    began = time.monotonic()
    loaded: Any = np.load(bench.folder / "v.npy")
    took = time.monotonic() - began
    met = loaded.shape == (count, DIM) and not np.isnan(loaded).any()
    kept, lines = sizes["v.npy"] + sizes["v.npy.vectors"], sizes["v.npy.results.jsonl"]
    return [
        Row(f"{count} x {DIM}: array, of its numbers", f"{sizes['v.npy'] / array:.4f}", "≤ 1.001"),
        Row("array and store, of its numbers", f"{kept / array:.4f}", "≤ 2.002", met=kept <= 2.002 * array),
        Row("at most, while it is made", f"{most / array:.3f}"),
        Row("lines of the results, bytes a text", f"{lines / count:.0f}"),
        Row("seconds to load it", f"{took:.2f}", met=met),
    ]


def memory(bench: Bench, count: int) -> list[Row]:
    """Peak memory by how many short texts there are, of 8 numbers each; each has an id."""
    peaks, counts = [], (count // 3, count)
    for texts in counts:
        bench.write(texts, words="")
        bench.clear()
        with server(dim=8) as url:
            process = bench.start(url, "--vectors", "v.npy")
            _, status, usage = os.wait4(process.pid, 0)
        assert not status
        peaks.append(usage.ru_maxrss * 1024)
    each = (peaks[1] - peaks[0]) / (counts[1] - counts[0])
    rows = [Row(f"peak memory of {n} texts, MB", f"{peak / 1e6:.0f}") for n, peak in zip(counts, peaks, strict=True)]
    return [*rows, Row("bytes a text", f"{each:.0f}", "≤ 120", met=each <= 120)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=("cpu", "pace", "bad", "kills", "size", "memory", "real", "curve"))
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--turns", type=int, default=3)
    arguments = parser.parse_args()

    def scaled(count: int) -> int:
        return max(2, int(count * arguments.scale))

    parts: dict[str, Callable[[Bench], list[Row]]] = {
        "cpu": lambda bench: cpu(bench, scaled(20_000), arguments.turns),
        "pace": lambda bench: pace(bench, scaled(3_000), arguments.turns),
        "bad": lambda bench: bad_texts(bench, scaled(100_000), scaled(100)),
        "kills": lambda bench: kills(bench, scaled(20_000), scaled(50)),
    }
    alone: dict[str, Callable[[Bench], list[Row]]] = {  # they take the model, 10 GB of disk, or long
        "real": lambda bench: real(bench, scaled(1_200), arguments.turns),
        "curve": lambda bench: went(bench, scaled(1_200)),
        "size": lambda bench: size(bench, scaled(1_000_000)),
        "memory": lambda bench: memory(bench, scaled(3_000_000)),
    }
    if arguments.only in alone:
        parts = {arguments.only: alone[arguments.only]}
    rows = []
    for name, part in parts.items():
        if arguments.only in (None, name):
            with tempfile.TemporaryDirectory() as folder:
                rows += part(Bench(Path(folder)))
    for row in rows:
        verdict = "" if not row.target else "met" if row.met else "MISSED"
        print(f"{row.what:<52} {row.value:>12} {row.target:>10} {verdict}")
    sys.exit(not all(row.met for row in rows))


if __name__ == "__main__":
    main()
