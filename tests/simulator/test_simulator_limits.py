"""The simulator's rate limits are kept to the letter, and told in every notation."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from math import inf
from typing import Any

import pytest
from support.rawhttp import CHAT, GENERATE, V1_CHAT, ask

from batcher.simulator import Settings, simulator_thread
from batcher.simulator.chance import PASSING, Chance
from batcher.simulator.limits import Limits, Window
from batcher.simulator.notation import HINTS, Hint, go_duration, hinted, reset
from batcher.simulator.refusals import RefusedError
from batcher.simulator.settings import checked, fault_share, number, seconds, share, whole

NEW_YEAR = 1_767_225_600.0


def test_a_window_slides() -> None:
    """What was taken counts for 60 s, to the second, and what is larger than the limit never fits."""
    window = Window(10)
    window.take(4, 0)
    window.take(5, 10)
    assert [window.left(now) for now in (10, 59, 60, 70)] == [1, 1, 5, 10]
    window = Window(10)
    window.take(4, 0)
    window.take(5, 10)
    assert [window.wait(amount, 20) for amount in (1, 2, 5, 6, 10, 11)] == [0, 40, 40, 50, 50, inf]
    assert window.whole(20) == 50


def refused(limits: Limits, tokens: int, now: float) -> dict[str, str]:
    with pytest.raises(RefusedError) as caught:
        limits.admit("m", tokens, now, NEW_YEAR + now, native=False)
    assert caught.value.reply.status == 429
    return {"words": caught.value.reply.body.decode()} | dict(caught.value.reply.headers)


def test_both_limits_hold_for_each_model() -> None:
    """The one that is reached first refuses, says how long, and another model has limits of its own."""
    limits = Limits(Settings(rpm=2, tpm=100))
    headers = dict(limits.admit("m", 60, 0, NEW_YEAR, native=False))
    assert headers["x-ratelimit-remaining-requests"] == "1"
    assert headers["x-ratelimit-remaining-tokens"] == "40"
    assert headers["x-ratelimit-reset-tokens"] == "1m0s"
    said = refused(limits, 50, 10)
    assert said["Retry-After"] == "50"
    assert "tokens per min (TPM): Limit 100, Used 60, Requested 50." in said["words"]
    assert "Requested 101." in (said := refused(limits, 101, 10))["words"]
    assert "Retry-After" not in said
    limits.admit("m", 40, 20, NEW_YEAR, native=False)
    assert "requests per min (RPM): Limit 2, Used 2" in refused(limits, 1, 30)["words"]
    limits.admit("other", 100, 30, NEW_YEAR, native=False)
    limits.admit("m", 60, 60, NEW_YEAR, native=False)


@pytest.mark.parametrize(("count_refused", "wait"), [(False, "30"), (True, "60")])
def test_refused_requests_may_count(count_refused: bool, wait: str) -> None:  # noqa: FBT001 - a table
    """Where they do, asking in vain keeps the door shut."""
    limits = Limits(Settings(rpm=1, count_refused=count_refused))
    limits.admit("m", 1, 0, NEW_YEAR, native=False)
    refused(limits, 1, 30)
    assert refused(limits, 1, 30)["Retry-After"] == wait


@pytest.mark.parametrize(
    ("kind", "hint"),
    [
        ("seconds", Hint((("Retry-After", "7"),))),
        ("date", Hint((("Retry-After", "Thu, 01 Jan 2026 00:00:07 GMT"),))),
        ("ms", Hint((("retry-after-ms", "6500"),))),
        ("body", Hint(words=" Please try again in 6.5s.")),
        (
            "metadata",
            Hint(extra={"metadata": {"headers": {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1767225606500"}}}),
        ),
        ("none", Hint()),
    ],
)
def test_hints_have_many_notations(kind: str, hint: Hint) -> None:
    """Each is written as the servers write it; whole seconds are rounded up, so that who obeys is not too early."""
    assert hinted(kind, 6.5, NEW_YEAR) == hint
    assert kind in HINTS


def test_resets_have_many_notations() -> None:
    """A number, a time of day, and Go's durations of any length."""
    assert [reset(kind, 7.66, NEW_YEAR) for kind in ("go", "plain", "iso", "epoch", "epoch-ms")] == [
        *("7.66s", "7.66", "2026-01-01T00:00:07.660Z", "1767225608", "1767225607660"),
    ]
    assert [go_duration(wait) for wait in (0.12, 1, 59.999, 360, 54000)] == ["120ms", "1s", "1m0s", "6m0s", "15h0m0s"]


