"""`batcher models`: what the server offers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import click
import orjson

from batcher.commands.console import say
from batcher.commands.options import environ_of, option, options_from, server_options
from batcher.redaction import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batcher.catalogue import About, ModelInfo
    from batcher.options import Options


@click.command("models")
@server_options
@option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(ctx: click.Context, /, *, as_json: bool, **values: Any) -> None:
    """List the models that the server offers: size, context, capabilities."""
    about = anyio.run(ask, options_from(values), environ_of(ctx))
    if as_json:
        click.echo(orjson.dumps(about.models).decode())
        return
    if not about.models:
        say(f"{about.kind} has no models; with Ollama: ollama pull llama3.2")
    for line in table(about.models):
        click.echo(line)


async def ask(options: Options, environ: Mapping[str, str]) -> About:
    """Ask the server that the options name. Raises BatcherError."""
    from batcher.commands.console import Console
    from batcher.contact import contact, described

    async with contact(options, environ, Console(quiet=False, verbose=False, progress=False)) as server:
        return await described(server)


def table(models: tuple[ModelInfo, ...]) -> list[str]:
    """Rows in columns as wide as they need to be."""
    rows = [("NAME", "SIZE", "PARAMETERS", "CONTEXT", "CAPABILITIES")] + [
        (
            printable(model.name),
            f"{model.size / 1e9:.1f} GB" if model.size else "-",
            printable(" ".join(filter(None, (model.parameters, model.quantization))) or "-"),
            _context(model),
            printable(", ".join(model.capabilities) or "-") + (" (loaded)" if model.loaded else ""),
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
