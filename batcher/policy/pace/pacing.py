"""How many requests and tokens a minute a server is given, of each model. Pure.

What a call will use is reserved when it is sent, and set right when it has ended.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from batcher.attempt import NO_HINTS
from batcher.failures import FailureClass
from batcher.policy.pace.bucket import Bucket
from batcher.policy.pace.estimate import Estimator
from batcher.policy.pace.granted import Granted, Sent

if TYPE_CHECKING:
    from batcher.attempt import Attempt
    from batcher.model import Call

NOT_SENT: Final = (FailureClass.CONNECTION, FailureClass.LOCAL)


@dataclass(slots=True)
class _Reserved:
    at: float
    tokens: float
    requests_taken: float
    tokens_taken: float


@dataclass(slots=True)
class _Account:
    """The allowance of one model."""

    requests: Bucket
    tokens: Bucket
    estimator: Estimator
    granted: Granted
    reserved: dict[Call, _Reserved] = field(default_factory=dict)
    cost: tuple[Call, float] | None = None
    """The last estimate: a call that waits is asked about again and again."""

    @property
    def is_told(self) -> bool:
        return self.requests.is_told or self.tokens.is_told

    @property
    def learns_tokens(self) -> bool:
        """Whether a rate of tokens was learnt. What is refused is charged then, or it would be asked again at once."""
        return self.tokens.learnt < math.inf

    def take_in(self, call: Call, attempt: Attempt, reserved: _Reserved, now: float) -> None:
        """The call was granted or refused: that slows down a little where the limit is told, or shows the rate."""
        granted, failure, taken = self.granted, attempt.failure, self.requests.taken
        if failure is None:
            usage = attempt.completion.usage if attempt.completion is not None else None
            tokens = (usage.prompt_tokens or 0) + (usage.completion_tokens or 0) if usage is not None else 0
            granted.granted(reserved.at, tokens, taken, now)
        elif self.is_told:
            self.requests.was_refused(now)
            self.tokens.was_refused(now)
            return
        else:
            sent = Sent(reserved.at, reserved.requests_taken, is_retry=call.sent > 0)
            granted.refused(sent, taken, now, now + (failure.retry_after or 0.0), words=failure.message)
        self.learn(now)

    def learn(self, now: float) -> None:
        """Keep to what is granted, in the measure in which that shows."""
        rate, by_tokens = self.granted.rate, self.granted.by_tokens
        self.requests.learn(math.inf if by_tokens else rate, now)
        self.tokens.learn(rate if by_tokens else math.inf, now)


@dataclass(slots=True)
class Pacing:
    """What one server is given a minute, of each model; None: no limit but those that the server states.

    `in_full`: the server counts `max_tokens` when a request arrives (see `Estimator`).
    """

    rpm: float | None = None
    tpm: float | None = None
    in_full: bool = False
    _accounts: dict[str | None, _Account] = field(default_factory=dict)

    def opens(self, call: Call, now: float) -> float:
        """The time from which the call may be sent; always finite, at once if it is not after `now`."""
        account = self._accounts.get(call.model)
        if account is None:
            account = self._open(call.model, now)
        if not account.requests.is_used and not account.tokens.is_used:
            return now
        opens = account.requests.opens(1.0, now)
        if account.tokens.is_used:
            opens = max(opens, account.tokens.opens(_cost(account, call), now))
        return opens

    def take(self, call: Call, now: float) -> None:
        """The call is being sent: reserve what it will use."""
        account = self._accounts.get(call.model)
        if account is None:
            account = self._open(call.model, now)
        tokens = 0.0
        account.requests.take(1.0, now)
        if account.tokens.is_used:
            tokens = _cost(account, call)
            account.tokens.take(tokens, now)
            account.cost = None
        account.reserved[call] = _Reserved(now, tokens, account.requests.taken, account.tokens.taken)

    def settle(self, call: Call, attempt: Attempt, now: float) -> None:
        """It ended: charge the difference to what was used, give back what was not, heed what the server said.

        A refused request counts as a request (OpenAI's help: unsuccessful ones do), and not as tokens.
        """
        account = self._accounts.get(call.model)
        reserved = account.reserved.pop(call, None) if account is not None else None
        if account is None or reserved is None:
            return
        failure, completion = attempt.failure, attempt.completion
        usage = completion.usage if completion is not None else None
        if failure is not None and failure.kind in NOT_SENT:
            account.requests.take(-1.0, now)
            account.tokens.take(-reserved.tokens, now)
        elif usage is not None and (account.tokens.is_used or account.granted.by_tokens):  # else nobody asks for one
            account.estimator.learn(call, usage)
            used = account.estimator.used(call, usage)
            if used is not None:
                account.tokens.take(used - reserved.tokens, now)
        elif failure is not None and failure.status is not None and completion is None and not account.learns_tokens:
            account.tokens.take(-reserved.tokens, now)
        if failure is None or failure.code == "rate_limited":
            account.take_in(call, attempt, reserved, now)
        if attempt.hints is not NO_HINTS:
            at = reserved.at if failure is None else now  # what an answer says may be as old as its request
            if attempt.hints.requests is not None:
                account.requests.hear(attempt.hints.requests, at, reserved.requests_taken, now)
            if attempt.hints.tokens is not None:
                account.tokens.hear(attempt.hints.tokens, at, reserved.tokens_taken, now)

    def paces(self, call: Call) -> bool:
        """Whether a rate that was learnt from refusals holds the calls of this model."""
        account = self._accounts.get(call.model)
        return account is not None and min(account.requests.learnt, account.tokens.learnt) < math.inf

    def _open(self, model: str | None, now: float) -> _Account:
        account = self._accounts[model] = _Account(
            Bucket(self.rpm or math.inf, unit=1.0),
            Bucket(self.tpm or math.inf, unit=0.0),
            Estimator(in_full=self.in_full),
            Granted(now),
        )
        return account


def _cost(account: _Account, call: Call) -> float:
    if account.cost is None or account.cost[0] is not call:
        account.cost = (call, account.estimator.expected(call))
    return account.cost[1]
