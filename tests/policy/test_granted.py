"""Holds the learnt rate to figures where nobody tells one: found, kept to, grown again; none is seen where none is."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from support.untold import Alone, AnySpan, AtOnce, ByLot, EachMinute, Filling, Meeting, NeverThese, Scheduled, Traffic

from batcher.policy.limit.concurrency import AdaptiveLimit
from batcher.policy.limit.fixed import FixedLimit
from batcher.policy.pace.granted import Granted, Sent
from batcher.policy.pace.pacing import Pacing

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.untold import Server

    from batcher.policy.limit.fixed import Limit

LIMITS: dict[str, Callable[[], Limit]] = {
    "auto": lambda: AdaptiveLimit(start=8),
    "8": lambda: FixedLimit(8),
    "64": lambda: FixedLimit(64),
}
WORLDS = {"alone": Alone, "scheduled": Scheduled}


def met(
    server: Server, traffic: Traffic, limit: str = "64", world: str = "alone", seconds: float = 300.0
) -> tuple[Meeting, Pacing]:
    pacing = Pacing()
    return WORLDS[world](server, LIMITS[limit](), pacing, traffic).run(seconds), pacing


def rate_of(pacing: Pacing) -> float:
    return pacing._accounts["m"].granted.rate


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize(("rpm", "tpm"), [(300, math.inf), (math.inf, 6_000)], ids=["300 RPM", "6,000 TPM"])
def test_a_rate_that_only_refusals_tell_is_found_and_used_up(rpm: float, tpm: float, limit: str, world: str) -> None:
    """With `Retry-After`: after the first minute nearly all is used, and little is refused."""
    meeting, _ = met(AnySpan(rpm, tpm), Traffic(), limit, world)
    figures = meeting.figures()
    assert max(figures.requests / rpm, figures.tokens / tpm) >= 0.95
    assert figures.refused <= 0.1


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize(("rpm", "tpm"), [(300, math.inf), (math.inf, 6_000)], ids=["300 RPM", "6,000 TPM"])
def test_without_a_hint_the_rate_is_found_as_well(rpm: float, tpm: float, limit: str) -> None:
    """Gates that are guessed are short enough; who is refused again while all are is no reason to drop the rate."""
    meeting, _ = met(AnySpan(rpm, tpm), Traffic(hint=False), limit, "scheduled")
    figures = meeting.figures()
    assert max(figures.requests / rpm, figures.tokens / tpm) >= 0.95
    assert figures.refused <= 0.1


@pytest.mark.parametrize(("few", "asked"), [(2, 1.2), (8, 1.9), (8, 2.5)])
def test_few_that_ask_for_more_are_granted_what_there_is(few: int, asked: float) -> None:
    """A window that is dead for half of each minute tells its rate before it opens again."""
    takes = few * 60 / (300 * asked) - 0.05
    traffic = Traffic(hint=False, first_s=0.2 * takes, token_s=0.008 * takes)
    figures = Scheduled(AnySpan(300), FixedLimit(few), Pacing(), traffic).run(300.0).figures()
    assert figures.requests >= 0.95 * 300
    assert figures.refused <= 0.1


@pytest.mark.parametrize(
    ("server", "used"),
    [
        (Filling(300, 20), 0.95),
        (EachMinute(300), 0.95),
        (EachMinute(300, early=30.0), 0.85),
        (AnySpan(60), 0.95),
        (AnySpan(3_000), 0.95),
    ],
    ids=["bucket", "each minute", "half a minute first", "60", "3,000"],
)
def test_whatever_the_limit_is_like(server: Server, used: float) -> None:
    """Windows that begin for all at once, buckets, seconds."""
    meeting, _ = met(server, Traffic(), "auto")
    figures = meeting.figures()
    assert figures.requests >= used * server.rpm  # type: ignore[attr-defined]  # all of these have one
    assert figures.refused <= 0.1


def test_a_limit_by_the_second_is_met_by_what_was_granted_lately() -> None:
    """While the rate grows towards it, a minute's mean lies far below."""
    meeting, _ = met(AnySpan(300, window=1.0), Traffic())
    figures = meeting.figures()
    assert figures.requests >= 0.93 * 300
    assert figures.refused <= 0.1


def test_answers_of_very_different_lengths_are_counted_by_tokens() -> None:
    """Words that speak of tokens decide it; lognormal answers that are 2 % of the limit."""
    meeting, pacing = met(AnySpan(tpm=6_000), Traffic(sigma=0.6, hint=False, words="rate limit on tokens per min"))
    figures = meeting.figures()
    assert pacing._accounts["m"].granted.by_tokens
    assert figures.tokens >= 0.9 * 6_000
    assert figures.refused <= 0.1


