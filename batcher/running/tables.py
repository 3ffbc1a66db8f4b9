"""The table that a run makes of its results: what may be in its place before, and the table at the end."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from batcher.failures import BatcherError, OutputError
from batcher.ledger.neighbours import holds_results
from batcher.opening import open_regular
from batcher.outputs.export import Export, export
from batcher.outputs.forms import SQLITE, check_database, check_format, table_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batcher.ledger.ledger import Ledger
    from batcher.options import Options
    from batcher.outputs.store import Store
    from batcher.outputs.taken import Taken
    from batcher.view.prices import Prices


def check_table(table: str, results: Path, *, overwrite: bool) -> None:
    """Raise OutputError for a file that no run of ours made, ConfigError if its format cannot be written."""
    form = table_of(table)
    assert form is not None
    check_format(form)
    path = Path(table.removeprefix(SQLITE))
    if form == "sqlite":
        check_database(path)
    if not os.path.lexists(path):
        return
    if not path.is_file():
        raise OutputError(f"{path}: is no regular file; name another -o")
    if form == "sqlite":
        return
    if holds_results(path):
        raise OutputError(f"{path}: holds results of batcher, and a table would take its place; name another -o")
    if not overwrite and not results.exists():
        raise OutputError(f"{path}: is there, and no results beside it: name another -o, or say --overwrite")


def write_table(
    table: str,
    ledger: Ledger,
    errors: Path | None,
    options: Options,
    *,
    store: Store | None,
    taken: Taken | None,
    fields: Sequence[str],
    prices: Prices | None,
) -> list[str]:
    """Make the table of what is there; gives what went wrong.

    The results have to be open: no other run makes a table of them meanwhile.
    """
    form = table_of(table)
    assert form is not None
    what = Export(
        form=form,
        output=table,
        keep=options.keep,
        guard=options.formula_guard,
        table=options.table,
        fields=fields,
        price=prices.of_line if prices is not None else None,
        store=store,
    )
    try:
        with ExitStack() as stack:
            file = stack.enter_context(ledger.reading())
            failures = None
            if errors is not None and errors.is_file():
                follow = options.errors is not None
                failures = stack.enter_context(os.fdopen(open_regular(errors, follow=follow), "rb"))
            export(what, file, failures, taken)
    except (BatcherError, OSError) as error:
        return [f"{error}; the results are safe in {ledger.path}: batcher export makes a table of them"]
    return []
