"""`batcher models`: what the servers offer."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import anyio
import click

from batcher.commands.console import answer, print_json, say
from batcher.commands.conversion import options_from
from batcher.commands.grouped import Grouped
from batcher.commands.options import environ_of, option, server_options
from batcher.failures import UnavailableError
from batcher.redaction import printable
from batcher.servers.catalogue import OLLAMA

LONGEST = 160
"""Cells of a name in a table: what is wider makes every row as wide."""

PULL = "; get one with: ollama pull llama3.2"

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batcher.options import Options
    from batcher.servers.catalogue import About, ModelInfo


@click.command("models", cls=Grouped)
@server_options
@option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(ctx: click.Context, /, *, as_json: bool, **values: Any) -> None:
    """List the models that the servers offer: size, context, capabilities.

    \b
    Examples:
      batcher models
      batcher models --base-url https://api.openai.com/v1 --json
    """  # noqa: D301 - \b is click's mark for lines that are not to be wrapped
    found = anyio.run(ask, options_from({**values, "model": None}), environ_of(ctx))
    if as_json:
        models = [{"server": root, **asdict(model)} for root, about in found.items() for model in _listed(about)]
        print_json(models)
        return
    for root, about in found.items():
        if len(found) > 1:
            answer(f"{root}:")
        if isinstance(about, UnavailableError):
            say(str(about))
        elif not about.models:
            say(f"{root} ({about.kind}) has no models{PULL if about.kind == OLLAMA else ''}")
        else:
            for line in table(about.models):
                answer(line)


async def ask(options: Options, environ: Mapping[str, str]) -> dict[str, About | UnavailableError]:
    """Ask the servers that the options name. Raises BatcherError, also if none of them is there."""
    from batcher.commands.console import Console
    from batcher.servers.contact import contact
    from batcher.servers.described import all_described

    async with contact(options, environ, Console(quiet=False, verbose=False, progress=False)) as server:
        return await all_described(server)


def _listed(about: About | UnavailableError) -> tuple[ModelInfo, ...]:
    return () if isinstance(about, UnavailableError) else about.models


def table(models: tuple[ModelInfo, ...]) -> list[str]:
    """Rows in columns as wide as they need to be."""
    rows = [("NAME", "SIZE", "PARAMETERS", "CONTEXT", "CAPABILITIES")] + [
        (
            printable(model.name, LONGEST),
            f"{model.size / 1e9:.1f} GB" if model.size else "-",
            printable(" ".join(filter(None, (model.parameters, model.quantization))) or "-", LONGEST),
            _context(model),
            _abilities(model),
        )
        for model in models
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _context(model: ModelInfo) -> str:
    """Tokens that a request has room for now, of those that the model could take."""
    if model.loaded_context and model.context and model.loaded_context != model.context:
        return f"{model.loaded_context} of {model.context}"
    return str(model.loaded_context or model.context or "-")


def _abilities(model: ModelInfo) -> str:
    """What it can do, as far as the server says so, and whether it is loaded."""
    can = printable(", ".join(model.capabilities), LONGEST)
    return " ".join(filter(None, (can, "(loaded)" if model.loaded else ""))) or "-"
