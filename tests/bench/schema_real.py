"""The benchmark of schemas on a real model without a grammar: how many answers fit at first, and when asked again.

llama.cpp ignores a schema at `/v1/responses`, so that the model is told by nothing but the prompt and the corrections.
Beside it: what a validation costs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it runs as a script, as `make bench` does

import orjson
from support.realserver import serving

import batcher
from batcher.exchange import jsontext
from batcher.inputs.schemas import Schema

SCHEMA = {
    "type": "object",
    "properties": {"label": {"enum": ["good", "bad"]}, "score": {"type": "integer"}},
    "required": ["label", "score"],
}
TEN = {
    "type": "object",
    "properties": {f"field{n}": {"type": ["string", "integer"]} for n in range(10)},
    "required": [f"field{n}" for n in range(10)],
    "additionalProperties": False,
}
FIT = 0.6
"""The part that is to fit in the end; and twice what fits at first."""
VALIDATION = 20.0
"""The most microseconds for an answer of 1 kB."""
SUBJECTS = ("coffee", "room", "train", "film", "soup", "phone", "book", "walk", "song", "lamp")
WORDS = ("lovely", "broken", "too loud", "as described", "late", "worth it", "cold", "better than before")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200)
    args = parser.parse_args()
    cost = validation()
    print(f"validation of 1 kB with ten fields: {cost:.1f} µs (at most {VALIDATION:g})")
    with tempfile.TemporaryDirectory() as name, serving() as url:
        first, last, rows = fit(Path(name), url, args.rows)
    print(f"of {rows} answers {first / rows:.0%} fit at first, {last / rows:.0%} after at most two more questions")
    return int(cost > VALIDATION or last < FIT * rows or last < 2 * first)


def validation() -> float:
    schema, text = (
        Schema(TEN),
        orjson.dumps({f"field{n}": "x" * 85 if n % 2 else n * 10**8 for n in range(10)}).decode(),
    )
    began = time.process_time()
    for _ in range(20_000):
        value, why = jsontext.read(text)
        assert why is None
        assert schema.fault(value) is None
    return (time.process_time() - began) * 1e6 / 20_000


def fit(folder: Path, url: str, count: int) -> tuple[int, int, int]:
    """(answers that fit at once, in the end, all)."""
    jobs = folder / "jobs.jsonl"
    rows = [
        {"id": n, "prompt": f"Is this review good or bad? The {SUBJECTS[n % 10]} was {WORDS[n // 10 % 8]}. ({n})"}
        for n in range(count)
    ]
    jobs.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    results = folder / "results.jsonl"
    params = {"max_tokens": 48, "temperature": 0.3, "seed": 1}
    batcher.run(
        jobs,
        results,
        schema=SCHEMA,
        base_url=url,
        model="demo",
        endpoint="/v1/responses",
        concurrency=4,
        params=params,
    )
    lines = [orjson.loads(line) for line in results.read_bytes().splitlines()]
    fitting = [line for line in lines if "parsed" in line]
    return sum("asked_again" not in line for line in fitting), len(fitting), len(lines)


if __name__ == "__main__":
    sys.exit(main())