@pytest.mark.parametrize("hint", [True, False])
def test_it_grows_again_when_the_servers_does(hint: bool) -> None:  # noqa: FBT001 - a column of the table
    """Twice as much is granted from 150 s on: four fifths of it are used within five minutes."""
    meeting, _ = met(AnySpan(150, grows=(150.0, 2.0)), Traffic(hint=hint), seconds=450.0)
    assert meeting.figures(since=90.0).refused <= 0.1
    assert meeting.figures(since=390.0).requests >= 0.8 * 300


@pytest.mark.parametrize(("share", "least"), [(0.3, 0.33), (0.1, 0.5)])
@pytest.mark.parametrize("limit", LIMITS)
def test_a_mood_is_no_rate(share: float, least: float, limit: str) -> None:
    """A share of all is refused by lot, with `Retry-After: 1`: a run takes at most three times as long, `auto` too."""
    meeting, _ = met(ByLot(share), Traffic(sigma=0.5), limit, seconds=180.0)
    usual, _ = met(ByLot(0.0), Traffic(sigma=0.5), limit, seconds=180.0)
    assert meeting.done >= least * usual.done
    assert meeting.limit.allowed >= (8 if limit == "8" else 32)


@pytest.mark.parametrize("limit", ["auto", "8"])
def test_none_is_learnt_from_dice(limit: str) -> None:
    """Three in ten, 2,000 short answers, with `Retry-After: 1`: as fast as where refusals never speak of a rate."""
    short = Traffic(first_s=0.018, token_s=1e-5, jobs=2_000)
    for seed in range(3):
        took = []
        for code in ("rate_limited", "busy"):
            server, pacing = ByLot(0.3, random.Random(seed)), Pacing()
            meeting = Scheduled(server, LIMITS[limit](), pacing, replace(short, code=code), seed).run(100.0)
            assert rate_of(pacing) == math.inf
            took.append(meeting.done_at)
        assert took[0] <= 1.2 * took[1]


@pytest.mark.parametrize("each", [1_000, 100, 5])
def test_jobs_that_are_always_refused_are_no_rate(each: int) -> None:
    """Retries do not vote: one job that is refused each time slows down nobody."""
    meeting, pacing = met(NeverThese(each), Traffic(sigma=0.5), seconds=120.0)
    usual, _ = met(ByLot(0.0), Traffic(sigma=0.5), seconds=120.0)
    assert meeting.done >= 0.8 * usual.done
    assert rate_of(pacing) == math.inf or each == 5


@pytest.mark.parametrize("limit", ["auto", "64"])
def test_so_many_at_once_is_used_up_too(limit: str) -> None:
    """Sixteen at once and a 429 for the rest: what matters is that they are busy, and not asked in vain."""
    meeting, _ = met(AtOnce(16), Traffic(sigma=0.5), limit)
    usual, _ = met(AtOnce(10**6), Traffic(sigma=0.5), "8")
    assert meeting.figures().requests >= 0.75 * 2 * usual.figures().requests
    assert meeting.figures().refused <= 0.1
    if limit == "auto":
        assert meeting.limit.allowed <= 32


def test_each_model_has_its_own() -> None:
    """A rate that is learnt for one model holds up no other."""
    meeting, pacing = met(AnySpan(300), Traffic(), seconds=100.0)
    one, other = meeting.job(0), meeting.job(1)
    other.model = "another"
    assert pacing.paces(one)
    assert not pacing.paces(other)
    assert pacing.opens(other, meeting.now) == meeting.now


def ask(granted: Granted, refused: int, now: float, taken: int, hint: float) -> None:
    """So many calls more than were `taken` are sent at once and refused, told to come back after `hint` seconds."""
    for number in range(taken + 1, taken + refused + 1):
        granted.refused(Sent(now, number), taken + refused, now, now + hint, words="")


@pytest.mark.parametrize(
    ("refused", "hint", "rate"), [(8, 60.0, 300 / 60), (8, 120.0, 300 / 60), (1, 60.0, math.inf), (2, 60.0, math.inf)]
)
def test_a_burst_and_a_dead_minute_tell_the_rate(refused: int, hint: float, rate: float) -> None:
    """Not more than a minute counts; and not a call or two alone."""
    granted = Granted(0.0)
    ask(granted, refused, 1.0, 300, hint)
    assert granted.rate == pytest.approx(rate, rel=0.05)


@pytest.mark.parametrize(("dead", "is_learnt"), [(20.0, False), (40.0, True)])
def test_a_storm_of_a_third_of_a_minute_is_none(dead: float, is_learnt: bool) -> None:  # noqa: FBT001 - a table
    """It may as well be one, and less dead time costs little."""
    granted, taken = Granted(0.0), 0
    for second in range(60 - int(dead)):
        taken += 10
        granted.granted(float(second), taken, second + 0.9)
    ask(granted, 8, 60.0 - dead, taken, dead)
    assert (granted.rate < math.inf) is is_learnt


