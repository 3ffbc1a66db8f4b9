"""Holds the guard of growing answers to its figures, on a virtual clock: how slow is too slow, and what is cut off."""

from __future__ import annotations

import pytest

from batcher.exchange.guard import LOOK_EVERY, WINDOW, Guard, at_least
from batcher.exchange.timeouts import Timeouts, timed_out
from batcher.failures import AttemptError, Failure, FailureClass
from batcher.model import Call
from batcher.outcome import Choice, Completion, Timing

LIMITS = Timeouts(min_speed=0.2, runaway=False)


def fed(every: float, piece: str, *, timeouts: Timeouts = LIMITS, until: float = 600.0) -> tuple[float, Failure] | None:
    """When, in seconds after the first content, an answer of `piece` every so many seconds is broken off, and why."""
    completion, timing = Completion(choices={0: Choice()}), Timing()
    guard = Guard(completion, timing, timeouts)
    now = 1000.0
    while now <= 1000.0 + until:
        completion.choices[0].texts.append(piece)
        timing.arrivals.append(now)
        if now >= guard.due:
            try:
                guard.look(now)
            except AttemptError as error:
                return now - 1000.0, error.failure
        now += every
    return None


SPEEDS = [
    (0.05, "to", None),
    (4.9, "to", None),  # just above 0.2 tokens a second
    (5.1, "to", 122.4),  # the first look after the window
    (60.0, "x", 120.0),  # one token a minute
    (60.0, "x" * 100, None),  # a proxy that sends a minute's worth of text at a time
    (119.0, "x" * 200, None),
    (119.0, "x" * 90, 238.0),
    (5.5, "語", 121.0),
]


@pytest.mark.parametrize(("every", "piece", "ends"), SPEEDS)
def test_an_answer_that_crawls_is_left(every: float, piece: str, ends: float | None) -> None:
    """Below the least speed over a window, measured in arrivals or in characters, whichever are more."""
    broken = fed(every, f"{piece} ")
    if ends is None:
        assert broken is None
    else:
        assert broken is not None
        assert broken[0] == pytest.approx(ends)
        assert (broken[1].kind, broken[1].code) == (FailureClass.TRANSIENT, "too_slow")
        assert "--min-speed" in broken[1].message


def test_no_least_speed() -> None:
    """0 means that any speed will do."""
    assert fed(60.0, "x", timeouts=Timeouts(min_speed=0, runaway=False)) is None


def test_an_answer_that_slows_down_is_left() -> None:
    """Each window counts for itself: a quick beginning pays for nothing."""
    timing = Timing(arrivals=[0.0])
    guard = Guard(Completion(), timing, LIMITS)
    guard.look(0.0)
    timing.arrivals += [1.0] * 5000
    guard.look(WINDOW)
    timing.arrivals.append(WINDOW + 60)
    with pytest.raises(AttemptError, match="too_slow"):
        guard.look(2 * WINDOW)


def test_a_loop_is_cut_off() -> None:
    """Within a step of being one, it fails for good: the next answer would most probably end so too."""
    broken = fed(0.02, "ha ", timeouts=Timeouts())
    assert broken is not None
    assert 0.02 * 4096 / 3 < broken[0] < 0.02 * 4096 / 3 + 2 * LOOK_EVERY
    assert (broken[1].kind, broken[1].code) == (FailureClass.SUSPECT, "runaway")
    assert fed(0.02, "ha ", timeouts=Timeouts(runaway=False)) is None


@pytest.mark.parametrize(
    ("choices", "arrivals", "tokens"),
    [
        ({}, 3, 3),
        ({0: Choice(texts=["a"] * 5)}, 3, 5),
        ({0: Choice(texts=["a" * 40])}, 1, 10),
        ({0: Choice(thoughts=["a" * 40]), 1: Choice(texts=["a" * 40])}, 1, 20),
    ],
)
def test_tokens_are_never_fewer_than_counted(choices: dict[int, Choice], arrivals: int, tokens: float) -> None:
    """Whichever sign of them is the most."""
    assert at_least(Completion(choices=choices), Timing(arrivals=[0.0] * arrivals)) == tokens


def test_the_whole_time_is_given_twice() -> None:
    """An answer that takes longer than it may is asked for once more, and no third time; silence counts apart."""
    call = Call((), "/api/chat", b"", stream=True)
    phases = ["idle", "total", "first_token", "total"]
    failures = [timed_out(phase, Timeouts(), call) for phase in phases]
    assert [failure.code for failure in failures] == [f"timeout_{phase}" for phase in phases]
    assert [failure.kind for failure in failures] == [FailureClass.TRANSIENT] * 3 + [FailureClass.PERMANENT]
    assert all("--" in failure.message for failure in failures)
