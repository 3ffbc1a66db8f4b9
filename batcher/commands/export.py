"""`batcher export`: results as a table, a database, batch lines or training chats, at any time."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from batcher.commands.console import say
from batcher.commands.conversion import options_from
from batcher.commands.earlier import as_the_run, chosen, chunking_of, inputs_of, open_to_read, reading_of
from batcher.commands.grouped import Grouped
from batcher.commands.options import environ_of, notes_of, option, request_options
from batcher.commands.stats import price_options
from batcher.failures import UsageError
from batcher.figures import count
from batcher.outputs.columns import fields_of
from batcher.outputs.export import Export, export
from batcher.outputs.forms import ARRAY, FORMATS, SQLITE, table_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batcher.ledger.state import State
    from batcher.model import Json
    from batcher.options import Options
    from batcher.outputs.export import Written
    from batcher.outputs.taken import Taken

_LINES: Final = frozenset({".jsonl", ".ndjson"})
"""How names end of what may be several things."""
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command("export", cls=Grouped)
@click.argument("results", type=click.Path(path_type=Path), metavar="RESULTS")
@option("--input", "inputs", multiple=True, metavar="INPUT", help="The input (default: that of the last run).")
@option("-o", "--output", required=True, metavar="OUT", help="The file to make; sqlite:FILE for a table in a database.")
@option(
    "--format",
    "form",
    type=click.Choice([*FORMATS, "sqlite"]),
    help="What to make, where the name of OUT does not tell: a table, an array, batch lines, training chats.",
)
@option("--errors", type=_FILE, help="The errors file (default: beside the results, RESULTS.errors.jsonl).")
@option("--keep", metavar="COLUMN,…", help="Columns of the input that the table has (default: all; '' for none).")
@option("--table", default="answers", show_default=True, metavar="NAME", help="The table of sqlite:FILE.")
@option("--formula-guard/--no-formula-guard", default=True, help="Keep spreadsheets from running cells of CSV.")
@option("-q", "--quiet", is_flag=True, help="Say nothing unless something went wrong.")
@price_options
@request_options
@click.pass_context
def command(
    ctx: click.Context,
    /,
    results: Path,
    output: str,
    *,
    inputs: tuple[str, ...],
    form: str | None,
    errors: Path | None,
    quiet: bool,
    **values: Any,
) -> None:
    """Make a table of RESULTS, beside the columns of their input and in its order: CSV, TSV, JSON, Parquet, Arrow.

    Also rows of a SQLite database, OpenAI's batch output, an array of vectors with the ids beside it, or chats to
    train on. Reads alone, also while a run is writing: then the table has what is there. OUT is replaced in one
    step, and is as it was if anything goes wrong.

    \b
    Examples:
      batcher export answers.jsonl -o answers.parquet
      batcher export answers.jsonl -o sqlite:answers.db --table answers
      batcher export vectors.jsonl -o vectors.npy
      batcher export answers.jsonl -o chats.jsonl --format messages
    """  # noqa: D301 - \b is click's mark for lines that are not to be wrapped
    from batcher.view.prices import prices_of

    options = options_from(values)
    for note in notes_of(ctx):
        say(note)
    prices = prices_of(options.price_in, options.price_cached, options.price_out, options.price_file)
    with ExitStack() as stack:
        what = Export(
            form=_format(output, form),
            output=output,
            keep=options.keep,
            guard=options.formula_guard,
            table=options.table,
            price=prices.of_line if prices is not None else None,
        )
        opened = Sources(stack, results, inputs, errors)
        written = opened.export(what, options, environ_of(ctx))
    if not quiet:
        say(_words(output, written))


def _format(output: str, form: str | None) -> str:
    told = table_of(output) or (ARRAY if Path(output).suffix == f".{ARRAY}" else None)
    if (form == "sqlite") is not output.startswith(SQLITE) and form is not None:
        raise UsageError(f"rows of a database go to -o {SQLITE}FILE, and other formats do not")
    if output == "-":
        raise UsageError("what is made goes into a file, in one step: name it with -o")
    found = form or told
    if found is None:
        lines = " (jsonl, messages, openai-batch)" if Path(output).suffix in _LINES else ""
        raise UsageError(f"{output}: say with --format{lines} what to make of it, or name it .csv, .parquet, .json …")
    return found


@dataclass(frozen=True, slots=True)
class Sources:
    """What is read: results, the inputs if they were named, the errors file if it was. Files are closed by `stack`."""

    stack: ExitStack
    results: Path
    inputs: tuple[str, ...]
    errors: Path | None

    def export(self, what: Export, options: Options, environ: Mapping[str, str]) -> Written:
        """Make it. Raises what `export` raises, and OutputError for results that cannot be read."""
        from batcher.ledger.names import quarantine_path, state_path, vectors_path
        from batcher.ledger.neighbours import former_errors
        from batcher.ledger.state import read
        from batcher.outputs.store import Store
        from batcher.running.wiring import defaults_for

        results, inputs = self.results, self.inputs
        state, note = read(state_path(results)) if results.name else (None, None)
        if note:
            say(note)
        file = self.stack.enter_context(open_to_read(results))
        path = self.errors or former_errors(results)
        failures = None
        if os.path.lexists(path):
            failures = self.stack.enter_context(open_to_read(path, follow=self.errors is not None))
        defaults = defaults_for(options, environ, None, inputs[0] if inputs else "-")
        if state is not None:
            defaults = as_the_run(defaults, state.run)
        taken = None
        if named := inputs or _known(state):
            taken = _taken(self.stack, named, options, state)
            taken.recipe = defaults.recipe
            defaults = replace(defaults, files_root=Path(taken.source.path).absolute().parent)
        ours = {results: "the results", path: "the errors file", state_path(results): "the run's state file"}
        if options.price_file is not None:
            ours[options.price_file] = "the file of prices"
        _keep_apart(what.output, {**ours, quarantine_path(results): "what was damaged of the results"}, taken)
        fields = fields_of(defaults.params.get("format"))
        what = replace(what, fields=fields, defaults=defaults)
        if vectors_path(results).exists():
            what = replace(what, store=self.stack.enter_context(Store.open_to_read(vectors_path(results))))
        return export(what, file, failures, taken)


def _known(state: State | None) -> tuple[str, ...]:
    """The inputs of the last run, if they are all where they were."""
    named = () if state is None else inputs_of(state.input)
    gone = [name for name in named if "://" not in name and not _is_there(name)]
    if gone:
        say(f"{gone[0]}, which the results are of, is not here: say where with --input; the table is of results alone")
        return ()
    return named


def _is_there(name: str) -> bool:
    path = Path(name.removeprefix(SQLITE))
    return path.exists() or Path(str(path).rpartition("#")[0] or path).exists() or any(mark in name for mark in "*?[")


def _taken(stack: ExitStack, inputs: tuple[str, ...], options: Options, state: State | None) -> Taken:
    """What the run took of its input, ready to be read."""
    from batcher.outputs.taken import Taken
    from batcher.running.wiring import source_for

    fallback = reading_of(state.input) if state is not None else None
    chunking = chunking_of(state.input) if state is not None else None
    source = source_for(inputs, options, say, fallback, whole=True, chunking=chunking)
    stack.callback(source.close)
    if state is not None and _stamps(source.fingerprint) != _stamps(state.input):
        say(f"{source.path} has changed since the run: an answer stands beside what bears its id now")
    at_most, selection = chosen(options, state)
    if selection is not None:
        source.repeat = selection.repeat
        selection.prepare(source, at_most)
    return Taken(source=source, at_most=at_most, selection=selection)


def _stamps(fingerprint: Mapping[str, Json]) -> list[tuple[Json, Json]]:
    """Sizes and times of the inputs, as far as they are files."""
    return [(part.get("size"), part.get("mtime_ns")) for part in fingerprint.get("inputs") or [fingerprint]]


def _keep_apart(output: str, files: Mapping[Path, str], taken: Taken | None) -> None:
    """Raise UsageError if the file that is made would replace one that it is made of."""
    from batcher.inputs.parts import identity_of
    from batcher.running.apart import same_as

    path = Path(output.removeprefix(SQLITE))
    if what := same_as(path, files):
        raise UsageError(f"{path} is {what}; name another -o")
    if taken is not None and not output.startswith(SQLITE) and identity_of(path) in taken.source.identities:
        raise UsageError(f"{path} is the input, or a file of it; name another -o")


def _words(output: str, written: Written) -> str:
    parts = [count(written.rows, "rows")]
    if written.failures:
        parts.append(f"{count(written.failures, 'failures')} in a file of their own")
    if written.left_out:
        parts.append(f"{count(written.left_out)} left out")
    if written.missing and written.rows:
        parts.append(f"none of which has a column {' or '.join(map(repr, written.missing))}")
    return f"{output}: {', '.join(parts)}"
