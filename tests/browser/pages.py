"""Pages to look at: of a run that met an outage, of many results, of few, of what harms a page that obeys it."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import orjson

from batcher.simulator import simulator_thread

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

START: Final = datetime(2026, 11, 30, 20, 0, tzinfo=UTC).timestamp()
SEED: Final = 4
BATCHER: Final = (sys.executable, "-m", "batcher")
HOSTILE: Final = (
    "<script>console.error('obeyed')</script>",
    "</pre></details></main><img src=x onerror=\"console.error('obeyed')\">",
    '"><svg onload=console.error(1)>',
    "{{ 7 * 7 }} {% raw %} &lt;b&gt; &amp;amp;",
    "\x1b[31mred\x1b[0m \x00 \x07 \u202egnisrever\u202c \u2066 \ufeff",
    "<style>*{display:none}</style><link rel=stylesheet href=http://127.0.0.1:9/x.css>",
    "<meta http-equiv=refresh content='0;url=http://127.0.0.1:9/'>",
    "wide" * 400,
    "é" * 3000 + "漢字" * 3000 + "🐝" * 500,
)
MODELS: Final = ("llama3.2", "qwen2.5:7b")
SERVERS: Final = ("http://127.0.0.1:11434",)
LONG_MODELS: Final = (
    "hf.co/somebody/A-Model-With-Many-Parameters-3.1-70B-Instruct-Q4_K_M-GGUF:latest-and-a-tag-that-goes-on-and-on",
    "/models/quantised/" + "x" * 180,
    "m",
)
MANY_SERVERS: Final = tuple(f"https://inference-{n}.a-long-name-of-a-company.internal.example:8443" for n in range(120))


def made_up(
    number: int,
    *,
    stretches: int = 1,
    hostile: bool = False,
    failing: float = 0.02,
    embeds: bool = False,
    models: Sequence[str] = MODELS,
    servers: Sequence[str] = SERVERS,
) -> Iterator[tuple[dict[str, Any], bool]]:
    """Lines of results and of errors, and which of both each is; `failing` is the part that fails."""
    rng = random.Random(SEED)
    free = [START] * 16
    for seq in range(number):
        slot = seq % len(free)
        pause = 86_400.0 * (seq * stretches // number)
        tokens = min(int(rng.lognormvariate(4, 0.9)) + 1, 2048)
        ttft, gap = rng.lognormvariate(-1.4, 0.5), 0.02 * rng.lognormvariate(0, 0.2)
        total = ttft + tokens * gap
        began = free[slot] + pause
        free[slot] += total
        stamp = datetime.fromtimestamp(began, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        text = rng.choice(HOSTILE) if hostile else "Bees live in the city. " * (tokens // 5 + 1)
        ident = f"{rng.choice(HOSTILE)[:80]} {seq}" if hostile else f"q{seq}"
        model = HOSTILE[seq % 4] if hostile else rng.choice(models)
        about = {"id": ident, "seq": seq, "model": model, "server": servers[seq % len(servers)]}
        if rng.random() < failing:
            error = {"class": "transient", "code": text[:40] if hostile else "timeout_idle", "message": text[:300]}
            yield {**about, "error": error, "attempts": 4, "at": stamp}, False
            continue
        flags = ["length"] if tokens == 2048 or seq % 97 == 0 else []
        flags += [HOSTILE[seq % 3]] if hostile and seq % 50 == 0 else []
        timing = {
            "started_at": stamp, "waited_s": 0.0, "ttft_s": ttft, "itl_p50_s": gap, "itl_p95_s": 1.6 * gap,
            "total_s": total, "tokens_per_s": 1 / gap,
        }  # fmt: skip
        if embeds:
            times = {name: timing[name] for name in ("started_at", "waited_s", "total_s")}
            line = {**about, "hash": f"{seq:016x}", "embedding": [0.5, -0.5], "usage": {"prompt_tokens": tokens}}
            yield {**line, "timing": times, "attempts": 1}, True
            continue
        usage = {"prompt_tokens": rng.randint(20, 400), "completion_tokens": tokens, "cached_tokens": 16}
        line = {**about, "hash": f"{seq:016x}", "text": text[:4000], "finish_reason": "stop", "usage": usage}
        yield {**line, "timing": timing, "attempts": 1 + (seq % 40 == 0), "flags": flags}, True


def write(results: Path, number: int, **settings: Any) -> None:
    """Write such lines beside one another, as a run does."""
    with results.open("wb") as file, results.with_suffix(".errors.jsonl").open("wb") as failures:
        for record, is_result in made_up(number, **settings):
            head = {name: record[name] for name in ("id", "seq", "hash") if name in record}
            out = file if is_result else failures
            out.write(orjson.dumps({**head, **record}, option=orjson.OPT_APPEND_NEWLINE))


def compared(folder: Path, number: int, *, hostile: bool = False, repeats: int = 1) -> None:
    """Results of two models over one input, `a.jsonl` and `b.jsonl`: most answers differ, and rows of each are missing.

    With `repeats` rows are asked so often, and ids are as `--repeat` makes them.
    """
    words = ["Bees", "live", "in", "the", "city", "and", "find", "flowers", "on", "roofs", ".", "café", "漢"]
    for place, side in enumerate("ab"):
        rng = random.Random(place)
        with (folder / f"{side}.jsonl").open("wb") as file, (folder / f"{side}.errors.jsonl").open("wb") as failures:
            for record, is_result in made_up(number, hostile=hostile):
                if rng.random() < 0.03:
                    continue
                row, turn = divmod(record["seq"], repeats)
                own = {**record, "model": ["llama3.2", "qwen2.5:7b"][place]}
                if repeats > 1:
                    own["id"] = f"q{row}~{turn + 1}"
                if not is_result or rng.random() < 0.02:
                    error = {"class": "transient", "code": "timeout_idle", "message": "no content came for 120 s"}
                    kept = {name: own[name] for name in ("id", "seq", "model", "server")}
                    failures.write(orjson.dumps({**kept, "error": error, "attempts": 4}) + b"\n")
                    continue
                usage = own["usage"]
                own["usage"] = {**usage, "completion_tokens": usage["completion_tokens"] * (1 + place)}
                own["hash"] = f"{record['seq'] + place * 10**9:016x}"
                if not hostile:
                    answers = random.Random(row if rng.random() < 0.7 else rng.random())
                    own["text"] = " ".join(answers.choices(words, k=answers.randint(1, 90)))
                if rng.random() < 0.5:
                    told = {
                        "label": rng.choice("ab"),
                        "n": rng.choice([1, 1.0, 2]),
                        "where": {"city": rng.choice("xy")},
                    }
                    own["parsed"] = {**told, HOSTILE[1]: HOSTILE[row % 3]} if hostile else told
                head = {name: own[name] for name in ("id", "seq", "hash")}
                file.write(orjson.dumps({**head, **own}, option=orjson.OPT_APPEND_NEWLINE))


def run(results: Path, jobs: int = 1500) -> None:
    """A run of batcher's against the simulator, which is away for a while in its midst."""
    rng = random.Random(SEED)
    words = ["Bees", "in", "cities", "find", "flowers", "on", "roofs,", "balconies", "and", "railway", "lines."]
    with (results.with_name("jobs.jsonl")).open("wb") as file:
        for seq in range(jobs):
            asked = " ".join(rng.choices(words, k=rng.randint(4, 60)))
            tokens = min(int(rng.lognormvariate(3.3, 0.7)) + 1, 300)
            job = {"id": f"q{seq}", "prompt": f"[[sim id=q{seq} tokens={tokens}]] {asked}"}
            file.write(orjson.dumps(job, option=orjson.OPT_APPEND_NEWLINE))
    with simulator_thread(slots=8, prompt_delay=0.05, token_delay=0.004) as simulator:
        command = [*BATCHER, "run", "jobs.jsonl", "-o", results.name, "-m", "simulator", "--base-url", simulator.url]
        with subprocess.Popen([*command, "-c", "auto", "-q"], cwd=results.parent) as process:
            time.sleep(8.0)
            simulator.kill()
            time.sleep(4.0)
            simulator.revive()
            process.wait(180)


def comparison(made: Path, *results: str, rows: int = 50) -> Path:
    """The page of a comparison, of results that stand beside it. Raises CalledProcessError."""
    prices = ("--price-in", "0.15", "--price-cached", "0.07", "--price-out", "0.6")
    command = [*BATCHER, "compare", *results, "-o", made.name, "-n", str(rows), *prices]
    subprocess.run(command, cwd=made.parent, check=True, stderr=subprocess.DEVNULL)
    return made


def page(results: Path, *settings: str) -> Path:
    """The report of results. Raises CalledProcessError."""
    made = results.with_suffix(".html")
    subprocess.run([*BATCHER, "report", results, "-o", made, "-q", *settings], check=True)
    return made
