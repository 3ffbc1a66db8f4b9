"""Holds the choice among servers, and among groups of calls, on a clock of plain numbers."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from support.virtualrun import (
    BAD,
    CRASH,
    HOSTED,
    LATE,
    NATIVE,
    NATIVE_TOO,
    NO_KEY,
    NO_MODEL,
    NO_SOCKETS,
    NO_VECTORS,
    ODD,
    OTHER,
    REFUSED,
    SICK,
    Run,
    call,
    calls,
    throttle,
)
from support.virtualworld import Box, World

from batcher.failures import Exit
from batcher.policy.judge import Verdict
from batcher.policy.loading import REST
from batcher.policy.pace.pacing import Pacing
from batcher.policy.steps import Done, Send, Wait

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batcher.failures import Failure
    from batcher.model import Call


def where(run: Run) -> str:
    """The server of the next call."""
    step = run.scheduler.next(run.now)
    assert isinstance(step, Send), step
    run.sent.append(step.call)
    return step.endpoint.root


# several servers


def test_the_least_loaded_server_comes_first() -> None:
    """Servers fill in step, by the share of what each is allowed."""
    run = Run.of(calls(12), HOSTED, OTHER, limit=4)
    assert Counter(where(run) for _ in range(4)) == {HOSTED.root: 2, OTHER.root: 2}
    for one in [one for one in run.sent if one.server == OTHER.root]:
        run.end(one)
    assert [where(run) for _ in range(2)] == [OTHER.root] * 2


def test_a_retry_prefers_another_server_and_does_not_wait_for_one() -> None:
    """It goes where it has not failed, if there is a slot; else where it has."""
    run = Run.of(calls(1), HOSTED, OTHER)
    one = run.send()
    for _ in range(3):
        before = one.server
        run.end(one, ODD)
        run.send_when_due()
        assert one.server != before
    run = Run.of(calls(9), HOSTED, OTHER)
    first, second = run.send(), run.send()
    before = first.server
    run.end(first, ODD)
    run.now += 1.0
    assert (run.send(), first.server) == (first, before)
    assert second.server != before


def test_what_one_server_refuses_to_take_goes_to_the_other_at_once() -> None:
    """A connection refused, or a wait that is asked of a call, costs nothing while another server is well."""
    for failure, others in ((REFUSED, 4), (throttle(100.0), 1)):
        run = Run.of(calls(4), HOSTED, OTHER, limit=4)
        one = run.send()
        assert run.end(one, failure) is Verdict.PARKED
        assert [where(run) for _ in range(others)] == [OTHER.root] * others
        assert run.sent[1] is one
        assert one.waited == 0.0
        if failure is not REFUSED:
            run.end(one, throttle(100.0))
            run.fill()
            assert one not in run.sent[2:]


def test_a_key_that_one_server_refuses_takes_only_that_server_out() -> None:
    """No job is lost for it, and what is served elsewhere is; the run ends with the refusal when no server is left."""
    work = calls(99)
    run = Run.of(work, HOSTED, OTHER, limit=2).drain(lambda one: NO_KEY if one.server == HOSTED.root else None)
    assert {one.server for one in work} == {OTHER.root}
    assert run.scheduler.pending == 0
    run = Run.of(calls(99), HOSTED, OTHER).drain(lambda _: NO_KEY)
    assert run.scheduler.stop_failure is not None
    assert run.scheduler.stop_failure.exit is Exit.REFUSED
    assert run.scheduler.pending == len(set(run.sent)) < 30


def test_a_model_that_one_server_lacks_is_served_by_the_other() -> None:
    """It is pending only when no server has it; others are served by both."""
    work = [call(n, model="abc"[n % 3]) for n in range(30)]
    lacks = {HOSTED.root: "ac", OTHER.root: "bc"}
    run = Run.of(work, HOSTED, OTHER, limit=2)
    run.drain(lambda one: NO_MODEL if (one.model or "") in lacks[one.server] else None)
    assert {(one.model, one.server) for one in work[::3]} == {("a", OTHER.root)}
    assert {(one.model, one.server) for one in work[1::3]} == {("b", HOSTED.root)}
    assert len(run.sent) <= 20 + 3 * 10
    assert run.scheduler.pending == 10
    assert [name for _, name in run.scheduler.refused] == ["c"]


def test_a_model_that_cannot_embed_can_still_chat() -> None:
    """Ollama's 501 is about the model on that path alone; so are the jobs that stay pending."""
    paths = ("/api/embed", "/api/chat")
    work = [call(n, model="ab"[n // 2 % 2], path=paths[n % 2]) for n in range(20)]
    run = Run.of(work, NATIVE)
    run.drain(lambda one: NO_VECTORS if one.path == "/api/embed" and one.model == "a" else None)
    assert run.scheduler.pending == 5
    assert [name for _, name in run.scheduler.refused] == ["a at /api/embed"]
    assert {(one.model, one.path) for one in run.sent[3:]} >= {
        ("a", "/api/chat"),
        ("b", "/api/chat"),
        ("b", "/api/embed"),
    }


def test_want_of_sockets_lowers_what_is_sent_and_ends_the_run_in_the_end() -> None:
    """What was in flight is as much as goes, and grows again; with no success for as long as patience, exit 4."""
    run = Run.of(calls(40), limit=8, patience=60.0)
    flying = [run.send() for _ in range(8)]
    run.end(flying.pop(), NO_SOCKETS)
    assert run.fill() == 0
    run.end(flying.pop())
    assert run.fill() == 2
    run = Run.of(calls(4), patience=60.0)
    verdict = Verdict.PARKED
    while verdict is Verdict.PARKED:
        verdict = run.end(run.send_when_due(), NO_SOCKETS)
    assert run.now == pytest.approx(61.0)
    assert run.scheduler.stop_failure is not None
    assert run.scheduler.stop_failure.exit is Exit.STOPPED


def test_retries_take_no_more_than_half_of_the_slots_while_there_is_anything_new() -> None:
    """What comes again does not crowd out what comes first; with nothing new it has them all."""
    run = Run.of(calls(12), limit=8)
    for one in [run.send() for _ in range(8)]:
        run.end(one, ODD)
    run.now += 1.0
    assert run.fill() == 8
    assert sum(one.sent > 0 for one in run.sent[8:]) == 4
    assert sum(one.sent == 0 for one in run.sent[8:]) == 4
    for one in run.sent[8:]:
        run.end(one)
    assert run.fill() == 4


def test_a_suspect_is_asked_alone() -> None:
    """Nothing else is in flight there when it is sent, and nothing else is sent until it ended."""
    work = calls(60)
    run = Run.of(work, limit=4)
    alone: list[int] = []

    def fate(one: Call, _dice: object) -> Failure | None:
        if one is work[9]:
            alone.append(len(run.lane.in_flight))
        return None

    box = Box(takes=1.0, poison={work[9]}, fate=fate)
    world = World(run, box).play()
    assert world.codes[work[9]] == "crashes_server"
    assert alone[-3:] == [1, 1, 1]
    assert world.ended == 59


def test_a_success_between_wants_of_sockets_renews_patience() -> None:
    """Who lacks something now and then is at work."""
    run = Run.of(calls(40), patience=60.0)
    for _ in range(9):
        assert run.end(run.send_when_due(), NO_SOCKETS) is Verdict.PARKED
        run.now += 20.0
        run.end(run.send_when_due())
    assert not run.scheduler.stopped


def test_a_retry_does_not_go_where_it_would_have_to_wait() -> None:
    """Another server is preferred only if it can take it now: not without allowance, nor kept for a suspect."""
    for reason in ("allowance", "suspect"):
        run = Run.of(calls(9), HOSTED, OTHER, limit=1)
        here, there = run.scheduler.lanes
        one = run.send()
        assert one.server == HOSTED.root
        if reason == "allowance":
            there.pacing = Pacing(rpm=1.0)
            there.pacing.take(call(99), run.now)
        else:
            suspect = call(98)
            suspect.server, suspect.sent = OTHER.root, 1
            run.scheduler.suspects.line.append(suspect)
        run.end(one, SICK)
        run.now += 1.0
        step = run.scheduler.next(run.now)
        while isinstance(step, Send) and step.call is not one:
            step = run.scheduler.next(run.now)
        assert isinstance(step, Send)
        assert one.server == HOSTED.root
        assert here.in_flight


# groups


def alternating(count: int, models: str = "ab") -> list[Call]:
    return [call(n, model=models[n % len(models)]) for n in range(count)]


def test_ollama_loads_each_model_once_a_window() -> None:
    """Two models in turn, on a server that keeps one: a fifth of the loads at most, and nobody is forgotten."""
    as_is = sum(a.group != b.group for a, b in zip(alternating(4000), alternating(4000)[1:], strict=False))
    box = Box(NATIVE, load_s=20.0)
    world = World(Run.of(alternating(4000), NATIVE, limit=4), box).play()
    assert world.ended == 4000
    assert box.loads * 5 <= as_is
    assert box.loads <= 2 * 4000 / 1000 + 2


def test_a_retry_waits_for_its_group() -> None:
    """One call in ten fails, and no model is loaded for a straggler's sake until its turn comes."""
    box = Box(NATIVE, load_s=20.0, fate=lambda _, dice: ODD if dice.random() < 0.1 else None)
    world = World(Run.of(alternating(3000), NATIVE, limit=4, retries=9), box).play()
    assert world.ended == 3000
    assert box.loads <= 2 * 3000 / 1000 + 6


def test_a_rare_model_has_its_turn_after_a_window() -> None:
    """One call of another model waits for no more than a window of those that came after it."""
    work = [call(n, model="rare" if n == 5 else "m") for n in range(400)]
    run = Run.of(work, NATIVE, window=50).drain()
    assert run.sent.index(work[5]) == 5 + 50
    assert [one for one in run.sent if one is not work[5]] == [one for one in work if one is not work[5]]


def test_with_one_group_nothing_is_read_ahead() -> None:
    """What is not sent is not read, whatever the servers do."""
    read = 0

    def work() -> list[Call]:
        nonlocal read
        read += 1
        return [call(read)]

    run = Run.of((one for _ in range(100) for one in work()), NATIVE, limit=1)
    for sent in range(1, 20):
        run.end(run.send(), CRASH if sent == 3 else None)
        run.now += 10.0
        assert read == len(set(run.sent))


def test_two_servers_take_a_group_each() -> None:
    """With as many groups as servers, each model is loaded once."""
    boxes = Box(NATIVE, load_s=20.0), Box(NATIVE_TOO, load_s=20.0)
    world = World(Run.of(alternating(1000), NATIVE, NATIVE_TOO, limit=4), *boxes).play()
    assert world.ended == 1000
    assert [box.loads for box in boxes] <= [2, 2]


def test_a_model_is_loaded_by_one_call_before_the_others() -> None:
    """The first content, or the end, of the first call lets the others go; its failure lets the next one try."""
    run = Run.of(calls(20), NATIVE, limit=4)
    first = run.send()
    assert run.waits() == math.inf
    run.end(first, ODD)
    second = run.send()
    assert run.waits() < math.inf
    run.scheduler.answering(second, run.now)
    assert run.fill() == 3
    assert Run.of(calls(20), HOSTED, limit=4).fill() == 4


def loading(run: Run, failure: Failure | None = None, after: float = 0.1) -> bool:
    """Send a call, let it end so, and say whether it told how long its model is to stay."""
    one = run.send_when_due()
    told = one.loads
    run.end(one, failure, after)
    return told


def test_how_long_a_model_stays_is_said_when_it_may_have_to_be_loaded() -> None:
    """With the first call of a group, until one has an answer, and after a rest; never with one beside it."""
    run = Run.of([call(n, model="b" if n >= 12 else "a") for n in range(16)], NATIVE, limit=2)
    assert loading(run, BAD)  # a mistake of the job's: nothing was loaded
    assert [loading(run) for _ in range(3)] == [True, False, False]
    run.now += REST
    first = run.send()
    assert run.send().loads is False
    assert first.loads
    run.end(first)
    run.now += REST
    assert not run.send().loads  # something is in flight
    for one in list(run.lane.in_flight):
        run.end(one)
    assert [loading(run) for _ in range(5)] == [False] * 5
    assert [loading(run) for _ in range(2)] == [True, False]  # the other model


def test_a_call_that_told_it_once_does_not_tell_it_again() -> None:
    """A retry is said anew: without it, unless it is one that may load the model."""
    run = Run.of(calls(3), NATIVE, limit=1)
    first = run.send()
    run.end(first, LATE, 0.1)
    assert not loading(run)
    assert run.send_when_due() is first
    assert not first.loads


def test_a_retry_beside_another_call_tells_nothing() -> None:
    """Though it did when it was sent first, and there was a rest since."""
    run = Run.of(calls(3), NATIVE, limit=2)
    first = run.send()
    run.end(first, LATE, 0.1)
    run.scheduler.answering(run.send(), run.now)
    run.now += REST
    assert run.send() is first
    assert not first.loads


def test_a_server_that_broke_down_is_told_again() -> None:
    """It died under all that were in flight."""
    run = Run.of(calls(6), NATIVE, limit=2)
    assert loading(run)
    assert run.fill() == 2
    for one in list(run.lane.in_flight):
        run.end(one, CRASH)
    assert loading(run)


def test_a_server_that_was_away_is_told_again() -> None:
    """It may have started anew."""
    run = Run.of(calls(6), NATIVE, limit=1)
    assert [loading(run) for _ in range(2)] == [True, False]
    assert not loading(run, REFUSED)
    assert [loading(run) for _ in range(2)] == [True, False]
    hosted = Run.of(calls(2), HOSTED, limit=1)
    assert not loading(hosted)


def test_a_model_whose_allowance_is_used_lets_others_pass() -> None:
    """Hosted: calls of another model go while one waits for its minute; with one model nothing is read ahead."""
    work = [call(n, model="b" if n == 3 else "a") for n in range(6)]
    run = Run.of(work, HOSTED, limit=4, rpm=60.0)
    assert run.fill() == 1
    run.now += 0.5
    step = run.scheduler.next(run.now)
    assert isinstance(step, Wait)
    assert run.now < step.until < 1.1
    assert len(list(run.scheduler.backlog.intake)) == 4


def test_calls_of_another_model_pass_one_that_waits_for_its_allowance() -> None:
    """Once two models are met, each goes at its own pace, in order."""
    work = [call(n, model="ab"[n % 2]) for n in range(40)]
    run = Run.of(work, HOSTED, limit=64, rpm=60.0)
    run.drain()
    assert len(run.sent) == 40
    assert run.now == pytest.approx(19 * 60.0 / 58.5, rel=0.1)
    assert [one for one in run.sent if one.model == "a"] == work[::2]
    assert sum(one.waited for one in work) > 0


def test_nothing_is_kept_of_calls_that_waited_for_their_turn() -> None:
    """A retry that looks for another server asks for its allowance there, and leaves no trace of having asked."""
    work: list[Call] = calls(2000)
    failed: set[Call] = set()

    def fate(one: Call) -> Failure | None:
        if one.jobs[0].seq % 5 or one in failed:
            return None
        failed.add(one)
        return SICK

    run = Run.of(iter(work), HOSTED, OTHER, limit=4, rpm=600.0).drain(fate)
    assert len(failed) == 400
    assert not run.scheduler._dispatch.openings.paced


def test_calls_are_made_a_stretch_at_a_time() -> None:
    """What was made and not sent counts as read, goes first, and is given back when the run stops."""
    made = 0

    def work() -> Iterator[Call]:
        nonlocal made
        for number in range(10):
            made += 1
            yield call(number)

    run = Run.of(work(), HOSTED, stretch=4)
    for place, ahead in enumerate((4, 4, 4, 4, 8)):
        one = run.send()
        assert (one.jobs[0].seq, made) == (place, ahead)
        run.end(one)
    assert not run.scheduler.exhausted
    run.scheduler.stop()
    assert run.scheduler.pending == 3


def test_a_stretch_ends_where_nothing_has_arrived_yet() -> None:
    """Nobody waits for a stretch to be full."""
    run = Run.of(iter([call(0), None, None, call(1)]), HOSTED, stretch=4)
    assert run.send().jobs[0].seq == 0
    run.end(run.sent[-1])
    assert run.scheduler.next(run.now) == Wait(math.inf)
    assert run.send().jobs[0].seq == 1
    run.end(run.sent[-1])
    assert run.scheduler.next(run.now) == Done()


def test_what_is_kept_back_for_a_rate_says_until_when() -> None:
    """Who watches the run tells of it."""
    run = Run.of(calls(200), limit=64, rpm=60.0)
    assert run.lane.paced_until == -math.inf
    sent = run.fill()
    assert 0 < sent < 64
    assert run.lane.paced_until == run.waits() > run.now
    run.now = run.waits()
    before = run.lane.paced_until
    assert run.fill()
    assert run.lane.paced_until > before
