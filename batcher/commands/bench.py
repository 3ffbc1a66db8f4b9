"""`batcher bench`: how many requests in flight are enough, on one's own rows and server."""

from __future__ import annotations

import sys
from signal import Signals
from typing import TYPE_CHECKING, Any, Final

import click

from batcher.commands import run
from batcher.commands.conclusion import end_quietly
from batcher.commands.console import answer, print_json
from batcher.commands.conversion import options_from
from batcher.commands.grouped import Grouped
from batcher.commands.options import environ_of, notes_of
from batcher.commands.single import placed, results_path
from batcher.commands.values import Duration, Parsed
from batcher.failures import BatcherError, Exit, UsageError
from batcher.figures import count, duration, rate, seconds

if TYPE_CHECKING:
    from pathlib import Path

    from batcher.running.bench import Bench
    from batcher.view.steps import Point

LEFT_OUT: Final = frozenset(
    {
        *("concurrency", "limit_new", "estimate", "max_duration", "skip_failed", "max_errors", "max_cost"),
        *("dry_run", "print_config", "summary_json", "metrics_file", "stats", "log_format", "verbose", "json"),
        *("pack", "keep", "table", "formula_guard", "ordered", "atomic", "if_locked"),
    }
)
"""Options of `batcher run` that a sweep sets itself, or that say how a whole run ends."""
NAMES: Final = ("ttft", "latency", "itl")


