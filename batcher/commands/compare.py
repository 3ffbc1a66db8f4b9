"""`batcher compare`: where two results files of one input differ, or the answers to each row of one."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from batcher.commands.console import answer, print_json, say
from batcher.commands.grouped import Grouped
from batcher.commands.making import keep_apart, making
from batcher.commands.options import option
from batcher.commands.past import Past
from batcher.commands.stats import price_options
from batcher.failures import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from batcher.view.comparison.comparison import Comparison, Row
    from batcher.view.comparison.differences import Difference
    from batcher.view.comparison.repeats import Repeats
    from batcher.view.prices import Prices

_FILE = click.Path(dir_okay=False, path_type=Path)
_LEAST_WIDTH: Final = 20
_TOLD: Final = ("system", "endpoint", "params", "options", "extra", "recipe", "prefix")
"""What a run is told beside the model that makes questions differ, as state files have it."""


@click.command("compare", cls=Grouped)
@click.argument("a", type=click.Path(path_type=Path), metavar="A")
@click.argument("b", type=click.Path(path_type=Path), metavar="[B]", required=False)
@option("-n", "--rows", type=click.IntRange(0, 1000), default=10, show_default=True, help="Rows that are shown.")
@option("-o", "--output", type=_FILE, metavar="PAGE.html", help="Make a page of it.")
@option("--json", "as_json", is_flag=True, help="Print JSON.")
@option("--errors-a", type=_FILE, help="The errors file of A (default: beside the results, A.errors.jsonl).")
@option("--errors-b", type=_FILE, help="That of B.")
@price_options
def command(
    a: Path,
    b: Path | None,
    *,
    rows: int,
    output: Path | None,
    as_json: bool,
    errors_a: Path | None,
    errors_b: Path | None,
    **said: Any,
) -> None:
    """Say where the answers of A and B, two results files of one input, differ, and what each of them took.

    Rows are joined by id. Of their answers it says how many are the same, how alike texts are, and how far each field
    of answers in JSON agrees; of both runs, speed, tokens, cost and failures. The rows that differ most are shown, text
    beside text. With A alone, whose rows were asked several times (--repeat), it says how far the answers to each
    agree. Reads alone.

    \b
    Examples:
      batcher compare llama.jsonl qwen.jsonl
      batcher compare llama.jsonl qwen.jsonl -n 50 -o differences.html
      batcher compare repeated.jsonl

    Exit codes: 0 it was told, whether they differ or not, 73 a file cannot be read or PAGE.html is something else,
    74 it cannot be written.
    """  # noqa: D301 - \b is click's mark for lines that are not to be wrapped
    from batcher.view.prices import prices_of

    if as_json and output is not None:
        raise UsageError("--json and -o are two things: -o makes a page")
    if b is None and errors_b is not None:
        raise UsageError("--errors-b without B")
    prices = prices_of(said["price_in"], said["price_cached"], said["price_out"], said["price_file"])
    with ExitStack() as stack:
        pasts = [Past(path, errors) for path, errors in ((a, errors_a), (b, errors_b)) if path is not None]
        for past in pasts:
            past.open(stack)
            if output is not None:
                keep_apart(past, output, said["price_file"])
        if len(pasts) == 2:
            _two(pasts[0], pasts[1], prices, rows, output, as_json=as_json)
        else:
            _one(pasts[0], prices, rows, output, as_json=as_json)


def _two(a: Past, b: Past, prices: Prices | None, rows: int, output: Path | None, *, as_json: bool) -> None:
    from batcher.commands.pairing import join
    from batcher.view.comparison.comparison import Comparison
    from batcher.view.comparison.sides import Side

    found = Comparison(rows, Side(prices), Side(prices))
    if a.state is not None and b.state is not None:
        found.told_otherwise = [name for name in _TOLD if a.state.run.get(name) != b.state.run.get(name)]
    join(a, b, found)
    shown = _pairs(found.differing.ranked(), a, b)
    if as_json:
        from batcher.view.comparison.telling import comparison_as_dict

        print_json({"results": {"a": str(a.results), "b": str(b.results)}, **comparison_as_dict(found, shown)})
    elif output is not None:
        _write(output, found, shown, (a.results.name, b.results.name))
    else:
        from batcher.view.comparison.words import comparison_lines

        answer(f"A         {a.results}")
        answer(f"B         {b.results}")
        for line in comparison_lines(found, shown, _width()):
            answer(line)


def _one(past: Past, prices: Prices | None, rows: int, output: Path | None, *, as_json: bool) -> None:
    from batcher.commands.pairing import Turns
    from batcher.view.comparison.repeats import Repeats
    from batcher.view.comparison.sides import Side

    found, turns = Repeats(rows, Side(prices)), Turns(past)
    turns.gather(found)
    if not found.rows:
        raise UsageError(
            f"{past.results}: no row has several answers, as --repeat makes them; name a second file to compare with"
        )
    shown = _turns(found.differing.ranked(), turns.answers)
    if as_json:
        from batcher.view.comparison.telling import repeats_as_dict

        print_json({"results": {"a": str(past.results)}, **repeats_as_dict(found, shown)})
    elif output is not None:
        _write(output, found, shown, (past.results.name,))
    else:
        from batcher.view.comparison.words import repeats_lines

        answer(f"{past.results}")
        for line in repeats_lines(found, shown, _width()):
            answer(line)


def _pairs(differences: Sequence[Difference], a: Past, b: Past) -> Iterator[Row]:
    """How much two answers differ, their id and their lines, which are read as they are shown."""
    from batcher.view.comparison.comparison import Row

    for difference in differences:
        lines = [a.at(difference.a) or {}, b.at(difference.b) or {}]
        yield Row(difference.distance, str(lines[0].get("id")), lines)


def _turns(differences: Sequence[Difference], answers: Callable[[int], list[Mapping[str, Any]]]) -> Iterator[Row]:
    from batcher.view.comparison.comparison import Row
    from batcher.view.comparison.repeats import row_of

    for difference in differences:
        lines = answers(difference.a)
        yield Row(difference.distance, row_of(str(lines[0].get("id"))) or "", lines)


def _write(
    output: Path,
    found: Comparison | Repeats,
    shown: Iterable[Row],
    names: tuple[str, ...],
) -> None:
    from batcher.ledger import disk
    from batcher.model import VERSION
    from batcher.view.comparison.comparison import Comparison
    from batcher.view.comparison.page import Page

    page = Page(name=" and ".join(names), version=VERSION, rows=shown)
    text = page.of_two(found, (names[0], names[1])) if isinstance(found, Comparison) else page.of_one(found)
    with making(output) as fd:
        disk.write_all(fd, text.encode("utf-8", "replace"))
    say(f"{output}: {len(text) // 1000:,} KB")


def _width() -> int:
    """Cells of the terminal; COLUMNS where there is none."""
    return max(shutil.get_terminal_size((100, 24)).columns, _LEAST_WIDTH)
