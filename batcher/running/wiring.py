"""Makes the parts of a run from its options: defaults for lines, rows that are taken, policy, timeouts."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from batcher.exchange import packing
from batcher.failures import Failure, FailureClass, LineError, UsageError
from batcher.inputs.chunks import Chunking
from batcher.inputs.formats.defaults import Defaults
from batcher.inputs.formats.parameters import split_parameters
from batcher.inputs.formats.reading import Reading
from batcher.inputs.recipe import TEXTS, Recipe, text_or_file
from batcher.inputs.schemas import ANY_OBJECT, schema_of
from batcher.inputs.source import Source
from batcher.inputs.templates import is_template
from batcher.model import Api
from batcher.outcome import Result
from batcher.policy.backlog import STRETCH, Backlog
from batcher.policy.packs import packs_of
from batcher.policy.quota import RetryQuota
from batcher.policy.retry import RetryPolicy
from batcher.policy.scheduler import Scheduler
from batcher.running.chosen import ready
from batcher.running.lanes import concurrency_for, lane_for
from batcher.wire.dialects import ollama_v1, path_for
from batcher.wire.dialects.loading import Contexts
from batcher.wire.dialects.parameters import left_out

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from batcher.model import Call, Fits, Job, Json
    from batcher.options import Options
    from batcher.outputs.taken import Taken
    from batcher.policy.lastlook import Reread
    from batcher.policy.packs import Packs
    from batcher.running.sharing import Pool
    from batcher.servers.contact import Contact

SHAPES: Final = 1000
"""Combinations of parameters that are looked at for what cannot be said."""


def defaults_for(options: Options, environ: Mapping[str, str], local_model: str | None, source_path: str) -> Defaults:
    """What the run says for all its lines. Raises UsageError on a parameter with a wrong value."""
    try:
        params, extra = split_parameters(options.params)
    except LineError as error:
        raise UsageError(f"--param: {error.message}") from error
    fits, wanted = fits_of(options)
    params |= wanted
    if options.dimensions is not None:
        params["dimensions"] = options.dimensions
    if options.normalize:
        params["normalize"] = True
    system = None if options.system is None else text_or_file(options.system, "--system")
    return Defaults(
        model=options.model or environ.get("MODEL") or local_model,
        system=None if system is None or is_template(system) else system,
        recipe=recipe_of(options),
        aliases=options.aliases,
        params=params,
        options=options.option,
        extra=extra,
        keep_alive=options.keep_alive,
        fits=fits,
        prefix=options.prefix,
        path=options.endpoint,
        files_root=Path(source_path).absolute().parent if source_path != "-" else Path.cwd(),
    )


def recipe_of(options: Options) -> Recipe | None:
    """What the run makes of a row, if not what a line of a job file says, as chunks are. Raises UsageError."""
    return None if chunking_of(options) is not None else _template_of(options)


def chunking_of(options: Options) -> Chunking | None:
    """How texts are cut, if they are. Raises UsageError."""
    return Chunking.of(options.chunk, options.overlap, _template_of(options))


def _template_of(options: Options) -> Recipe | None:
    texts = {name: getattr(options, name) for name in TEXTS}
    return Recipe.of(texts, {name: getattr(options, name) for name in ("id_field", "model_field", "image_field")})


def fits_of(options: Options) -> tuple[Fits | None, dict[str, Json]]:
    """What answers have to fit, and the parameter that asks for it. Raises UsageError on a wrong schema."""
    if options.json:
        return ANY_OBJECT, {"format": "json"}
    if options.schema is None:
        return None, {}
    schema = schema_of(options.schema)
    return schema, {"format": schema.document}


def columns_of(recipe: Recipe | None) -> tuple[str, ...] | None:
    """The columns that are used of a row; `None` for all."""
    if recipe is None or not recipe.asks or recipe.columns is None:
        return None
    ids = (recipe.id_field,) if recipe.id_field is not None else ("id", "custom_id")
    return tuple({*recipe.columns, *ids, "images"})


def taken_of(options: Options, source: Source) -> Taken | None:
    """What a run takes of its input, to be read once more; `None` if that cannot be. Raises InputError."""
    if not source.is_regular:
        return None
    from batcher.outputs.taken import Taken

    whole = replace(options, estimate=None)
    return Taken(source=source, recipe=recipe_of(options), at_most=options.limit, selection=ready(whole, source))


def source_for(
    inputs: str | Sequence[str],
    options: Options,
    note: Callable[[str], object] = bool,
    fallback: Reading | None = None,
    *,
    whole: bool = False,
    chunking: Chunking | None = None,
) -> Source:
    """The inputs as they are to be read, opened; `fallback` and `chunking` say what the options do not,
    `whole` that all columns are wanted, not those alone that templates use. Raises as `Source` does.
    """
    said, recipe = fallback or Reading(), _template_of(options)
    reading = Reading(
        encoding=options.encoding or said.encoding,
        sql=options.sql or said.sql,
        columns=said.columns if recipe is None else columns_of(recipe),
        is_whole=whole,
        note=note,
    )
    source = Source(inputs, options.input_format, reading, chunking=chunking_of(options) or chunking)
    source.repeat = options.repeat
    return source


def scheduler_for(
    options: Options,
    server: Contact,
    jobs: Iterable[Job | None],
    reject: Callable[[Result], None],
    *,
    pool: Pool | None = None,
    wake: Callable[[], object] = bool,
    base64: bool = False,
) -> Scheduler:
    """The policy of a run, with its parts. Jobs that cannot be sent go to `reject`.

    With a `pool` it shares limits and allowances with other runs, and `wake` is called when it may send again. With
    `base64` vectors are wanted as bytes, whatever the options say.
    """

    def refuse(job: Job, error: LineError) -> None:
        failure = Failure(FailureClass.PERMANENT, error.code, error.message)
        reject(Result(id=job.id, seq=job.seq, model=job.model, meta=job.meta, columns=job.columns, failure=failure))

    concurrency = concurrency_for(options, server)
    packs = packs_of(options.pack, server.most_texts)
    calls = packing.calls(
        jobs, server.endpoint.api, refuse, stream=options.stream, packs=packs, base64=base64 or wants_base64(options)
    )
    scheduler = Scheduler(
        Backlog(calls, stretch=STRETCH),
        [lane_for(endpoint, options, concurrency, pool, wake) for endpoint in server.endpoints],
        RetryPolicy(retries=options.retries),
        RetryQuota(),
        random.Random(),
        packs=packs,
    )
    scheduler.asks = True
    return scheduler


def reread(
    options: Options,
    server: Contact,
    packs: Packs,
    jobs: Callable[[Iterator[tuple[int, int]]], Iterator[tuple[Job, int] | None]],
) -> Reread:
    """What makes calls anew of jobs that were refused too often to be kept. `jobs` reads them again."""

    def calls(wanted: Iterator[tuple[int, int]]) -> Iterator[tuple[Call, int] | None]:
        sent: dict[int, int] = {}

        def read() -> Iterator[Job | None]:
            for found in jobs(wanted):
                if found is not None:
                    sent[found[0].seq] = found[1]
                yield None if found is None else found[0]

        made = packing.calls(
            read(),
            server.endpoint.api,
            lambda *_: None,
            stream=options.stream,
            packs=packs,
            base64=wants_base64(options),
        )
        for call in made:
            yield None if call is None else (call, max(sent.pop(job.seq) for job in call.jobs))

    return calls


def wants_base64(options: Options) -> bool:
    """Whether vectors are better had as bytes: no number is made of them on the way."""
    return options.vectors is not None or options.embedding_format == "base64"


def said(jobs: Iterable[Job | None], server: Contact, note: Callable[[str], None]) -> Iterator[Job | None]:
    """Pass jobs on as the server understands them, and note once what it does not, and what costs the run time."""
    if server.is_ollama:
        jobs = _in_ollamas_words(jobs, note)
    api = server.endpoint.api
    is_native = api is Api.NATIVE
    seen: set[tuple[object, ...]] = set()
    mentioned: set[tuple[str, str]] = set()
    contexts = Contexts()
    for job in jobs:
        if job is None:
            yield None
            continue
        if is_native and (differing := contexts.note(job, path_for(job, api))):
            note(differing)
        if job.body is None and (job.params or job.options or job.tools or job.images or job.system):
            shape = (job.path, job.kind, bool(job.tools), bool(job.images), *job.params, *job.options)
            if shape not in seen and len(seen) < SHAPES:
                seen.add(shape)
                path = path_for(job, api)
                for name in left_out(job, path):
                    if (path, name) not in mentioned:
                        mentioned.add((path, name))
                        note(f"{path} has no way to say {name!r}: it is left out (line {job.seq + 1})")
        yield job


def _in_ollamas_words(jobs: Iterable[Job | None], note: Callable[[str], None]) -> Iterator[Job | None]:
    """Say to Ollama's `/v1` what it reads under another name, and note once what it does not read."""
    mentioned: set[tuple[str, str]] = set()
    for job in jobs:
        if job is None:
            yield None
            continue
        path = path_for(job, Api.OPENAI)
        for name in ollama_v1.ignored(job, path):
            if (path, name) not in mentioned:
                mentioned.add((path, name))
                note(f"Ollama does not read {name!r} at {path}: it has no effect (line {job.seq + 1}); try its own API")
        yield ollama_v1.translated(job, path)
