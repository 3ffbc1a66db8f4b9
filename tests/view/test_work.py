"""How an answer's pieces tell what the server does with more in flight."""

from __future__ import annotations

import pytest

from batcher.outcome import Completion, Result, ServerTimes, Timing
from batcher.view.work import FIRST, FIRST_LOOKS, Work


def answer(*arrivals: float, server: ServerTimes | None = None) -> Result:
    timing = Timing(started=0.0, finished=10.0, arrivals=list(arrivals))
    return Result(id="a", seq=0, completion=Completion(server=server), timing=timing)


def test_pieces_by_how_many_were_in_flight() -> None:
    """Ten a second while two were, one a second while eight were: the same answer tells both."""
    work = Work()
    work.flies(2, 0.0)
    work.flies(8, 1.0)
    work.add(answer(*(n / 10 for n in range(10)), *(1.0 + n for n in range(6))))
    low, high = work.levels[2], work.levels[4]
    assert (low.in_flight, high.in_flight) == (2, 8)
    assert low.speed == pytest.approx(10.0, rel=0.01)
    assert high.speed == pytest.approx(1.0, rel=0.01)


def test_in_little_memory() -> None:
    """However long a run is, the first looks and answers are all that is kept and looked at."""
    work = Work()
    for n in range(2 * FIRST_LOOKS):
        work.flies(3, float(n))
    for _ in range(2 * FIRST):
        work.add(answer(1.0, 2.0, 3.0))
    assert len(work.flights) == FIRST_LOOKS
    assert work.levels[2].pieces == 2 * FIRST


def test_what_the_server_tells() -> None:
    """Prompts as it says; the queue is what is left before the first token, without the loading of the model."""
    work = Work()
    work.add(answer(5.0, 6.0, server=ServerTimes(load_s=1.0, prompt_eval_s=1.5, eval_s=1.0)))
    assert (work.prompts, work.queue) == (1.5, 2.5)
    work.add(answer(server=ServerTimes(prompt_eval_s=2.0, eval_s=3.0)))
    assert (work.prompts, work.queue) == (3.5, 7.5)
    assert work.levels == {}
    work.add(Result(id="a", seq=0))
