"""Holds the size of packs to tables of numbers, and whole runs on a virtual clock to the best of a grid."""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

import pytest

from batcher.failures import Failure, FailureClass
from batcher.model import Call, Job, Kind
from batcher.outcome import Attempt, Completion, Timing, Usage
from batcher.policy.limit.concurrency import AdaptiveLimit
from batcher.policy.limit.fixed import FixedLimit
from batcher.policy.packs import LEAST, MOST_TEXTS, PATIENCE, PER_TEXT, ROUND, START, UNFILLED, FixedPacks, FoundPacks

if TYPE_CHECKING:
    from batcher.policy.limit.fixed import Limit
    from batcher.policy.packs import FoundSize, Packs

PATH = "/v1/embeddings"
TEXT = 136
"""Bytes of a text, with which it counts for 200."""


def pack(texts: int, size: int = TEXT) -> Call:
    jobs = tuple(Job(id=f"e{n}", seq=n, kind=Kind.EMBED, model="m") for n in range(texts))
    return Call(jobs, PATH, b"x" * (texts * size), stream=False, model="m")


def filled(size: FoundSize) -> Call:
    """As many texts as there is room for."""
    return pack(max(1, min(size.texts, int(size.work // (TEXT + PER_TEXT)))))


def answer(took: float, now: float) -> Attempt:
    return Attempt(Timing(started=now - took, finished=now), Completion(usage=Usage(100)))


def refusal(message: str, status: int = 422) -> Failure:
    return Failure(FailureClass.PERMANENT, "bad_request", message, status)


@dataclass
class Told:
    """Packs that are told of rounds, one after the other."""

    packs: FoundPacks = field(default_factory=FoundPacks)
    now: float = 0.0

    @property
    def size(self) -> FoundSize:
        return self.packs.size("m", PATH)

    def round(self, took: float, in_flight: int = 1, calls: int = ROUND) -> float:
        """Serve full packs that take so long, and return the work of the next."""
        for _ in range(calls):
            began, self.now = self.now, self.now + took
            attempt = Attempt(Timing(started=began, finished=self.now), Completion(usage=Usage(100)))
            self.packs.served(filled(self.size), attempt, in_flight, self.now)
        return self.size.work


def test_short_calls_grow_twofold_a_round_and_brief_ones_fourfold() -> None:
    told = Told()
    assert [told.round(0.1) for _ in range(3)] == [2 * START, 4 * START, 8 * START]
    told = Told()
    assert [told.round(seconds) for seconds in (0.02, 0.08)] == [4 * START, 8 * START]
    assert told.round(0.01) == 8 * START  # as many texts as may be
    assert not told.size.is_growing


@pytest.mark.parametrize(
    ("seconds", "levels"),
    [
        ([0.3, 0.4, 0.6, 0.9], [2, 4, 8, 8]),  # more a second each time, until there are as many texts as may be
        ([0.3, 0.6], [2, 2]),  # twice as much takes twice as long: nothing is gained
        ([1.5], [1]),  # long enough
        ([0.2, 0.6], [2, 1]),  # three times as long: worse than before
        ([9.0], [0.5]),
        ([9.0, 9.0, 9.0, 9.0, 9.0], [0.5, 0.25, 0.125, 0.0625, 0.0625]),
    ],
)
def test_longer_calls_grow_while_more_is_done(seconds: list[float], levels: list[float]) -> None:
    told = Told()
    assert [told.round(took) / START for took in seconds] == levels


def test_rounds_with_other_calls_in_flight_are_not_compared() -> None:
    """A call takes longer among more: that says nothing about its size."""
    told = Told()
    told.round(0.2, in_flight=1)
    assert told.round(0.6, in_flight=4) == 4 * START


def test_calls_from_before_a_change_say_nothing() -> None:
    told = Told()
    late = [pack(40) for _ in range(ROUND)]
    told.round(0.2)
    for call in late:
        told.packs.served(call, answer(5.0, told.now), 1, told.now)
    assert (told.size.work, told.size.is_growing) == (2 * START, True)


def test_a_trickle_ends_the_search() -> None:
    """Where packs are never full there is nothing to find out, and the limit need not wait for it."""
    told = Told()
    for n in range(UNFILLED):
        assert told.size.is_growing, n
        told.packs.served(pack(1), answer(0.01, float(n + 1)), 1, float(n + 1))
    assert not told.packs.is_growing(pack(1))
    assert told.size.work == START


@pytest.mark.parametrize(
    ("message", "texts"),
    [
        ("batch size 64 > maximum allowed batch size 32", 32),  # TEI
        ("BatchEmbedContentsRequest: at most 100 requests can be in one batch", MOST_TEXTS),  # more than were sent
        ("<400> InternalError: batch size is invalid, it should not be larger than 10.", 10),  # DashScope
        ("Too many inputs. The max number of inputs is 16. We hope to increase this soon.", 16),  # Azure, 2023
        ("List should have at most 25 items after validation, not 64", 25),  # pydantic
        ("invalid request: total number of texts must be at most 48 - received 64", 48),  # Cohere
        ("text 3 is bad", MOST_TEXTS),
        ("input[3] is too large", MOST_TEXTS),
        ("input 3 is too large", MOST_TEXTS),
        ("input too large: maximum of 50 bytes in a batch", MOST_TEXTS),
        ("item at index 3 is too large", MOST_TEXTS),
        ("Request body too large. Max 2 MB", MOST_TEXTS),
        ("input too large: maximum of 50 tokens in a batch", MOST_TEXTS),
        ("invalid model version 2.5", MOST_TEXTS),
    ],
)
def test_a_limit_that_is_named_is_kept_to(message: str, texts: int) -> None:
    packs = FoundPacks()
    whole = pack(64)
    packs.split(whole, (pack(32), pack(32)), refusal(message))
    assert packs.size("m", PATH).texts == texts
    assert packs.size("other", PATH).texts == MOST_TEXTS


def test_a_limit_that_is_named_is_the_only_one_that_is_learnt() -> None:
    """That halves are served then says nothing more: packs of few bytes would be far smaller than is allowed."""
    packs = FoundPacks()
    halves = pack(10), pack(10)
    packs.split(pack(20), halves, refusal("Too many inputs. The max number of inputs is 16."))
    for half in halves:
        packs.served(half, answer(0.01, 1.0), 1, 1.0)
    assert (packs.size("m", PATH).texts, packs.size("m", PATH).work) == (16, START)


def test_texts_are_too_many_where_so_little_cannot_be_too_much() -> None:
    """A server that takes one text only, and does not say so, is asked for one from then on."""
    packs = FoundPacks()
    halves = pack(1, 20), pack(1, 20)
    packs.split(pack(2, 20), halves, refusal("Input should be a valid string"))
    for half in halves:
        packs.served(half, answer(0.01, 1.0), 1, 1.0)
    assert packs.size("m", PATH).texts == 1


def test_halves_of_a_server_that_was_away_say_nothing() -> None:
    """The pack was split to find out; that the server is back does not make it too large."""
    packs = FoundPacks()
    halves = pack(10), pack(10)
    packs.split(pack(20), halves, Failure(FailureClass.TRANSIENT, "http_500", "boom", 500))
    for half in halves:
        packs.served(half, answer(0.01, 1.0), 1, 1.0)
    assert packs.size("m", PATH).work == START


def test_a_body_that_is_too_large_is_halved_for_good() -> None:
    told = Told()
    told.round(0.01)
    whole = filled(told.size)
    told.packs.split(whole, (pack(1), pack(1)), refusal("Request Entity Too Large", 413))
    most = told.size.work
    assert most == pytest.approx(len(whole.jobs) * (TEXT + PER_TEXT) / 2)
    for _ in range(2 * PATIENCE):
        told.round(0.01)
    assert told.size.work == most


def test_a_text_that_is_too_long_says_nothing_of_packs() -> None:
    """text-embeddings-inference says 413 for it as well: packs are not halved on the way to the one text."""
    told = Told()
    words = "`inputs` must have less than 512 tokens. Given: 600"
    failure = Failure(FailureClass.PERMANENT, "context_overflow", words, 413)
    told.packs.split(filled(told.size), (pack(1), pack(1)), failure)
    assert (told.size.work, told.size.texts) == (START, MOST_TEXTS)


def test_halves_that_are_both_served_tell_that_the_whole_was_too_large() -> None:
    """Without a word of what is allowed; it is tried again after a while, then after twice that."""
    told = Told()
    for patience in (PATIENCE, 2 * PATIENCE):
        whole, before = filled(told.size), told.size.work
        halves = pack(10), pack(10)
        told.packs.split(whole, halves, refusal("no"))
        for half in halves:
            assert told.size.work == before
            told.packs.served(half, answer(0.01, told.now + 1.0), 1, told.now + 1.0)
        least = told.size.work
        assert least == len(whole.jobs) * (TEXT + PER_TEXT) / 2
        for _ in range(patience - 1):
            assert told.round(0.01) == least
        told.round(0.01)
        assert told.size.work == 2 * least


@pytest.mark.parametrize("fate", ["failed", "split"])
def test_a_half_that_fails_too_says_nothing_about_size(fate: str) -> None:
    """Then it is a text in it that is bad."""
    told = Told()
    halves = pack(10), pack(10)
    told.packs.split(filled(told.size), halves, refusal("no"))
    told.packs.served(halves[0], answer(0.01, 1.0), 1, 1.0)
    if fate == "failed":
        told.packs.failed(halves[1])
    else:
        told.packs.split(halves[1], (pack(5), pack(5)), refusal("no"))
    assert told.size.work == START


def test_what_is_refused_never_leaves_less_than_a_text() -> None:
    told = Told()
    for _ in range(20):
        told.packs.split(pack(2, 1), (pack(1, 1), pack(1, 1)), refusal("too large", 413))
    assert told.size.work == LEAST


@dataclass
class Simulated:
    """A server on a virtual clock: `slots` work on texts, one each; `each` seconds go by beside that for a request."""

    slots: int
    text_s: float
    each: float

    def rate(self, packs: Packs, limit: Limit, seconds: float = 60.0) -> float:
        """Texts a second, of equal length, in the second half of so many seconds."""
        order, done, events = count(), 0, list[tuple[float, int, str, Call]]()
        sent: dict[Call, tuple[float, int]] = {}
        waiting: deque[Call] = deque()
        busy, now = 0, 0.0
        while now < seconds:
            while len(sent) < limit.allowed:
                size = packs.size("m", PATH)
                call = pack(max(1, min(size.texts, int(min(size.work, 1e6) // (TEXT + PER_TEXT)))))
                sent[call] = now, len(call.jobs)
                heapq.heappush(events, (now + self.each, next(order), "arrives", call))
            now, _, what, call = heapq.heappop(events)
            if what == "arrives":
                waiting.extend([call] * len(call.jobs))
            else:
                busy -= 1
                done += now > seconds / 2
                began, left = sent[call]
                sent[call] = began, left - 1
                if left == 1:
                    attempt = answer(now - began, now)
                    attempt.completion = Completion(usage=Usage(prompt_tokens=50 * len(call.jobs)))
                    if not packs.is_growing(call):
                        limit.finished(attempt, len(sent), now)
                    packs.served(call, attempt, len(sent), now)
                    del sent[call]
            while busy < self.slots and waiting:
                busy += 1
                heapq.heappush(events, (now + self.text_s, next(order), "text", waiting.popleft()))
        return done / (seconds / 2)

    def cold(self, packs: Packs, limit: Limit, texts: int) -> float:
        """Texts a second of so many, from the first request to the last answer, one request after the other."""
        left, now = texts, 0.0
        sent: deque[tuple[Call, float]] = deque()
        while sent or left:
            while left and len(sent) < limit.allowed:
                size = packs.size("m", PATH)
                sent.append((pack(max(1, min(size.texts, int(min(size.work, 1e6) // (TEXT + PER_TEXT)), left))), now))
                left -= len(sent[-1][0].jobs)
            call, began = sent[0]
            now += self.each + self.text_s * len(call.jobs)
            attempt = answer(now - began, now)
            if not packs.is_growing(call):
                limit.finished(attempt, len(sent), now)
            packs.served(call, attempt, len(sent), now)
            sent.popleft()
        return texts / now


@pytest.mark.parametrize("text_s", [0.001, 0.0003, 0.002])
def test_five_milliseconds_a_request_are_shared_from_the_start(text_s: float) -> None:
    """Of a few seconds' worth of texts, the finding out among them, beside fixed sizes: nothing else has a say."""
    server, texts = Simulated(1, text_s, 0.005), 3_000
    grid = {n: server.cold(FixedPacks(n), FixedLimit(2), texts) for n in (1, 8, 32, 128)}
    found = server.cold(FoundPacks(), AdaptiveLimit(), texts)
    assert found >= 0.95 * max(grid.values()), (found, grid)
    assert found >= 3 * grid[1], (found, grid)


@pytest.mark.parametrize(
    ("slots", "text_s", "each"),
    [(1, 0.002, 0.005), (1, 0.02, 0.005), (4, 0.01, 0.005), (4, 0.05, 0.0005), (16, 0.02, 0.05), (1, 0.002, 0.2)],
)
def test_it_comes_near_the_best_of_a_grid(slots: int, text_s: float, each: float) -> None:
    """Both are found out at once, the size of packs and how many are in flight, and neither takes the other in."""
    server = Simulated(slots, text_s, each)
    grid = {(n, c): server.rate(FixedPacks(n), FixedLimit(c), 8.0) for n in (1, 8, 32, 128) for c in (1, 4, 16)}
    found = server.rate(FoundPacks(), AdaptiveLimit())
    assert found >= 0.95 * max(grid.values()), (found, grid)
    alone = server.rate(FoundPacks(), FixedLimit(1))
    assert alone >= 0.95 * max(grid[n, 1] for n in (1, 8, 32, 128)), (alone, grid)
