"""How much of an allowance is used, and how much is refused, against servers that keep to their limits strictly."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from support.ratelimits import Bucket, Figures, ScheduledWorld, Server, Several, Sliding, Traffic, Windows, World

from batcher.policy.pace.pacing import Pacing

USED, REFUSED = 0.95, 0.01
"""The least part of the allowance to be used after warm-up, and the largest part of requests to be refused."""
WHOLE = Traffic(most=500)
SLOW = Traffic(speed=10, in_flight=2000)


def played(server: Server, pacing: Pacing, traffic: Traffic | None = None, seconds: float = 300.0) -> Figures:
    return World(server, pacing, traffic or Traffic()).run(seconds)


@pytest.mark.parametrize("rpm", [10, 60, 300, 600])
def test_requests_under_a_sliding_window(rpm: float) -> None:
    """No minute, wherever it begins, sees more than the limit, and nearly all of it is used."""
    figures = played(Sliding(rpm), Pacing(rpm))
    assert figures.requests >= USED * rpm
    assert figures.refused <= REFUSED


@pytest.mark.parametrize("rpm", [60, 300, 600])
def test_requests_under_a_limit_by_the_second(rpm: float) -> None:
    """As above, where no second may see more than its share either, and what is refused counts."""
    figures = played(Several((Sliding(rpm), Sliding(rpm, window=1.0))), Pacing(rpm))
    assert figures.requests >= USED * rpm
    assert figures.refused <= REFUSED


@pytest.mark.parametrize("jitter", [0.03, 0.1, 0.3])
def test_a_network_may_delay_requests_unevenly(jitter: float) -> None:
    """The margin covers what the network does to an even flow."""
    figures = played(Sliding(300), Pacing(300), replace(Traffic(), jitter=jitter))
    assert figures.requests >= USED * 300
    assert figures.refused <= REFUSED


@pytest.mark.parametrize("tpm", [100_000, 300_000])
def test_tokens_with_answers_of_very_different_lengths(tpm: float) -> None:
    """Prompts count when they come, answers when they are given: lognormal, unknown before."""
    figures = played(Sliding(tpm=tpm), Pacing(tpm=tpm), seconds=420.0)
    assert figures.tokens >= USED * tpm
    assert figures.refused <= REFUSED


@pytest.mark.parametrize("tpm", [100_000, 300_000])
def test_tokens_where_the_largest_answer_counts(tpm: float) -> None:
    """The server counts `max_tokens` when a request arrives and gives nothing back."""
    figures = played(Sliding(tpm=tpm), Pacing(tpm=tpm, in_full=True), WHOLE)
    assert figures.tokens >= USED * tpm
    assert figures.refused <= REFUSED


@pytest.mark.parametrize(("rpm", "tpm", "requests_bind"), [(300, 300_000, True), (600, 100_000, False)])
def test_requests_and_tokens(rpm: float, tpm: float, requests_bind: bool) -> None:  # noqa: FBT001 - a column of the table
    """Of two limits, the one that binds is used up."""
    figures = played(Sliding(rpm, tpm), Pacing(rpm, tpm), seconds=420.0)
    assert (figures.requests / rpm if requests_bind else figures.tokens / tpm) >= USED
    assert figures.refused <= REFUSED


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(
    ("rpm", "tpm", "traffic"),
    [(3000, None, Traffic()), (None, 1_000_000, Traffic()), (None, 300_000, SLOW)],
    ids=["rpm", "tpm", "tpm, slow answers"],
)
def test_long_runs(rpm: float | None, tpm: float | None, traffic: Traffic, seed: int) -> None:
    """The same figures over a quarter of an hour, at large limits, and where answers are known late."""
    server = Sliding(rpm or math.inf, tpm or math.inf)
    figures = World(server, Pacing(rpm, tpm), traffic, seed).run(900.0)
    assert figures.requests >= USED * (rpm or 0)
    assert figures.tokens >= USED * (tpm or 0)
    assert figures.refused <= REFUSED


FEW = Traffic(in_flight=32, speed=200)


@pytest.mark.parametrize(
    ("server", "pacing", "allowance", "refused"),
    [
        (Bucket(300), Pacing(), 300, 0.01),
        (Bucket(300), Pacing(rpm=600), 300, 0.01),
        (Bucket(14_400, period=86_400.0), Pacing(rpm=30), 30, 0.01),
        (Bucket(300, others=2.5), Pacing(), 150, 0.05),
        (Windows(60), Pacing(), 60, 0.03),
        (Windows(300), Pacing(), 300, 0.01),
        (Windows(300), Pacing(rpm=300), 300, 0.01),
        (Windows(300, tells_reset=False), Pacing(), 300, 0.1),
        (Windows(8, window=10.0, tells_reset=False), Pacing(), 40, 0.1),
    ],
    ids=["bucket", "ours twice too large", "a day's", "shared", "60", "300", "ours too", "no reset", "Azure"],
)
def test_what_the_server_says(server: Server, pacing: Pacing, allowance: float, refused: float) -> None:
    """Headers of every kind pace a run for which no limit, or a wrong one, was given."""
    figures = played(server, pacing, FEW, seconds=420.0)
    assert figures.requests >= USED * allowance
    assert figures.refused <= refused


@pytest.mark.parametrize(
    ("server", "pacing", "traffic", "requests", "tokens"),
    [
        (Sliding(300), Pacing(rpm=300), Traffic(), 300, 0),
        (Several((Sliding(300), Sliding(300, window=1.0))), Pacing(rpm=300), Traffic(), 300, 0),
        (Sliding(tpm=200_000), Pacing(tpm=200_000), Traffic(), 0, 200_000),
        (Sliding(tpm=100_000), Pacing(tpm=100_000), Traffic(), 0, 100_000),
        (Sliding(tpm=100_000), Pacing(tpm=100_000, in_full=True), WHOLE, 0, 100_000),
        (Bucket(300), Pacing(), FEW, 300, 0),
        (Windows(60), Pacing(), FEW, 60, 0),
    ],
    ids=["rpm", "rpm by the second", "tpm", "tpm, a job is 0.5 %", "tpm in full", "headers", "windows"],
)
def test_the_scheduler_keeps_to_it(
    server: Server, pacing: Pacing, traffic: Traffic, requests: float, tokens: float
) -> None:
    """The same figures with all that a scheduler does besides."""
    figures = ScheduledWorld(server, pacing, traffic).run(420.0)
    assert figures.requests >= USED * requests
    assert figures.tokens >= USED * tokens
    assert figures.refused <= REFUSED
