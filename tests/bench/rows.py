"""The benchmark of rows: what a template costs a row, and what equal requests cost that are asked once."""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
import time
import tracemalloc
from hashlib import blake2b
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it runs as a script, as `make bench` does

import orjson

import batcher
from batcher.inputs.formats import parse_job
from batcher.inputs.formats.defaults import Defaults
from batcher.inputs.identity import Ids
from batcher.inputs.recipe import Recipe
from batcher.running.requests import Requests
from batcher.simulator import simulator_thread

TEXT: Final = "words of a review, " * 16
PLAIN: Final = Defaults(model="m")


class Row(NamedTuple):
    """One figure: what it is, its value, the most that is wanted ("" where nothing is), and whether it is met."""

    what: str
    value: str
    target: str = ""
    met: bool = True


def parsing(lines: list[bytes], defaults: Defaults) -> float:
    """CPU of a row in µs."""
    ids = Ids()
    gc.collect()
    began = time.process_time()
    for seq, line in enumerate(lines):
        parse_job(line, seq, defaults, ids)
    return (time.process_time() - began) / len(lines) * 1e6


def templates(count: int, turns: int) -> list[Row]:
    """A column in a prompt, and one through a filter, in times of the same prompt as a line of a job file."""
    prompts = [orjson.dumps({"prompt": f"Classify: {TEXT}{number}"}) for number in range(count)]
    texts = [orjson.dumps({"text": f"{TEXT}{number}"}) for number in range(count)]
    recipes = {
        "{{ text }}": Recipe.of({"prompt": "Classify: {{ text }}"}, {}),
        "{{ text | trim }}": Recipe.of({"prompt": "Classify: {{ text | trim }}"}, {}),
    }
    figures = []
    for name, recipe in recipes.items():
        pairs = [
            (parsing(prompts, PLAIN), parsing(texts, Defaults(model="m", recipe=recipe))) for _ in range(turns)
        ]  # turn by turn, so that both meet the same machine
        ratio = median(templated / plain for plain, templated in pairs)
        most = 2.0 if recipe is not None and "|" not in name else None
        value = f"{median(one for _, one in pairs):.1f} µs a row, {ratio:.2f} times a prompt's {pairs[0][0]:.1f} µs"
        figures.append(Row(name, value, f"≤ {most}" if most else "", most is None or ratio <= most))
    return figures


def copies(count: int) -> list[Row]:
    """Nine of ten rows repeat: requests, and rows with an answer."""
    with tempfile.TemporaryDirectory() as name, simulator_thread() as sim:
        source, results = Path(name) / "rows.jsonl", Path(name) / "results.jsonl"
        lines = (orjson.dumps({"id": str(n), "text": f"text {n % (count // 10)}"}) for n in range(count))
        source.write_bytes(b"\n".join(lines))
        began = time.monotonic()
        summary = batcher.run(
            source, results, embed="{{ text }}", model="simulator", base_url=sim.url, dedupe=True, concurrency=8, pack=1
        )
        took = time.monotonic() - began
        requests = sum(sim.tally.paths.values())
        answered = results.read_bytes().count(b"\n")
    asked = Row("requests, of rows", f"{requests} of {count} in {took:.1f} s", "≤ 1/10", requests <= count / 10 + 5)
    return [asked, Row("rows with an answer", str(answered), f"{count}", answered == summary.ok == count)]


def memory(count: int) -> list[Row]:
    """What is kept of a distinct request, in bytes."""
    tracemalloc.start()
    table = Requests()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(count):
        digest = blake2b(number.to_bytes(8, "little"), digest_size=8).digest()
        table.entry((int.from_bytes(digest, "little"), number))
    each = (tracemalloc.get_traced_memory()[0] - before) / count
    tracemalloc.stop()
    return [Row("memory of a distinct request", f"{each:.0f} bytes", "≤ 40", each <= 40)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="how many rows, in times of the usual")
    parser.add_argument("--turns", type=int, default=5)
    said = parser.parse_args()
    rows = [
        *templates(int(20_000 * said.scale), said.turns),
        *copies(int(20_000 * said.scale)),
        *memory(max(200_000, int(1_000_000 * said.scale))),
    ]
    for row in rows:
        print(f"{row.what:<30} {row.value:<60} {row.target:<8} {'' if row.met else 'MISSED'}")
    return 0 if all(row.met for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
