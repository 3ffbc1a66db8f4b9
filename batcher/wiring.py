"""Makes the parts of a run from its options: defaults for lines, policy, timeouts."""

from __future__ import annotations

import random
import resource
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from batcher import packing
from batcher.breaker import Breaker
from batcher.concurrency import FixedLimit
from batcher.contact import FIRST_PATIENCE, PATIENCE
from batcher.dialects import path_for
from batcher.dialects.parameters import left_out
from batcher.failures import ConfigError, Failure, FailureClass, LineError, Scope, UsageError
from batcher.formats.defaults import Defaults
from batcher.formats.parameters import split_parameters
from batcher.model import Result
from batcher.retry import RetryPolicy
from batcher.scheduler import Scheduler
from batcher.timeouts import Timeouts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from batcher.contact import Contact
    from batcher.model import Api, Job
    from batcher.options import Options

SHAPES: Final = 1000
"""Combinations of parameters that are looked at for what cannot be said."""
SPARE_FILES: Final = 32
"""Open files that are not connections."""


def defaults_for(options: Options, environ: Mapping[str, str], local_model: str | None, source_path: str) -> Defaults:
    """What the run says for all its lines. Raises UsageError on a parameter with a wrong value."""
    try:
        params, extra = split_parameters(options.params)
    except LineError as error:
        raise UsageError(f"--param: {error.message}") from error
    return Defaults(
        model=options.model or environ.get("MODEL") or local_model,
        system=options.system,
        aliases=options.aliases,
        params=params,
        options=options.option,
        extra=extra,
        path=options.endpoint,
        files_root=Path(source_path).absolute().parent if source_path != "-" else Path.cwd(),
    )


def scheduler_for(
    options: Options, server: Contact, jobs: Iterable[Job | None], reject: Callable[[Result], None]
) -> Scheduler:
    """The policy of a run, with its parts. Jobs that cannot be sent go to `reject`."""

    def refuse(job: Job, error: LineError) -> None:
        failure = Failure(FailureClass.PERMANENT, error.code, error.message)
        reject(Result(id=job.id, seq=job.seq, model=job.model, meta=job.meta, failure=failure))

    patience = options.max_wait
    return Scheduler(
        packing.calls(jobs, server.endpoint.api, refuse, stream=options.stream, size=options.pack),
        server.endpoint,
        FixedLimit(_affordable(options.concurrency)),
        RetryPolicy(retries=options.retries),
        Breaker(
            patience=PATIENCE if patience is None else patience,
            first_patience=FIRST_PATIENCE if patience is None else patience,
        ),
        random.Random(),
    )


def said(jobs: Iterable[Job | None], api: Api, note: Callable[[str], None]) -> Iterator[Job | None]:
    """Pass jobs on, and note once for each parameter that their endpoint has no way to say."""
    seen: set[tuple[object, ...]] = set()
    mentioned: set[tuple[str, str]] = set()
    for job in jobs:
        if job is not None and job.body is None:
            shape = (job.path, job.kind, bool(job.tools), bool(job.images), *job.params, *job.options)
            if shape not in seen and len(seen) < SHAPES:
                seen.add(shape)
                path = path_for(job, api)
                for name in left_out(job, path):
                    if (path, name) not in mentioned:
                        mentioned.add((path, name))
                        note(f"{path} has no way to say {name!r}: it is left out (line {job.seq + 1})")
        yield job


def stops(scheduler: Scheduler, redact: Callable[[str], str]) -> tuple[Failure | None, list[Failure]]:
    """What ended the run early, and what the server does not have: each in words for people, without keys."""
    why = scheduler.stop_failure
    lacks = {
        Scope.PATH: "the server does not offer {} (choose with --endpoint, --base-url or --dialect); it says: {}",
        Scope.MODEL: "the server cannot serve the model {} (see batcher models, -m and --alias); it says: {}",
    }
    refused = [
        replace(failure, message=lacks[scope].format(name, redact(failure.message)))
        for (scope, name), failure in scheduler.refused.items()
    ]
    return why and replace(why, message=redact(why.message)), refused


def timeouts_for(options: Options) -> Timeouts:
    return Timeouts(first_token=options.first_token_timeout, idle=options.idle_timeout, total=options.timeout)


def _affordable(concurrency: int) -> int:
    """Raise the limit of open files for this many connections. Raises ConfigError if the system does not allow it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = concurrency + SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        if hard != resource.RLIM_INFINITY and hard < wanted:
            raise ConfigError(
                f"-c {concurrency} needs {wanted} open files and the system allows {hard}: lower -c or raise ulimit -n"
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return concurrency
