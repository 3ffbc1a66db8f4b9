"""How many requests and tokens a minute a server is given, of each model. Pure.

What a call will use is reserved when it is sent, and set right when it has ended.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from batcher.failures import FailureClass
from batcher.outcome import NO_HINTS
from batcher.policy.pace.bucket import Bucket
from batcher.policy.pace.estimate import Estimator
from batcher.policy.pace.granted import Granted, Sent
from batcher.policy.pace.statement import MINUTE

if TYPE_CHECKING:
    from batcher.failures import Failure
    from batcher.model import Call
    from batcher.outcome import Attempt, Usage

NOT_SENT: Final = (FailureClass.CONNECTION, FailureClass.LOCAL)
LIMITED: Final = "rate_limited"
"""Who is refused so has shown that there was less than was thought, by what the call would have used."""


Reserved: TypeAlias = tuple[float, float, float, float]
"""When a call was sent, the tokens it was charged; requests and tokens that had been taken then, its own included."""


class Kept(NamedTuple):
    """Calls are kept back until then, by a limit of so many requests, or tokens, a minute."""

    until: float
    a_minute: float
    is_tokens: bool


@dataclass(slots=True)
class _Account:
    """The allowance of one model."""

    requests: Bucket
    tokens: Bucket
    estimator: Estimator
    granted: Granted
    reserved: dict[Call, Reserved] = field(default_factory=dict)
    cost: tuple[Call, float] | None = None
    """The last estimate: a call that waits is asked about again and again."""

    @property
    def is_told(self) -> bool:
        return self.requests.is_told or self.tokens.is_told

    def charge(self, call: Call, usage: Usage, charged: float, now: float) -> None:
        """Set right what was reserved by what was used, where anybody asks for an estimate."""
        self.estimator.learn(call, usage)
        used = self.estimator.used(call, usage)
        if used is not None:
            self.tokens.take(used - charged, now)

    def give_back(self, attempt: Attempt, charged: float, now: float) -> None:
        """Give back what was reserved for an attempt that did not use it."""
        failure = attempt.failure
        if failure is not None and failure.kind in NOT_SENT:
            self.requests.take(-1.0, now)
            self.tokens.take(-charged, now)
        elif attempt.completion is None and failure is not None and failure.status and failure.code != LIMITED:
            self.tokens.take(-charged, now)

    def refused(self, failure: Failure, sent: Sent, now: float) -> None:
        """Where the limit is told, a refusal slows down a little; else it shows the rate."""
        if self.is_told:
            self.requests.was_refused(now)
            self.tokens.was_refused(now)
        else:
            until = now + (failure.retry_after or 0.0)
            self.granted.refused(sent, self.requests.taken, now, until, words=failure.message)
            self.learn(now)

    def hear(self, attempt: Attempt, reserved: Reserved, now: float) -> None:
        """Heed what the server said about itself; what an answer says may be as old as its request."""
        sent, _, requests, tokens = reserved
        at = sent if attempt.failure is None else now
        if attempt.hints.requests is not None:
            self.requests.hear(attempt.hints.requests, at, requests, now)
        if attempt.hints.tokens is not None:
            self.tokens.hear(attempt.hints.tokens, at, tokens, now)

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
        account.reserved[call] = now, tokens, account.requests.taken, account.tokens.taken

    def settle(self, call: Call, attempt: Attempt, now: float) -> None:
        """It ended: charge the difference to what was used, give back what was not, heed what the server said.

        A refused request counts as a request (OpenAI's help: unsuccessful ones do), and as tokens if it was the rate
        that refused it: they were not there, and would be asked for again at once.
        """
        account = self._accounts.get(call.model)
        reserved = account.reserved.pop(call, None) if account is not None else None
        if account is None or reserved is None:
            return
        sent, charged, requests_taken, _ = reserved
        failure, completion = attempt.failure, attempt.completion
        usage = completion.usage if completion is not None else None
        if usage is not None:
            grants = account.granted.grants
            grants.tokens += (usage.prompt_tokens or 0) + (usage.completion_tokens or 0)
            grants.answers += 1
            if account.tokens.is_used or account.granted.by_tokens:
                account.charge(call, usage, charged, now)
        elif failure is not None:
            account.give_back(attempt, charged, now)
        if failure is None:
            if now >= account.granted.due or call.throttled:
                account.granted.granted(sent, account.requests.taken, now, is_again=call.throttled > 0)
                account.learn(now)
        elif failure.code == LIMITED:
            account.refused(failure, Sent(sent, requests_taken, is_retry=call.sent > 0), now)
        if attempt.hints is not NO_HINTS:
            account.hear(attempt, reserved, now)

    def keeps(self, now: float) -> Kept | None:
        """What keeps calls back now, if anything does: of several models, what does for the longest."""
        found = None
        for account in self._accounts.values():
            cost = account.cost[1] if account.cost is not None else 0.0
            for bucket, needed, is_tokens in ((account.requests, 1.0, False), (account.tokens, cost, True)):
                if bucket.is_used and (opens := bucket.opens(needed, now)) > max(now, found.until if found else now):
                    found = Kept(opens, bucket.a_minute, is_tokens)
        return found

    def most(self) -> tuple[float, float]:
        """Requests and tokens a second that all models together are given at most, as far as that is known."""
        accounts = self._accounts.values()
        if not accounts:
            return (self.rpm or math.inf) / MINUTE, (self.tpm or math.inf) / MINUTE
        return (
            sum(account.requests.a_minute for account in accounts) / MINUTE,
            sum(account.tokens.a_minute for account in accounts) / MINUTE,
        )

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
