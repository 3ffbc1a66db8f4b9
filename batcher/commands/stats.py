"""`batcher stats`: what a results file tells of the runs that wrote it, in words, as JSON, or as a row a request."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from batcher.commands.console import answer, print_json
from batcher.commands.grouped import Grouped
from batcher.commands.making import keep_apart, making
from batcher.commands.options import option
from batcher.commands.past import Past
from batcher.commands.values import Amount
from batcher.failures import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from batcher.model import Json
    from batcher.view.prices import Prices
    from batcher.view.statistics.measures import Measures
    from batcher.view.statistics.statistics import Statistics

STDOUT: Final = 1
_FILE = click.Path(dir_okay=False, path_type=Path)


def price_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """What tokens cost, as `run` takes it."""
    for made in (
        option("--price-file", type=_FILE, metavar="FILE.toml", help="The same by model, as `batcher run` reads it."),
        option("--price-out", type=Amount(), metavar="N", help="Of a million tokens out."),
        option("--price-cached", type=Amount(), metavar="N", help="Of those that the server had cached."),
        option("--price-in", type=Amount(), metavar="N", help="What a million tokens in cost."),
    ):
        function = made(function)
    return function


@click.command("stats", cls=Grouped)
@click.argument("results", type=click.Path(path_type=Path), metavar="RESULTS")
@option("--errors", type=_FILE, help="The errors file (default: beside the results, RESULTS.errors.jsonl).")
@option("--json", "as_json", is_flag=True, help="Print JSON.")
@option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "csv", "parquet"]),
    help="text unless FILE's name says another; csv and parquet: a row for each answer and each failure, with its "
    "times, tokens and cost.",
)
@option("-o", "--output", type=_FILE, metavar="FILE", help="Where to write (default: standard output).")
@price_options
def command(
    results: Path, *, errors: Path | None, as_json: bool, form: str | None, output: Path | None, **said: Any
) -> None:
    """Say what RESULTS were like: times, tokens, cost, failures, by model, server and hour, and what held them up.

    Quantiles are within 1 % of the true ones, and memory does not grow with the file. The errors file counts too, as
    far as its failures still stand; what happened to the last run stands in its state file. Reads alone, also while a
    run is writing.

    \b
    Examples:
      batcher stats answers.jsonl
      batcher stats answers.jsonl --price-in 0.15 --price-cached 0.075 --price-out 0.6
      batcher stats answers.jsonl --format parquet -o requests.parquet

    Exit codes: 0 it was told, 2 FILE is one that it is made of, 73 RESULTS cannot be read or FILE is something else,
    74 it cannot be written.
    """  # noqa: D301 - \b is click's mark for lines that are not to be wrapped
    from batcher.view.prices import prices_of

    form = _form(form, output, as_json=as_json)
    prices = prices_of(said["price_in"], said["price_cached"], said["price_out"], said["price_file"])
    past = Past(results, errors)
    with ExitStack() as stack:
        past.open(stack)
        if output is not None:
            keep_apart(past, output, said["price_file"])
        if form in ("csv", "parquet"):
            _write_rows(past, prices, output, is_parquet=form == "parquet")
            return
        found = statistics_of(past, prices)
    if output is not None:
        _write_text(found, output, as_json=form == "json")
    elif form == "json":
        from batcher.view.statistics.telling import as_dict

        print_json(as_dict(found))
    else:
        from batcher.view.statistics.words import lines

        answer(f"{past.results}")
        for line in lines(found):
            answer(line)


def _form(form: str | None, output: Path | None, *, as_json: bool) -> str:
    """What is to be written: as it was said, or as the file's name ends. Raises UsageError where these differ."""
    named = None if output is None else {".json": "json", ".csv": "csv", ".parquet": "parquet"}.get(output.suffix)
    said = "json" if as_json else form
    if as_json and form not in (None, "json"):
        raise UsageError(f"--json and --format {form} are two things")
    if said is not None and named is not None and said != named:
        raise UsageError(f"{output} is the name of {named}, and {said} was asked for")
    return said or named or "text"


def statistics_of(
    past: Past,
    prices: Prices | None,
    look: Callable[[int, Measures], object] | None = None,
    look_at_failure: Callable[[int, dict[str, Json]], object] | None = None,
) -> Statistics:
    """Add up all lines; who looks is shown each of them, with where it begins."""
    from batcher.view.statistics.events import events_of
    from batcher.view.statistics.measures import name_of
    from batcher.view.statistics.statistics import Statistics

    found = Statistics(prices)
    report = past.state.report if past.state is not None else {}
    found.know(events_of(report))
    bound = report.get("bottleneck")
    found.told_bottleneck = name_of(bound) or None
    for start, record, is_result in past.records():
        if is_result:
            told = found.add(record)
            if look is not None:
                look(start, told)
        else:
            found.add_failure(record)
            if look_at_failure is not None:
                look_at_failure(start, record)
    found.settle()
    found.unreadable, found.superseded = past.unreadable, past.superseded
    return found


def _write_rows(past: Past, prices: Prices | None, output: Path | None, *, is_parquet: bool) -> None:
    if output is None:
        if is_parquet and os.isatty(STDOUT):
            raise UsageError("Parquet is nothing for a terminal: name a file with -o")
        sys.stdout.flush()
        _rows(past, prices, STDOUT, is_parquet=is_parquet, for_terminal=os.isatty(STDOUT))
        return
    with making(output) as fd:
        _rows(past, prices, fd, is_parquet=is_parquet, for_terminal=False)


def _rows(past: Past, prices: Prices | None, fd: int, *, is_parquet: bool, for_terminal: bool) -> None:
    from batcher.outputs.measurements import Measurements
    from batcher.redaction import printable

    with closing(Measurements(fd, is_parquet=is_parquet, clean=printable if for_terminal else None)) as rows:
        for _, record, _ in past.records():
            rows.add(record, prices.of_line(record) if prices is not None else None)


def _write_text(found: Statistics, output: Path, *, as_json: bool) -> None:
    import orjson

    from batcher.ledger import disk
    from batcher.redaction import sentence
    from batcher.view.statistics.telling import as_dict
    from batcher.view.statistics.words import lines

    data = (
        orjson.dumps(as_dict(found), option=orjson.OPT_APPEND_NEWLINE)
        if as_json
        else "".join(f"{sentence(line)}\n" for line in lines(found)).encode()
    )
    with making(output) as fd:
        disk.write_all(fd, data)