@pytest.mark.parametrize("hint", HINTS)
def test_limits_show_on_the_wire(hint: str) -> None:
    """The third request of two a minute gets HTTP 429, counted by name; headers come with good answers too."""
    with simulator_thread(rpm=2, hint=hint) as sim:
        heard = [ask(sim, path, "x") for path in (GENERATE, V1_CHAT, CHAT)]
        assert [one.status for one in heard] == [200, 200, 429]
        assert sim.tally.refused == {"throttled": 1}
    with_headers = hint not in ("none", "body", "metadata")
    assert {"x-ratelimit-limit-requests" in one.headers for one in heard} == {with_headers}
    told = {name for name in heard[2].headers if name.startswith("retry-after")}
    assert told == {"seconds": {"retry-after"}, "date": {"retry-after"}, "ms": {"retry-after-ms"}}.get(hint, set())


def test_tokens_are_counted_as_they_are() -> None:
    """Prompt and answer together, as the usage says; a limited answer costs what it holds."""
    with simulator_thread(tpm=1000) as sim:
        usage = ask(sim, V1_CHAT, "[[sim tokens=30]]", max_tokens=20).json["usage"]
        heard = ask(sim, V1_CHAT, "x", stream=True)
    assert int(heard.headers["x-ratelimit-remaining-tokens"]) == 1000 - usage["total_tokens"] - 9


def test_a_wrong_clock_is_wrong_everywhere() -> None:
    """Date and hints are of one clock, so that their difference is right."""
    with simulator_thread(clock_off=86_400.0) as sim:
        headers = ask(sim, V1_CHAT, "[[sim do=throttled retry_after=60 hint=date]]").headers
    date, back = (parsedate_to_datetime(headers[name]).timestamp() for name in ("date", "retry-after"))
    assert date > time.time() + 86_000
    assert 59 <= back - date <= 61


def test_what_is_drawn_follows_from_the_seed() -> None:
    """The same seed gives each request of each job the same fate, whatever the order; a retry is drawn anew."""

    def fates(**more: Any) -> list[str]:
        chance = Chance(Settings(faults=(("503", 0.5), ("reset", 0.01)), **more))
        return [chance.fault(f"job {number}", nth) for number in range(500) for nth in (1, 2)]

    assert fates() == fates() != fates(seed=1)
    met = [words.split()[0] for words in fates() if words]
    assert 450 < met.count("status=503") < 550
    assert 1 < met.count("do=reset") < 30
    both = list(zip(fates()[::2], fates()[1::2], strict=True))
    assert {(bool(first), bool(second)) for first, second in both} == {
        (a, b) for a in (False, True) for b in (False, True)
    }
    every = Chance(Settings(fail=1.0))
    assert {every.fault(str(number), 1).split()[0] for number in range(500)} == {f"do={name}" for name in PASSING}


def test_lengths_are_lognormal() -> None:
    """Their mean is the one that was set, their spread is wide, and a job's length is always the same."""
    chance = Chance(Settings(tokens=200, sigma=1.0))
    lengths = [chance.tokens(f"job {number}") for number in range(4000)]
    assert 190 < sum(lengths) / 4000 < 210
    assert (min(lengths) < 20, max(lengths) > 2000) == (True, True)
    assert chance.tokens("job 7") == lengths[7]


def test_settings_are_read() -> None:
    """Durations, counts and shares are written as people write them, and nonsense is said so."""
    assert [seconds(text) for text in ("0.5", "250ms", "30s", "5m", "1h")] == [0.5, 0.25, 30, 300, 3600]
    assert [number(text) for text in ("500", "30k", "2M", "0.5")] == [500, 30_000, 2_000_000, 0.5]
    assert (share("2%"), share("0.02"), fault_share("503=50%")) == (0.02, 0.02, ("503", 0.5))
    wrong: list[tuple[Any, Any]] = [
        *(
            (seconds, "soon"),
            (number, "-1"),
            (whole, "0"),
            (share, "200%"),
            (fault_share, "503"),
            (fault_share, "no=1%"),
        ),
        (checked, {"fail": 0.6, "faults": [("503", 0.5)]}),
        (checked, {"down_every": 3.0, "down_for": 5.0}),
    ]
    for read, given in wrong:
        with pytest.raises(ValueError, match=r"\w"):
            read(given)
