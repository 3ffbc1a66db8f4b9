"""What a sample says of the rest: numbers in, words out."""

from __future__ import annotations

import random

import pytest

from batcher.outcome import Completion, Result, Timing, Usage
from batcher.running.estimate import Estimate, Spread
from batcher.view.prices import Price, Prices


def result(seconds: float, prompt: int = 10, completion: int = 5, model: str | None = None) -> Result:
    usage = Usage(prompt_tokens=prompt, completion_tokens=completion)
    timing = Timing(started=0.0, finished=seconds)
    return Result(id="a", seq=0, model=model, completion=Completion(usage=usage), timing=timing)


def test_the_mean_of_all_lies_between_the_bounds() -> None:
    """In nineteen of twenty samples, about: here of 300, at least nine tenths."""
    rng = random.Random(5)
    everything = [rng.lognormvariate(3, 1) for _ in range(10_000)]
    mean = sum(everything) / len(everything)
    hits = 0
    for _ in range(300):
        spread = Spread()
        for value in rng.sample(everything, 60):
            spread.add(value)
        low, high = spread.bounds()
        hits += low <= mean <= high
    assert 0.85 <= hits / 300 <= 0.99


def test_words_of_equal_rows() -> None:
    """Rows that all take the same leave a range in time alone: how busy the servers can be is not known."""
    estimate = Estimate()
    for _ in range(10):
        estimate.add(result(2.0))
    # ten rows of 2 s in 4 s of work: five at once; the servers may take eight
    assert estimate.words(3600, 4.0, 8) == (
        "estimate: 3,600 rows are left: 15m 00s to 24m 00s, 36,000 tokens in, 18,000 out (by 10 rows)"
    )


def test_ranges_widen_with_the_rows() -> None:
    """Tokens that differ are told with two digits from less to more; failures are counted beside."""
    estimate = Estimate()
    for number in range(8):
        estimate.add(result(1.0, completion=100 if number % 2 else 300))
    estimate.add(Result(id="b", seq=1))
    words = estimate.words(1000, 9.0, 1)
    assert "120,000 to 280,000 out" in words
    assert "(by 9 rows" in words


@pytest.mark.parametrize("added", [0, 1])
def test_nothing_or_one_row_says_little(added: int) -> None:
    """Without an answer there is no estimate, and one alone is as good as half or double."""
    estimate = Estimate()
    for _ in range(added):
        estimate.add(result(1.0))
    words = estimate.words(100, 1.0, 1)
    assert ("50.0 s" in words or "50 s" in words) if added else "nothing can be said" in words


@pytest.mark.parametrize(
    ("priced", "unpriced", "words"),
    [
        (10, 0, "cost 0.045,"),
        (0, 10, "cost unknown: no price for the tokens of dear"),
        (6, 4, "cost 0.027 and that of 4 in 10 rows, whose price is not known: dear"),
    ],
)
def test_money_is_told_by_prices(priced: int, unpriced: int, words: str) -> None:
    """Of the share of rows whose price is known; the others are named."""
    estimate = Estimate(prices=Prices({"cheap": Price(prompt=1.0, completion=0.5)}))
    for model, times in (("cheap", priced), ("dear", unpriced)):
        for _ in range(times):
            estimate.add(result(1.0, model=model))
    assert words.rstrip(",") in estimate.words(3600, 10.0, 1)


def test_money_of_packs_and_of_what_tells_no_tokens() -> None:
    """Each row of a pack has its part of the tokens; without any there is no price."""
    estimate = Estimate(prices=Prices(rest=Price(prompt=1000.0)))
    for place in range(4):
        packed = Completion(usage=Usage(prompt_tokens=1 + place % 2 * 2))
        timing = Timing(started=0.0, finished=1.0)
        estimate.add(Result("a", 0, path="/api/embed", completion=packed, timing=timing, pack=(place, 4)))
    assert estimate.cost.mean == pytest.approx(0.002)
    silent = Estimate(prices=Prices(rest=Price(prompt=1.0)))
    silent.add(Result(id="a", seq=0, completion=Completion(), timing=Timing(started=0.0, finished=1.0)))
    assert "cost unknown: no price for the tokens of a model without a name" in silent.words(5, 1.0, 1)