def test_retries_do_not_vote() -> None:
    """One job that is refused each second, among few that are granted, is one vote."""
    granted, taken = Granted(0.0), 0
    for second in range(120):
        taken += 3
        granted.granted(second, taken, second + 0.5)
        taken += 1
        granted.refused(Sent(second + 0.6, taken, second > 0), taken, second + 0.7, second + 1.7, words="")
    assert granted.rate == math.inf


def test_what_was_on_its_way_at_a_mark_and_refused_later_was_not_granted() -> None:
    """Else a burst that is refused would be taken off what is granted in the minute after it."""
    granted = Granted(0.0)
    granted.granted(5.0, 110, 5.1)
    ask(granted, 60, 5.2, 50, 1.0)
    assert granted.grants.since_mark(granted.grants.marks[-1], 60.0, 410, 65.1, 65.1)[0] == pytest.approx(300 / 60)


def played(fates: str, rate: float = math.inf, every: float = 0.1) -> list[float]:
    """What is known of the rate after each call, one in so many s: granted (.), refused (x), so sent again (o, X)."""
    granted, rates = Granted(0.0), []
    granted.rate = rate
    for number, fate in enumerate(fates, 1):
        sent = number * every
        if fate in ".o":
            granted.granted(sent, number, sent + 0.05, is_again=fate == "o")
        else:
            refused = Sent(sent, number, is_retry=fate == "X")
            granted.refused(refused, number, sent + 0.05, sent + 0.05, words="")
        rates.append(granted.rate)
    return rates


@pytest.mark.parametrize(("calm", "grows"), [(12.0, 1.01), (65.0, 1.04), (30_720.0, 1.16), (1e6, 1.16)])
def test_it_grows_by_more_the_longer_nothing_was_refused(calm: float, grows: float) -> None:
    """And by a sixth at most, after hours too: as many are granted then as are sent."""
    granted = Granted(0.0)
    ask(granted, 1, 1.0, 0, 0.0)
    granted.rate = 10.0
    granted.granted(1.1, 100, 1.2)
    granted.grants.mark(100, max(1.2, calm - 10.0), is_asked=True)
    granted.granted(1.0 + calm, 1_000, 1.0 + calm)
    assert granted.rate == pytest.approx(10.0 * grows)


def test_what_is_refused_by_turns_is_a_rate_once_some_of_it_is_granted() -> None:
    """Else it may be about those calls: as many jobs that are refused each time, and were not asked again yet."""
    assert min(played("......xx" * 30)) == math.inf
    assert min(played("......xx" * 15 + "o.....xx" * 15)) < math.inf


def test_what_is_refused_while_all_are_says_nothing_of_who_is_refused() -> None:
    """Those that ask again in the dead part of a minute have nobody beside them; then few are refused."""
    assert played("x" * 5 + "X" * 60 + ("." * 40 + "x") * 4, rate=10.0)[-1] < math.inf


def test_those_that_are_sent_again_one_after_the_other_are_no_dead_time() -> None:
    """Beside one that takes its time, a slot asks for one that is always refused, and again for those before it."""
    granted, taken = Granted(0.0), 0
    for turn in range(60):
        began = 2.0 * turn
        for again in range(5):
            sent = Sent(began + 0.4 * again + 0.1, taken + again + 2, is_retry=again > 0)
            granted.refused(sent, taken + again + 2, sent.at + 0.01, sent.at + 0.01, words="")
        taken += 6
        granted.granted(began, taken, began + 2.0)
    assert granted.rate == math.inf


def test_a_rate_is_dropped_when_only_what_was_refused_is_refused_again() -> None:
    """Also where no other call is refused any more, and where they made us so slow that few are asked."""
    assert played(".......X" * 30, rate=10.0)[-1] == math.inf
    assert played(".X" * 6, rate=0.2, every=10.0)[-1] == math.inf


def test_half_a_minute_in_which_only_these_were_asked_is_no_dead_one() -> None:
    """What a model was asked for first is refused each time, and then others are asked, and granted."""
    assert min(played("xxx" + "X" * 27 + ".X.X.x.X.X.X.x.X" * 3, every=1.0)) == math.inf


@pytest.mark.parametrize(("share", "is_learnt"), [(0.5, False), (0.75, True)])
def test_nobody_refuses_three_of_four_by_lot(share: float, is_learnt: bool) -> None:  # noqa: FBT001 - a table
    """As a bucket does that is asked for far too much: so that is taken for a rate, however mixed."""
    dice = random.Random(3)
    fates = "".join("x" if dice.random() < share else dice.choice(".o") for _ in range(160))
    assert (min(played(fates)) < math.inf) is is_learnt
