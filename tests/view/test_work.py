"""How an answer's pieces tell what the server does with more in flight."""

from __future__ import annotations

import pytest

from batcher.outcome import Completion, Result, ServerTimes, Timing, Usage, by_call
from batcher.view.prices import prices_of
from batcher.view.record import record
from batcher.view.sums import Sums
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


@pytest.mark.parametrize("with_prices", [False, True])
def test_a_pack_is_counted_as_its_jobs_are(*, with_prices: bool) -> None:
    """The sums of results that came together are those of one after the other; what no server told is unpriced."""
    usages = [Usage(prompt_tokens=10), Usage(prompt_tokens=30), Usage(prompt_tokens=0), None]
    timing = Timing(started=1.0, finished=1.5, waited=0.25)
    results = [
        Result(
            id=f"t{place}",
            seq=place,
            path="/v1/embeddings",
            completion=Completion(vectors=[b""], usage=usages[place], flags=["input_truncated"]),
            timing=timing,
            attempts=3,
            server="http://127.0.0.1:1",
            pack=(place, 4),
        )
        for place in range(4)
    ]
    prices = prices_of(1e6, None, None) if with_prices else None
    together, apart = (Sums(started=0.0, finished=2.0, prices=prices) for _ in range(2))
    together.add_pack(results)
    for result in results:
        apart.add(result)
    assert record(together) == record(apart)
    assert (together.ok, together.attempts, together.prompt_tokens, together.waited) == (4, 3, 40, 1.0)
    assert (together.cost, together.unpriced) == ((40.0, 1) if with_prices else (None, 0))


def test_results_by_their_calls() -> None:
    """Packs stay together and apart from each other, with nothing lost between."""
    first, second, alone = Timing(), Timing(), Timing()
    results = [
        *(Result(id=f"a{n}", seq=n, timing=first, pack=(n, 3)) for n in range(3)),
        *(Result(id=f"b{n}", seq=n, timing=second, pack=(n, 2)) for n in range(2)),
        Result(id="c", seq=9, timing=alone),
        Result(id="d", seq=9, timing=alone),
    ]
    ids = [[result.id for result in together] for together in by_call(results)]
    assert ids == [["a0", "a1", "a2"], ["b0", "b1"], ["c"], ["d"]]
