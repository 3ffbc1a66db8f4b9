"""Jobs to calls and back: many embedding inputs in one call, halved if it fails; to each job its own answer. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from itertools import accumulate, repeat
from operator import sub
from typing import TYPE_CHECKING

import orjson

from batcher import codec
from batcher.exchange import answers
from batcher.exchange.dialogue import conclude
from batcher.failures import LineError
from batcher.model import EMBED, Call, Job
from batcher.outcome import Completion, Result, Usage
from batcher.policy.packs import ALONE, PER_TEXT
from batcher.wire.dialects import DIALECTS, PATHS, call_for
from batcher.wire.dialects.embeddings import BASE64
from batcher.wire.dialects.vectors import inputs_of

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

    from batcher.model import Api, Endpoint, Json
    from batcher.outcome import Attempt
    from batcher.policy.packs import Packs, Size

OPEN_PACKS = 16
"""Packs that may be filling at once: jobs that cannot share a call wait for company this far."""


@dataclass(slots=True)
class _Pack:
    """Jobs on their way into one call; `size` says how many."""

    size: Size
    jobs: list[Job] = field(default_factory=list)
    texts: int = 0
    work: float = 0.0
    is_full: bool = False
    """Another job like these would not fit."""

    def takes(self, job: Job, texts: int, work: float) -> bool:
        """Put a job in; false if it does not fit beside those that are there."""
        jobs, size = self.jobs, self.size
        texts, work = self.texts + texts, self.work + work
        if jobs and (texts > size.texts or work > size.work):
            return False
        jobs.append(job)
        self.texts, self.work = texts, work
        self.is_full = texts >= size.texts or work + work / len(jobs) > size.work
        return True


@dataclass(slots=True)
class _Filling:
    """The packs that are filling, by what their jobs have in common; the oldest first."""

    path: str
    """Where those go that name no path."""
    packs: dict[Hashable, _Pack] = field(default_factory=dict)

    def take(self, job: Job, packs: Packs) -> Sequence[list[Job]]:
        """Put a job into its pack, and give the packs that leave for it: full ones, or the oldest of too many."""
        path = job.path or self.path
        key, (texts, work) = _key(job, path), _weight(job)
        pack = self.packs.get(key)
        size = packs.size(job.model, path) if pack is None else pack.size
        if texts >= size.texts or ALONE * work >= size.work:
            return ([job],)
        if pack is not None and pack.takes(job, texts, work):
            return () if not pack.is_full else (self.packs.pop(key).jobs,)
        left = [] if pack is None else [self.packs.pop(key).jobs]
        pack = self.packs[key] = _Pack(size)
        pack.takes(job, texts, work)
        if pack.is_full or len(self.packs) > OPEN_PACKS:
            left.append(self.packs.pop(key if pack.is_full else next(iter(self.packs))).jobs)
        return left

    def leave(self) -> list[list[Job]]:
        """All of them, as full as they are."""
        left = [pack.jobs for pack in self.packs.values()]
        self.packs.clear()
        return left


def calls(
    jobs: Iterable[Job | None],
    api: Api,
    reject: Callable[[Job, LineError], None],
    *,
    stream: bool,
    packs: Packs | None = None,
    base64: bool = False,
) -> Iterator[Call | None]:
    """Turn jobs into calls, packing as many embedding jobs that ask for the same thing into each as `packs` says.

    None in `jobs` means that nothing has arrived yet; packs that are filling leave at once then, rather than wait, in
    its place: whoever said None wakes the reader about now, who would sleep on after one that came later. They leave
    before a call of another kind unless their size was chosen: the order of the input is kept where nobody asked else.
    A job that its endpoint cannot express goes to `reject`. `base64` is as in `call_for`.
    """
    filling, lets_by = _Filling(PATHS[EMBED, api]), packs is None or packs.let_others_by
    encoded = partial(_encoded, api=api, reject=reject, base64=base64)
    for job in jobs:
        is_packed = job is not None and packs is not None and job.kind is EMBED and job.body is None
        if job is None and filling.packs:
            yield from encoded(filling.leave())
        elif job is None:
            yield None
        elif packs is None or not is_packed:
            if filling.packs and not lets_by:
                yield from encoded(filling.leave())
            try:
                call = call_for((job,), api, stream=stream, base64=base64)
            except LineError as error:
                reject(job, error)
            else:
                yield call
        elif leaving := filling.take(job, packs):
            yield from encoded(leaving)
    yield from encoded(filling.leave())


def halves(call: Call, api: Api) -> tuple[Call, Call]:
    """Two calls with half of the jobs each; what the pack has waited and how often it was sent is theirs too."""
    middle = len(call.jobs) // 2
    base64 = call.body.endswith(BASE64)  # what a server refused is not asked again
    first, second = (
        call_for(jobs, api, stream=False, base64=base64) for jobs in (call.jobs[:middle], call.jobs[middle:])
    )
    first.sent = second.sent = call.sent
    first.waited = second.waited = call.waited
    return first, second


def shares(call: Call, completion: Completion) -> Iterator[tuple[Job, Completion]]:
    """Give each job of a pack a completion with its own vectors and its part of the tokens, as they were sent."""
    if len(call.jobs) == 1:
        yield call.jobs[0], completion
        return
    assert completion.vectors is not None
    server, model, vectors, proof = completion.server, completion.served_model, completion.vectors, completion.proof
    start = 0
    for job, usage in zip(call.jobs, divided(completion.usage, call.jobs), strict=False):
        end = start + (1 if type(job.content) is str else len(inputs_of(job)))
        flags = [*completion.flags] if completion.flags else ()
        yield job, Completion({}, usage, server, model, vectors[start:end], None, proof, flags, None, {})
        start = end


def divided(usage: Usage | None, jobs: Sequence[Job]) -> Iterable[Usage | None]:
    """The tokens of a request by the lengths of its texts, since servers tell them of all together.

    What a job has is the whole up to its end less the whole up to the end of the one before it, each rounded down: the
    parts add up to what the server said. It may go on for ever: take one for each job.
    """
    if usage is None:
        return repeat(None)
    ends = [*accumulate(map(_length, jobs))]
    counts = (usage.prompt_tokens, usage.completion_tokens, usage.reasoning_tokens, usage.cached_tokens)
    return map(Usage, *(_parts(count, ends) for count in counts))


def results_of(call: Call, endpoint: Endpoint, attempt: Attempt, *, raw: bool) -> list[Result]:
    """The results of a call's jobs, in their order; `raw` adds the API's whole response object."""
    completion = attempt.completion
    if completion is None or attempt.failure is not None:
        if completion is not None and len(call.jobs) > 1:
            completion = replace(completion, usage=None)  # of all together: no job's
        elif completion is not None and call.dialogue is not None:
            completion.spent = call.dialogue.spent
        return [_result(call, endpoint, attempt, job, completion) for job in call.jobs]
    if len(call.jobs) == 1:
        turns = conclude(call, completion)
        result = _result(call, endpoint, attempt, call.jobs[0], completion)
        result.turns = turns
        if raw:
            result.raw = completion.whole or DIALECTS[call.path].rebuild(completion)
        return [result]
    path, timing, sent, root, size = call.path, attempt.timing, call.sent, endpoint.root, len(call.jobs)
    return [
        Result(
            job.id,
            job.seq,
            job.hash,
            job.model,
            path,
            job.meta,
            job.columns,
            share,
            None,
            timing,
            sent,
            root,
            (place, size),
            type(job.content) is not str and answers.asks_many(job),
        )
        for place, (job, share) in enumerate(shares(call, completion))
    ]


def _encoded(
    packs: Iterable[list[Job]], api: Api, reject: Callable[[Job, LineError], None], *, base64: bool
) -> Iterator[Call]:
    """Encode each pack; one that cannot be is encoded job by job, so that the job at fault is found."""
    for pack in packs:
        try:
            yield call_for(pack, api, stream=False, base64=base64)
        except LineError as error:
            if len(pack) == 1:
                reject(pack[0], error)
            else:
                yield from _encoded([[job] for job in pack], api, reject, base64=base64)


def _key(job: Job, path: str) -> Hashable:
    """Jobs with equal keys may share a call."""
    if not (job.params or job.options or job.extra):  # nearly every one
        return path, job.model
    return codec.dumps(
        (path, job.model, dict(job.params), dict(job.options), dict(job.extra)), option=orjson.OPT_SORT_KEYS
    )


def _weight(job: Job) -> tuple[int, float]:
    """How many inputs a job has, and about what `policy.packs` will count them for."""
    content = job.content
    if type(content) is str:
        return 1, PER_TEXT + (len(content) if content.isascii() else len(content.encode("utf-8", "surrogatepass")))
    inputs = inputs_of(job)
    return len(inputs), sum(PER_TEXT + _bytes(one) for one in inputs)


def _length(job: Job) -> int:
    """Characters of a job's text, or of its texts; 1 at least."""
    content = job.content
    return (len(content) if type(content) is str else sum(map(len, inputs_of(job)))) or 1


def _parts(count: int | None, ends: Sequence[int]) -> Iterable[int | None]:
    """A count divided by how far each part reaches."""
    if count is None:
        return repeat(None)
    whole = ends[-1]
    reached = [count * end // whole for end in ends]
    return map(sub, reached, [0, *reached])


def _bytes(value: Json) -> int:
    """Of a text; of tokens as many as they take in JSON, about."""
    return len(value.encode("utf-8", "surrogatepass")) if type(value) is str else 6 * len(value)


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
        many=type(job.content) is not str and answers.asks_many(job),
    )
