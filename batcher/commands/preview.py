"""`batcher run --dry-run`: the first requests, as they would be sent."""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import click
import orjson

from batcher import codec
from batcher.commands.console import answer, say
from batcher.exchange import packing
from batcher.inputs.done import DoneIds
from batcher.inputs.formats import parse_job
from batcher.inputs.intake import Intake
from batcher.model import Api
from batcher.policy.packs import packs_of
from batcher.running.chosen import ready
from batcher.running.wiring import defaults_for, fits_of, recipe_of, source_for, wants_base64
from batcher.servers.urls import find_servers, one_api

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batcher.failures import LineError
    from batcher.inputs.source import Source
    from batcher.model import Job
    from batcher.options import Options
    from batcher.outcome import Result

SHOWN = 3


def preview(inputs: str | tuple[str, ...], options: Options, environ: Mapping[str, str]) -> None:
    """Print the first requests to stdout. Nothing is sent: a server that would have to be asked is taken for Ollama."""
    recipe_of(options)  # what is wrong about the options is told before files are opened
    fits_of(options)
    servers = find_servers(base_urls=options.base_url, dialect=options.dialect, environ=environ)
    roots = ", ".join(server.root for server in servers)
    api = Api.OPENAI if options.local else one_api(servers)
    if api is None:
        api = Api.NATIVE
        say(f"a dry run asks nobody: {roots} is taken to speak Ollama's API (say --dialect openai if not)")
    if len(servers) > 1:
        say(f"the requests are shared among {roots}")
    local_model = "(the local model)" if options.local else None
    source = source_for(inputs, options, say)
    intake = Intake(
        parse=parse_job,
        defaults=defaults_for(options, environ, local_model, source.path),
        finished=DoneIds(),
        reject=partial(_tell, source),
        at_most=options.limit,
        selection=ready(options, source),
        needs_model=False,
    )
    calls = packing.calls(
        intake.jobs(source.all_lines()),
        api,
        partial(_tell_job, source),
        stream=options.stream,
        packs=packs_of(options.pack),
        base64=wants_base64(options),
    )
    endpoint = servers[0].endpoint(api, {})
    for call in islice((call for call in calls if call is not None), SHOWN):
        url = call.path if options.local else endpoint.url(call.path)
        answer(f"POST {url}  # {', '.join(job.id for job in call.jobs)}")
        click.echo(codec.dumps(codec.loads(call.body), option=orjson.OPT_INDENT_2).decode())
    for damage in source.damage:
        say(damage)
    source.close()


def _tell(source: Source, result: Result) -> None:
    assert result.failure is not None
    say(f"{source.place(result.seq)} would be refused: {result.failure.message}")


def _tell_job(source: Source, job: Job, error: LineError) -> None:
    say(f"{source.place(job.seq)} would be refused: {error.message}")
