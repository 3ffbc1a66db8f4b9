"""How many tokens a call will use: from the bytes of its body and from what answers so far have used. Pure."""

from __future__ import annotations

import re
from bisect import bisect_left, insort
from collections import deque
from typing import TYPE_CHECKING, Final

from batcher.model import Kind

if TYPE_CHECKING:
    from batcher.model import Call, Job
    from batcher.outcome import Usage

BYTES_PER_TOKEN: Final = 3.5
"""Of a body, at first: English text has about four, code and JSON fewer."""
FIRST_OUTPUT: Final = 256.0
"""Tokens of an answer, before there was any."""
MEMORY: Final = 128
"""Answers that are remembered."""
_KEPT: Final = 0.98
"""What is kept of all that was learnt about prompts, with each answer."""
_LIMITS: Final = ("max_tokens", "max_completion_tokens", "max_output_tokens", "num_predict")
IN_FULL: Final = re.compile(r"https?://([^/:]+\.)?(api\.openai\.com|openai\.azure\.com)(?=[/:]|$)")


class Estimator:
    """Tokens of the calls of one model.

    A prompt is its bytes by the bytes a token has had; an answer is the 90th percentile of the last ones, or the
    call's own `max_tokens` if that is less. With `in_full`, `max_tokens` is what counts, wherever it is given.
    """

    __slots__ = ("_bytes", "_in_full", "_outputs", "_sorted", "_tokens")

    def __init__(self, *, in_full: bool = False) -> None:
        self._in_full = in_full
        self._bytes, self._tokens = 50 * BYTES_PER_TOKEN, 50.0
        self._outputs: deque[int] = deque()
        self._sorted: list[int] = []

    def expected(self, call: Call) -> float:
        """Tokens to reserve for a call that is about to be sent."""
        return len(call.body) * self._tokens / self._bytes + sum(map(self._output, call.jobs))

    def used(self, call: Call, usage: Usage) -> float | None:
        """Tokens that the allowance is charged for an answered call; None if the server did not say."""
        if usage.prompt_tokens is None and usage.completion_tokens is None:
            return None
        prompt = usage.prompt_tokens
        output = float(usage.completion_tokens or 0)
        if self._in_full:
            output = max(output, sum(float(_most(job) or 0) for job in call.jobs))
        return output + (len(call.body) * self._tokens / self._bytes if prompt is None else prompt)

    def learn(self, call: Call, usage: Usage) -> None:
        if usage.prompt_tokens:
            self._bytes = self._bytes * _KEPT + len(call.body)
            self._tokens = self._tokens * _KEPT + usage.prompt_tokens
        if usage.completion_tokens is not None and len(call.jobs) == 1:
            self._outputs.append(usage.completion_tokens)
            insort(self._sorted, usage.completion_tokens)
            if len(self._outputs) > MEMORY:
                del self._sorted[bisect_left(self._sorted, self._outputs.popleft())]

    def _output(self, job: Job) -> float:
        if job.kind is Kind.EMBED:
            return 0.0
        most = _most(job)
        if most is not None and self._in_full:
            return float(most)
        usual = self._sorted[len(self._sorted) * 9 // 10] if self._sorted else FIRST_OUTPUT
        return float(usual if most is None else min(most, usual))


def counts_in_full(root: str) -> bool:
    """Whether the server at this URL sets `max_tokens` against the allowance and gives nothing back: OpenAI, Azure."""
    return IN_FULL.match(root) is not None


def _most(job: Job) -> int | None:
    """How many tokens the job lets an answer have, over all the answers that it asks for."""
    for source in (job.params, job.options, job.body or {}):
        for name in _LIMITS:
            value = source.get(name)
            if type(value) is int and value > 0:
                several = source.get("n")
                return value * several if type(several) is int and several > 0 else value
    return None
