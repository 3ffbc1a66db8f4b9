"""`batcher report`: what a results file tells as one page of HTML, with charts and answers worth a look."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from batcher.commands.console import say
from batcher.commands.grouped import Grouped
from batcher.commands.making import keep_apart, making
from batcher.commands.options import option
from batcher.commands.past import Past
from batcher.commands.stats import price_options, statistics_of
from batcher.figures import count

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command("report", cls=Grouped)
@click.argument("results", type=click.Path(path_type=Path), metavar="RESULTS")
@option("-o", "--output", type=_FILE, required=True, metavar="PAGE.html", help="The page to make.")
@option("--errors", type=_FILE, help="The errors file (default: beside the results, RESULTS.errors.jsonl).")
@option("-q", "--quiet", is_flag=True, help="Say nothing unless something went wrong.")
@price_options
def command(results: Path, *, output: Path, errors: Path | None, quiet: bool, **said: Any) -> None:
    """Make a page of RESULTS: throughput, times, tokens, failures as charts, and the slowest and odd answers to open.

    One file that loads nothing and runs no script, for any number of results; what is drawn of a sample says so. It
    holds texts of answers: whoever gets the page gets these. PAGE.html is replaced in one step.

    \b
    Examples:
      batcher report answers.jsonl -o report.html
      batcher report answers.jsonl -o report.html --price-in 0.15 --price-out 0.6

    Exit codes: 0 it was made, 2 PAGE.html is a file that it is made of, 73 RESULTS cannot be read or PAGE.html is
    something else, 74 it cannot be written.
    """  # noqa: D301 - \b is click's mark for lines that are not to be wrapped
    from batcher.ledger import disk
    from batcher.model import VERSION
    from batcher.view.prices import prices_of
    from batcher.view.report.page import Report
    from batcher.view.report.picks import Picks

    prices = prices_of(said["price_in"], said["price_cached"], said["price_out"], said["price_file"])
    past, picks = Past(results, errors), Picks()
    with ExitStack() as stack:
        past.open(stack)
        keep_apart(past, output, said["price_file"])
        found = statistics_of(past, prices, picks.look, picks.look_at_failure)
        state = past.state
        page = Report(
            name=past.results.name,
            version=VERSION,
            statistics=found,
            picks=picks,
            at=past.at,
            failure_at=past.failure_at,
            run=state.run if state is not None else {},
            input=state.input if state is not None else {},
            selection=state.selection if state is not None else {},
            status=str(state.status) if state is not None else "",
        ).render()
    with making(output) as fd:
        disk.write_all(fd, page.encode("utf-8", "replace"))
    if not quiet:
        say(f"{output}: {count(found.answers, 'answers')}, {count(found.failed, 'failures')}, {len(page) // 1000:,} KB")
