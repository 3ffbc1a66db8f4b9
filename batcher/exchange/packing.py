"""Jobs to calls and back: many embedding inputs in one call, halved if it fails; to each job its own answer. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from batcher import codec
from batcher.exchange import answers
from batcher.exchange.dialogue import conclude
from batcher.failures import LineError
from batcher.model import Call, Job, Kind
from batcher.outcome import Completion, Result, more
from batcher.wire.dialects import DIALECTS, call_for, path_for
from batcher.wire.dialects.vectors import inputs_of

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator

    from batcher.model import Api, Endpoint
    from batcher.outcome import Attempt

OPEN_PACKS = 16
"""Packs that may be filling at once: jobs that cannot share a call wait for company this far."""


def calls(
    jobs: Iterable[Job | None], api: Api, reject: Callable[[Job, LineError], None], *, stream: bool, size: int = 1
) -> Iterator[Call | None]:
    """Turn jobs into calls, packing up to `size` embedding jobs that ask for the same thing into each.

    None in `jobs` means that nothing has arrived yet; packs that are filling leave at once then, rather than wait.
    A job that its endpoint cannot express goes to `reject`.
    """
    filling: dict[Hashable, list[Job]] = {}
    inputs: dict[Hashable, int] = {}
    for job in jobs:
        if job is None:
            yield from _encoded(filling.values(), api, reject)
            filling.clear()
            inputs.clear()
            yield None
        elif size < 2 or job.kind is not Kind.EMBED or job.body is not None:
            try:
                call = call_for((job,), api, stream=stream)
            except LineError as error:
                reject(job, error)
            else:
                yield call
        else:
            key = _key(job, api)
            filling.setdefault(key, []).append(job)
            count = inputs[key] = inputs.get(key, 0) + len(inputs_of(job))
            if count >= size or len(filling) > OPEN_PACKS:
                oldest = key if count >= size else next(iter(filling))
                del inputs[oldest]
                yield from _encoded([filling.pop(oldest)], api, reject)
    yield from _encoded(filling.values(), api, reject)


def halves(call: Call, api: Api) -> tuple[Call, Call]:
    """Two calls with half of the jobs each; what the pack has waited and how often it was sent is theirs too."""
    middle = len(call.jobs) // 2
    first, second = (call_for(jobs, api, stream=False) for jobs in (call.jobs[:middle], call.jobs[middle:]))
    first.sent = second.sent = call.sent
    first.waited = second.waited = call.waited
    return first, second


def shares(call: Call, completion: Completion) -> Iterator[tuple[Job, Completion]]:
    """Give each job of a pack a completion with its own vectors, in the order in which they were sent."""
    if len(call.jobs) == 1:
        yield call.jobs[0], completion
        return
    assert completion.vectors is not None
    start = 0
    for job in call.jobs:
        end = start + len(inputs_of(job))
        share = Completion(served_model=completion.served_model, server=completion.server, proof=completion.proof)
        share.vectors = completion.vectors[start:end]
        share.flags = more((), completion.flags)
        yield job, share
        start = end


def results_of(call: Call, endpoint: Endpoint, attempt: Attempt, *, raw: bool) -> list[Result]:
    """The results of a call's jobs, in their order; `raw` adds the API's whole response object."""
    completion = attempt.completion
    if completion is None or attempt.failure is not None:
        return [_result(call, endpoint, attempt, job, completion) for job in call.jobs]
    if len(call.jobs) == 1:
        turns = conclude(call, completion)
        result = _result(call, endpoint, attempt, call.jobs[0], completion)
        result.turns = turns
        if raw:
            result.raw = completion.whole or DIALECTS[call.path].rebuild(completion)
        return [result]
    results = [_result(call, endpoint, attempt, job, share) for job, share in shares(call, completion)]
    for place, result in enumerate(results):
        result.pack = (place, len(results))
    results[0].pack_usage = completion.usage
    return results


def _encoded(packs: Iterable[list[Job]], api: Api, reject: Callable[[Job, LineError], None]) -> Iterator[Call]:
    """Encode each pack; one that cannot be is encoded job by job, so that the job at fault is found."""
    for pack in packs:
        try:
            yield call_for(pack, api, stream=False)
        except LineError as error:
            if len(pack) == 1:
                reject(pack[0], error)
            else:
                yield from _encoded([[job] for job in pack], api, reject)


def _key(job: Job, api: Api) -> Hashable:
    """Jobs with equal keys may share a call."""
    if not (job.params or job.options or job.extra):  # nearly every one
        return path_for(job, api), job.model
    return codec.dumps(
        (path_for(job, api), job.model, dict(job.params), dict(job.options), dict(job.extra)),
        option=orjson.OPT_SORT_KEYS,
    )


def _result(call: Call, endpoint: Endpoint, attempt: Attempt, job: Job, completion: Completion | None) -> Result:
    return Result(
        id=job.id,
        seq=job.seq,
        hash=job.hash,
        model=job.model,
        path=call.path,
        meta=job.meta,
        columns=job.columns,
        completion=completion,
        failure=attempt.failure,
        timing=attempt.timing,
        attempts=call.sent,
        server=endpoint.root,
        asked_again=call.dialogue.asked_again if call.dialogue is not None else 0,
        many=job.kind is Kind.EMBED and answers.asks_many(job),
    )
