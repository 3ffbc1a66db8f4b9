"""What passes between a run and its workers: calls and attempts as plain values, times as durations. Pure.

Of a call goes what its exchange needs: the body as it is sent, and how many answers it asks for. Of an attempt comes
what is decided and written by: pieces of text are joined, and what stands around them comes where it is to be shown.
"""

from __future__ import annotations

import math
from array import array
from functools import lru_cache
from typing import TYPE_CHECKING

from batcher.failures import INTERNAL, Failure, FailureClass
from batcher.model import Call, Endpoint, Job, Kind
from batcher.outcome import NO_HINTS, Attempt, Choice, Completion, ServerTimes, Timing, Usage
from batcher.wire.dialects import body_of
from batcher.wire.dialects.endings import choices_asked
from batcher.wire.dialects.vectors import inputs_of

if TYPE_CHECKING:
    from batcher.exchange.cluster.link import Message

SETUP, PLACE, CALL, ASK = range(4)
"""What is said to a worker: how to work, an endpoint and its number, a call, a question."""
READY, FAILED, BEGUN, ENDED, TOLD, FLOW = range(6)
"""What a worker says: that it can begin, or why not and whether another one could; of calls that have begun or ended,
of questions, what comes."""


def said_call(call: Call, number: int, place: int) -> Message:
    """A call as it is said to a worker."""
    is_embedding = call.jobs[0].kind is Kind.EMBED
    wanted = sum(len(inputs_of(job)) for job in call.jobs) if is_embedding else choices_asked(call)
    body = body_of(call) if call.loads else call.body
    return CALL, number, place, call.path, body, call.stream, is_embedding, wanted, call.overran, call.binary


def heard_call(message: Message) -> tuple[int, int, Call]:
    """The number of a call, that of its endpoint, and the call."""
    _, number, place, path, body, stream, is_embedding, wanted, overran, binary = message
    jobs = _jobs(is_embedding, wanted)
    return number, place, Call(jobs, path, body, stream=stream, overran=overran, binary=binary)


@lru_cache(maxsize=1024)
def _jobs(is_embedding: bool, wanted: float) -> tuple[Job, ...]:  # noqa: FBT001 - it is a key of a cache
    """Jobs that ask for so many answers, which is all that a reader asks of them."""
    if is_embedding:
        return (Job(id="", seq=0, kind=Kind.EMBED, content=[""] * int(wanted)),)
    if wanted == math.inf:
        return ()
    return (Job(id="", seq=0, kind=Kind.CHAT, params={"n": wanted}),)


def said_endpoint(endpoint: Endpoint, place: int) -> Message:
    return PLACE, place, endpoint.root, endpoint.api, endpoint.v1, dict(endpoint.headers), endpoint.query


def heard_endpoint(message: Message) -> tuple[int, Endpoint]:
    _, place, root, api, v1, headers, query = message
    return place, Endpoint(root=root, api=api, v1=v1, headers=headers, query=query)


def said_attempt(attempt: Attempt, *, overran: bool, whole: bool) -> Message:
    """An attempt as it is told; `whole` adds what stands around the answer."""
    timing = attempt.timing
    started = timing.started
    arrivals = array("d", [at - started for at in timing.arrivals]).tobytes() if timing.arrivals else None
    completion, failure = attempt.completion, attempt.failure
    return (
        timing.finished - started,
        arrivals,
        None if completion is None else _said(completion, whole=whole),
        failure,
        None if attempt.hints is NO_HINTS else attempt.hints,
        overran,
    )


def said_instead(message: Message, error: Exception) -> Message:
    """What a worker says where an attempt cannot be said. Raises `error` for anything else."""
    if message[0] != ENDED:
        raise error
    words = f"the answer could not be brought from its worker: {type(error).__name__}: {error}"
    failure = Failure(FailureClass.PERMANENT, INTERNAL, words)
    return ENDED, message[1], (message[2][0], None, None, failure, None, False)


def heard_attempt(parcel: Message, call: Call, started_at: float, started: float) -> Attempt:
    """The attempt of a call that was sent then, by the clocks of this machine."""
    took, arrivals, said, failure, hints, overran = parcel
    timing = Timing(started_at, started, started + took, call.waited)
    if arrivals is not None:
        offsets = array("d")
        offsets.frombytes(arrivals)
        timing.arrivals = [started + offset for offset in offsets]
    if overran:
        call.overran = True
    return Attempt(
        timing,
        None if said is None else _heard(said),
        failure,
        NO_HINTS if hints is None else hints,
    )


def _said(completion: Completion, *, whole: bool) -> Message:
    usage, server = completion.usage, completion.server
    return (
        [_said_choice(index, choice) for index, choice in completion.choices.items()],
        None
        if usage is None
        else (usage.prompt_tokens, usage.completion_tokens, usage.reasoning_tokens, usage.cached_tokens),
        None if server is None else (server.load_s, server.prompt_eval_s, server.eval_s, server.total_s),
        completion.served_model,
        completion.vectors,
        completion.images,
        completion.proof,
        completion.flags,
        (completion.head, completion.tail, completion.whole) if whole else None,
    )


def _heard(said: Message) -> Completion:
    choices, usage, server, served_model, vectors, images, proof, flags, around = said
    completion = Completion(
        {index: Choice(*fields) for index, *fields in choices},
        None if usage is None else Usage(*usage),
        None if server is None else ServerTimes(*server),
        served_model,
        vectors,
        images,
        proof,
        flags,
    )
    if around is not None:
        completion.head, completion.tail, completion.whole = around
    return completion


def _said_choice(index: int, choice: Choice) -> Message:
    texts = ["".join(choice.texts)] if len(choice.texts) > 1 else choice.texts
    thoughts = ["".join(choice.thoughts)] if len(choice.thoughts) > 1 else choice.thoughts
    return index, texts, thoughts, choice.tool_calls, choice.logprobs, choice.refusals, choice.finish_reason