def levels_of(text: str) -> tuple[int, ...]:
    """Read `1,2,4`. Raises ValueError."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdecimal() and 0 < int(part) < 1_000_000 for part in parts):
        raise ValueError("must be numbers of at least 1 with commas between, such as 1,2,4,8")
    return tuple(dict.fromkeys(int(part) for part in parts))


def packs_of(text: str) -> tuple[int, ...]:
    """Read `auto`, `64` or `16,64,256`. Raises ValueError."""
    return () if text == "auto" else levels_of(text)


def slo_of(text: str) -> tuple[str, float]:
    """Read `ttft=500ms`. Raises ValueError."""
    name, equals, most = text.partition("=")
    if not equals or name not in NAMES:
        raise ValueError(f"must be {', '.join(NAMES)} and a time, such as ttft=500ms")
    return name, duration(most)


@click.option(
    "-c",
    "--concurrency",
    "levels",
    type=Parsed("levels", levels_of),
    metavar="N,N,…",
    help="What to try (default: 1 2 4 8 … as long as that brings more, then the middles beside the knee).",
)
@click.option(
    "--up-to", type=click.IntRange(1), default=64, show_default=True, metavar="N", help="The most that is tried."
)
@click.option(
    "--pack",
    "packs",
    type=Parsed("packs", packs_of),
    default="auto",
    show_default=True,
    metavar="auto|N,N,…",
    help="Embedding inputs in one request: each step finds its own, one number that holds, or several to try.",
)
@click.option(
    "--seconds",
    type=Duration(),
    default="20s",
    show_default=True,
    help="How long each step sends; auto has twice as long.",
)
@click.option(
    "--rows",
    type=click.IntRange(1),
    metavar="N",
    help="Rows of a step (default: 8 a slot, or a 20th of the rest).",
)
@click.option(
    "--slo",
    "slos",
    multiple=True,
    type=Parsed("slo", slo_of),
    metavar="NAME=TIME",
    help="Count who keeps to it: ttft=500ms, latency=10s, itl=50ms (95 of 100 of an answer's gaps). Repeatable.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def _bench(ctx: click.Context, /, input: str | tuple[str, ...], output: str | None, **values: Any) -> None:  # noqa: A002 - the argument's name
    """Find out how many requests in flight are enough for the rows of INPUT on the server, and which number to set.

    Each step asks the next rows with one concurrency, for --seconds or --rows. The knee is the least concurrency with
    97 % of the best throughput: tokens a second where the server counts them, else answers; those between which it is
    chosen are measured twice. What -c auto makes of it stands below. The answers are results, in the file that batcher
    run would write: it asks none of them again.

    \b
    Examples:
      batcher bench prompts.jsonl -m llama3.2
      batcher bench prompts.jsonl --base-url http://gpu:8000/v1 --up-to 256 --slo ttft=500ms --slo itl=50ms
      batcher bench prompts.jsonl -c 4,8,12 --seconds 60s --json
      batcher bench texts.jsonl -m all-minilm --pack 8,32,128 --up-to 8

    Exit codes: 0 there is a number, 2 usage, 3 nothing was measured, 65 the input, 69 no server, and as batcher run.
    """  # noqa: D301 - \b is click's mark for lines that are not to be wrapped
    from batcher.commands.console import Console, occupy
    from batcher.running.bench import Bench
    from batcher.running.signals import harden

    occupy()
    harden()
    if not isinstance(values["model"], tuple):
        output, values = placed(output, values, environ_of(ctx))
    results = _results(input, output, values["vectors"])
    if not values["seconds"]:
        raise UsageError("--seconds must be longer than 0 s")
    with Console(quiet=values["quiet"], verbose=False, progress=values["progress"]) as console:
        for note in notes_of(ctx):
            console.note(note)
        if output is None:
            console.note(f"results go to {results}")
        bench = Bench(
            input=input,
            output=results,
            options=options_from(values),
            environ=environ_of(ctx),
            observer=console,
            seconds=values["seconds"],
            rows=values["rows"],
            slo=dict(values["slos"]),
            levels=values["levels"] or (),
            packs=values["packs"],
            most=values["up_to"],
        )
        ended: BatcherError | None = None
        try:
            for point in bench.sweep():
                console.note(_told(point, bench))
        except BatcherError as error:
            if not bench.points:
                raise
            ended = error  # what was measured before is told all the same
    try:
        _show(bench, as_json=values["as_json"])
        sys.stdout.flush()
    except BrokenPipeError:
        end_quietly()
    if ended is not None:
        raise ended
    _end(bench)


def _show(bench: Bench, *, as_json: bool) -> None:
    from batcher.view.curve import as_dict, curve, spent, table, verdict

    points, auto, slo = bench.points, bench.auto, bench.slo
    if as_json:
        more = {"complete": bench.is_complete, "cost": bench.cost, "unpriced": bench.unpriced}
        print_json({**as_dict(points, auto, slo, str(bench.output)), **more})
        return
    told = [*table(points, auto, slo), "", *curve(points, auto)] if points else []
    if points and not bench.is_complete:
        told.append("the sweep was ended before its end: what it did not come to may bring more")
    for line in (*told, *spent(bench.cost, bench.unpriced), *(verdict(points, auto, slo) if points else ())):
        answer(line)


def _end(bench: Bench) -> None:
    """End the process: by the signal that ended the sweep, with what a server refused, or with what there is."""
    from batcher.running.signals import die_of
    from batcher.running.stops import error_of
    from batcher.view.sweep import knee

    if bench.signal is not None:
        die_of(Signals(bench.signal))
    if bench.stop is not None:
        raise error_of(bench.stop)
    sys.exit(Exit.OK if knee(bench.points) is not None else Exit.SOME_FAILED)


def _results(inputs: str | tuple[str, ...], output: str | None, vectors: Path | None) -> Path:
    """Where the results go. Raises UsageError where a sweep cannot have them, or cannot read its input again."""
    if "-" in ([inputs] if isinstance(inputs, str) else inputs):
        raise UsageError("bench reads its input once a step, and stdin can be read once: name a file")
    results = results_path(inputs, output, vectors)
    if results is None:
        raise UsageError("bench keeps results in a file: name one with -o FILE")
    return results


def _told(point: Point, bench: Bench) -> str:
    name = f"auto, {point.concurrency} in the end" if point is bench.auto else f"{point.concurrency} in flight"
    name += f" of {count(point.pack, 'texts')}" if point.pack is not None else ""
    if point is not bench.auto and any(one.way == point.way and one.looks > 1 for one in bench.points):
        name += ", once more"
    tokens = f", {rate(point.tokens_per_s)} tokens/s" if point.tokens_per_s is not None else ""
    marks = f" ({', '.join(point.marks())})" if point.marks() else ""
    failed = f", {count(point.failed)} failed" if point.failed else ""
    words = f"{rate(point.answers_per_s)} answers/s{tokens}, latency p95 {seconds(point.latency_p95)}{failed}"
    return f"{name}: {words}{marks}"


def _command() -> click.Command:
    """The command: it takes what `batcher run` takes, but for what it sets itself."""
    own: list[click.Parameter] = getattr(_bench, "__click_params__", [])[::-1]
    shared = [param for param in run.command.params if param.name not in LEFT_OUT]
    return Grouped("bench", callback=_bench, params=[*shared, *own], help=_bench.__doc__)


command: Final = _command()
