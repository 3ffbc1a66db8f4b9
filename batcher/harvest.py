"""What an attempt gives to each job of its call: the whole answer, its share of a pack's, or the failure. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batcher import answers, packing
from batcher.dialects import DIALECTS
from batcher.model import Completion, Job, Kind, Result

if TYPE_CHECKING:
    from batcher.attempt import Attempt
    from batcher.model import Call, Endpoint


def results_of(call: Call, endpoint: Endpoint, attempt: Attempt, *, raw: bool) -> list[Result]:
    """The results of a call's jobs, in their order; `raw` adds the API's whole response object."""
    completion = attempt.completion
    if completion is None or attempt.failure is not None:
        return [_result(call, endpoint, attempt, job, completion) for job in call.jobs]
    if len(call.jobs) == 1:
        result = _result(call, endpoint, attempt, call.jobs[0], completion)
        if raw:
            result.raw = completion.whole or DIALECTS[call.path].rebuild(completion)
        return [result]
    results = [_result(call, endpoint, attempt, job, share) for job, share in packing.shares(call, completion)]
    for place, result in enumerate(results):
        result.pack = (place, len(results))
    results[0].pack_usage = completion.usage
    return results


def _result(call: Call, endpoint: Endpoint, attempt: Attempt, job: Job, completion: Completion | None) -> Result:
    return Result(
        id=job.id,
        seq=job.seq,
        hash=job.hash,
        model=job.model,
        path=call.path,
        meta=job.meta,
        completion=completion,
        failure=attempt.failure,
        timing=attempt.timing,
        attempts=call.sent,
        server=endpoint.root,
        many=job.kind is Kind.EMBED and answers.asks_many(job),
    )
