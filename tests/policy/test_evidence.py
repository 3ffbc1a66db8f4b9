"""Holds the evidence of whose fault a failure is to its numbers, and the gate and the last look that follow from it."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from support.virtualrun import BAD, CRASH, LATE, NO_KEY, NO_SOCKETS, ODD, REFUSED, SICK, Run, call, calls, throttle

from batcher.failures import Failure, FailureClass
from batcher.policy.evidence import SEVERAL, WINDOW, Ending, Evidence, Fault, ending_of
from batcher.policy.judge import Verdict
from batcher.policy.lastlook import ROOM, LastLook
from batcher.policy.retry import RetryPolicy
from batcher.policy.service import ASKING, Service
from batcher.policy.setback import Setback

if TYPE_CHECKING:
    from batcher.model import Call


def votes(failed: int, served: int) -> Evidence:
    evidence = Evidence()
    for _ in range(served):
        evidence.served()
    for _ in range(failed):
        evidence.fails(Ending.FAILED)
    return evidence


@pytest.mark.parametrize(
    ("failed", "served", "fault"),
    [
        (0, 0, Fault.OPEN),
        (2, 0, Fault.OPEN),
        (3, 0, Fault.SERVER),
        (1, 2, Fault.CALL),
        (2, 1, Fault.OPEN),
        (2, 2, Fault.CALL),
        (3, 2, Fault.OPEN),
        (4, 1, Fault.SERVER),
        (12, 4, Fault.OPEN),
        (13, 3, Fault.SERVER),
        (8, 8, Fault.CALL),
        (9, 7, Fault.OPEN),
        (13, 100, Fault.SERVER),
    ],
)
def test_whose_fault_it_is(failed: int, served: int, fault: Fault) -> None:
    """The server's where four fifths failed, the call's where half were served, of the last sixteen; three at least."""
    evidence = votes(failed, served)
    assert evidence.fault() is fault
    assert evidence.votes == min(WINDOW, failed + served)


@pytest.mark.parametrize(
    ("failed", "served", "unheard", "fault"),
    [
        (3, 0, 0, Fault.SERVER),
        (4, 0, 1, Fault.SERVER),
        (3, 0, 1, Fault.OPEN),
        (8, 0, 2, Fault.SERVER),
        (8, 0, 3, Fault.OPEN),
        (1, 2, 8, Fault.CALL),
        (12, 3, 1, Fault.OPEN),
    ],
)
def test_as_long_as_few_have_voted_who_has_no_answer_yet_may_speak_for_the_server(
    failed: int, served: int, unheard: int, fault: Fault
) -> None:
    """What fails does so in milliseconds, and answers take seconds: the first votes are those of what fails."""
    assert votes(failed, served).fault(unheard) is fault


@pytest.mark.parametrize("failure", [SICK, throttle(0.5), NO_KEY], ids=lambda one: one.code)
@pytest.mark.parametrize(("before", "is_held"), [(0.0, False), (-0.01, False), (0.01, True)])
def test_what_was_sent_with_the_first_that_failed_is_waited_for(failure: Failure, before: float, is_held: bool) -> None:  # noqa: FBT001 - a column of the table
    """Three that fail at once close no gate while others are on their way; who was sent later has no say."""
    run = Run.of(calls(20), limit=8)
    bad = [run.send() for _ in range(3)]
    run.now += before
    assert run.fill() == 5
    run.now = 0.02
    for one in bad:
        run.end(one, failure)
    assert run.lane.offer.service(bad[0]).is_held is is_held


def test_who_cannot_vote_is_not_waited_for() -> None:
    """Neither what asks for something else, nor what was sent before."""
    again, *others = [call(number, model="x" if number > 3 else "m") for number in range(8)]
    run = Run.of([again, *others], limit=8)
    again.sent = 1
    run.fill()
    for one in others[:3]:
        run.end(one, SICK)
    assert run.lane.offer.service(again).is_held


def test_where_as_many_have_voted_as_are_remembered_nobody_is_waited_for() -> None:
    run = Run.of(calls(80), limit=32)
    for _ in range(WINDOW):
        run.end(run.send())
    run.now = 1.0
    run.fill()
    flying = list(run.lane.in_flight)
    for one in flying[:13]:
        run.end(one, SICK)
    assert run.lane.offer.service(flying[0]).is_held


def test_those_who_are_waited_for_may_end_without_a_vote() -> None:
    """Then the gate closes with the next that fails, also if that is a retry."""
    run = Run.of(calls(4), limit=4, retries=20)
    *bad, other = [run.send() for _ in range(4)]
    for one in bad:
        run.end(one, throttle(0.5))
    run.end(other, NO_SOCKETS)
    service = run.lane.offer.service(other)
    assert not service.is_held
    run.now += 2.0
    one = run.send()
    assert one in bad
    run.end(one, throttle(0.5))
    assert service.is_held


@pytest.mark.parametrize(
    ("refused", "failed", "served", "is_all"),
    [(7, 0, 0, False), (8, 0, 0, True), (8, 1, 0, False), (9, 1, 0, True), (14, 0, 2, False), (15, 0, 1, True)],
)
def test_what_is_refused_for_all(refused: int, failed: int, served: int, is_all: bool) -> None:  # noqa: FBT001 - a column of the table
    """Several, and nearly all of those remembered, have to be refused for good: that ends a run."""
    evidence = votes(failed, served)
    for _ in range(refused):
        evidence.fails(Ending.REFUSED)
    assert evidence.is_refusal_of_all() is is_all


@pytest.mark.parametrize(("refused", "unheard", "is_all"), [(8, 1, True), (8, 2, False), (16, 2, True), (16, 3, False)])
def test_who_has_no_answer_yet_may_speak_against_it(refused: int, unheard: int, is_all: bool) -> None:  # noqa: FBT001 - a column of the table
    """A key is refused in milliseconds, and answers take seconds: the first votes are those of the refused."""
    evidence = votes(0, 0)
    for _ in range(refused):
        evidence.fails(Ending.REFUSED)
    assert evidence.is_refusal_of_all(unheard) is is_all


@pytest.mark.parametrize(
    ("failure", "ending"),
    [
        (BAD, Ending.SERVED),
        (ODD, Ending.SERVED),
        (SICK, Ending.FAILED),
        (throttle(), Ending.FAILED),
        (NO_KEY, Ending.REFUSED),
        (REFUSED, Ending.NOTHING),
    ],
)
def test_how_an_attempt_ended(failure: Failure, ending: Ending) -> None:
    """What is about the job, or what the model wrote, shows a server that is well; who is not there shows nothing."""
    assert ending_of(failure) is ending


def test_retries_do_not_vote() -> None:
    """One call that fails again and again is one vote."""
    run = Run.of(calls(9), limit=4, retries=20)
    first, *others = [run.send() for _ in range(4)]
    for one in others:
        run.end(one)
    run.end(first, SICK)
    for _ in range(9):
        one = run.send_when_due()
        run.end(one, SICK if one is first else None)
    evidence = run.lane.offer.service(first).evidence
    assert evidence.failed.bit_count() == 1


class Still(random.Random):
    """Dice that fall on the least."""

    def uniform(self, a: float, b: float) -> float:  # noqa: ARG002 - the signature is that of the dice
        return a


def failing(failure: Failure, *, times: int = 3, now: float = 0.0, served_before: bool = False) -> Service:
    service = Service()
    if served_before:
        service.served(-10.0, is_first=True)
        service.evidence = Evidence()
    for number in range(times):
        service.failed(Setback(call(number), failure, now, now), RetryPolicy(), Still())
    return service


@pytest.mark.parametrize(
    ("served", "broken", "votes"), [(0, 2, 0), (4, 3, 4), (20, 5, WINDOW - 5), (0, WINDOW, 0), (4, WINDOW + 4, 0)]
)
def test_what_broke_off_as_the_server_went_down_takes_its_votes_back(served: int, broken: int, votes: int) -> None:
    """As many as are remembered: hundreds may break off at once."""
    service = Service()
    for _ in range(served):
        service.served(0.0, is_first=True)
    for number in range(broken):
        service.failed(Setback(call(number), CRASH, 0.0, 1.0), RetryPolicy(), Still())
    service.goes_down(1.0)
    assert service.evidence.votes == votes
    assert service.evidence.failed == 0


def test_the_gate_closes_for_as_long_as_the_server_says_and_a_second_call_asks_a_second_later() -> None:
    """One probe a gate; of those who refuse at once another goes after a second, until one is heard."""
    service = failing(throttle(7.0))
    assert service.opens() == 7.0
    probe = call(9)
    service.sends(probe, 7.0)
    assert service.opens() == 7.0 + ASKING
    service.heard(6.0 - 7.0)
    assert service.is_held
    service.heard(7.0)
    assert not service.is_held
    assert service.evidence.fault() is Fault.OPEN


def test_one_that_refuses_in_the_midst_of_answers_must_do_better_than_begin_one() -> None:
    """Else each beginning would open its gate, and it would be asked for ever; one that is whole opens it."""
    service = failing(throttle(7.0))
    service.failed(Setback(call(8), throttle(7.0), 5.0, 6.0, has_begun=True), RetryPolicy(), Still())
    service.sends(call(9), 20.0)
    service.heard(20.0)
    assert service.is_held
    assert service.gives_up(service.since + service.patience + 1)
    service.served(20.0, is_first=True)
    assert not service.is_held
    service.failed(Setback(call(10), throttle(7.0), 30.0, 31.0), RetryPolicy(), Still())
    assert service.since == 30.0
    service.heard(30.0)
    assert not service.gives_up(1e9)


def test_a_failing_server_must_do_better_than_begin_to_answer() -> None:
    """While a probe of it is out nothing else goes, and only an answer that is whole opens the gate."""
    service = failing(SICK, served_before=True)
    assert service.opens() == pytest.approx(1.6)
    service.sends(call(9), 2.0)
    assert service.opens() == float("inf")
    service.heard(2.0)
    assert service.is_held
    service.served(2.0, is_first=True)
    assert not service.is_held


@pytest.mark.parametrize("failure", [SICK, LATE], ids=lambda one: one.code)
@pytest.mark.parametrize(("served_before", "gates"), [(True, [1.6, 3.2, 6.4, 12.8]), (False, [0.2, 0.4, 0.8, 0.8])])
def test_gates_of_a_failing_server_grow_once_it_has_served(
    served_before: bool,  # noqa: FBT001 - a column of the table
    gates: list[float],
    failure: Failure,
) -> None:
    """Before that it is asked often: whether it ever serves is to be known soon."""
    service, now, seen = failing(failure, served_before=served_before), 0.0, []
    for _ in gates:
        seen.append(service.opens() - now)
        now = service.opens()
        probe = call(9)
        probe.sent = 1
        service.sends(probe, now)
        service.failed(Setback(probe, failure, now, now), RetryPolicy(), Still())
    assert seen == pytest.approx(gates)


@pytest.mark.parametrize(
    ("failure", "served_before", "lasts"),
    [
        (SICK, False, 15.0),
        (SICK, True, 3600.0),
        (throttle(1.0), False, 3600.0),
        (Failure(FailureClass.TRANSIENT, "timeout_first_token", ""), False, 3600.0),
    ],
)
def test_how_long_it_may_fail(failure: Failure, served_before: bool, lasts: float) -> None:  # noqa: FBT001 - a column of the table
    """Failures from the start are believed soon; refusals, silence, and what has served before are waited for."""
    service = failing(failure, served_before=served_before)
    assert not service.gives_up(lasts - 1.5)
    assert service.gives_up(lasts + 0.5)


def test_what_the_server_took_before_it_failed_proves_nothing() -> None:
    """Answers to calls from before the failures neither open the gate nor count for the server."""
    service = failing(throttle(), now=10.0)
    for _ in range(20):
        service.served(9.0, is_first=True)
    assert service.is_held
    service.served(10.0, is_first=True)
    assert not service.is_held


def test_the_last_look() -> None:
    """Rounds go on while one is served, then at 1, 2, 4 … s; after so many in vain, and 15 s, all fail."""
    look = LastLook(retries=4)
    work = calls(3)
    for each in work:
        each.sent = 5
        assert look.keep(each, ROOM)
    now, begins, failed = 100.0, [], 0
    while look.waiting:
        look.begin(now)
        if now < look.opens < float("inf"):
            now = look.opens
            look.begin(now)
        begins.append(now)
        while (one := look.take(lambda _: True)) is not None:
            if one is work[0] and len(begins) == 1:
                look.served(one)
            elif look.refused(one, throttle(), now, 3600.0):
                failed += 1
            else:
                assert look.keep(one, ROOM)
    assert failed == 2
    assert [after - before for before, after in pairwise(begins)] == [1.0, 1.0, 2.0, 4.0, 8.0]
    assert look.kept == 0


def played(look: LastLook, one: Call, rounds: int) -> tuple[float, bool]:
    """So many rounds more in vain with one call: when the last began, and whether it fails with that."""
    now, is_over = 0.0, False
    for _ in range(rounds):
        look.begin(now)
        now = max(now, look.opens) if look.opens < float("inf") else now
        look.begin(now)
        assert look.take(lambda _: True) is one
        is_over = look.refused(one, throttle(), now, 3600.0)
        assert look.keep(one, ROOM)
    return now, is_over


def test_rounds_in_vain_may_be_as_many_as_were_asked_for() -> None:
    """Each 16 s after the one before it, a thousand and more."""
    look, one = LastLook(retries=2000), call()
    assert look.keep(one, ROOM)
    assert played(look, one, 1100) == (1 + 2 + 4 + 8 + 16 * 1095, False)


@pytest.mark.parametrize(("sent", "is_over"), [(1, False), (4, False), (5, True), (6, True)])
def test_in_the_last_look_none_fails_that_was_not_sent_as_often_as_it_may_be(sent: int, *, is_over: bool) -> None:
    """Whoever has come late has had its rounds in vain with others, and not its own tries."""
    look, one = LastLook(retries=4), call()
    one.sent = sent
    assert look.keep(one, ROOM)
    assert played(look, one, 7)[1] is is_over


def test_a_wait_that_is_longer_than_patience_is_not_waited_for() -> None:
    """In the last look it is the last word."""
    look = LastLook()
    assert look.refused(call(), throttle(7200.0), 0.0, 3600.0)
    assert not look.refused(call(), throttle(10.0), 0.0, 3600.0)


def test_a_server_that_fails_everything_from_the_start_ends_the_run_soon() -> None:
    """Nothing fails for it, whether few jobs or many: exit 69 after the first patience, with what the server said."""
    for jobs, limit in ((3, 8), (5, 8), (200, 8), (200, 1)):
        run = Run.of(calls(jobs), limit=limit).drain(lambda _: SICK)
        assert run.scheduler.stop_failure is not None
        assert run.scheduler.stop_failure.message == SICK.message
        assert 15.0 <= run.now < 30.0
        assert len(set(run.sent)) <= run.scheduler.pending <= len(set(run.sent)) + 1  # one is read ahead


def test_one_of_two_models_is_told_to_wait_for_hours() -> None:
    """The other one is served, and the run ends with what the first one was told, which stays pending."""
    work = [call(n, model="ab"[n % 2]) for n in range(60)]
    run = Run.of(work, limit=8).drain(lambda one: throttle(7200.0) if one.model == "a" else None)
    assert run.now < 5.0
    assert run.scheduler.pending == 30
    [(_, name)] = run.scheduler.refused
    assert name == "a"
    run = Run.of(work, limit=8)
    ended = [run.end(one) for one in [run.send() for _ in range(8)]]
    assert set(ended) == {Verdict.ENDED}
    assert len(ended) >= SEVERAL


def test_what_was_refused_has_all_its_tries_left() -> None:
    """Refusals send a job to the end of the input, failures fail it: neither uses up what the other has."""
    work = calls(60)
    fates = iter([throttle(0.1), throttle(0.1), SICK, SICK])
    run = Run.of(work, limit=2, retries=2).drain(lambda one: next(fates, None) if one is work[20] else None)
    assert run.sent.count(work[20]) == 5
    assert (work[20].refused, work[20].counted) == (2, 2)


def test_what_nearly_always_went_well_is_held_and_let_go_as_anything_else() -> None:
    """Sixteen served and thirteen failed: one more that is served opens the gate, and then each is looked at again."""
    run = Run.of(calls(60))
    for _ in range(WINDOW):
        run.end(run.send())
    service = run.lane.offer.service(run.sent[0])
    assert not run.lane.offer.is_troubled
    for _ in range(40):
        run.end(run.send_when_due(), SICK)
        if service.is_held:
            break
    assert service.is_held
    assert run.waits() > run.now
    run.now = run.waits()
    probe = run.send()
    assert service.probe is probe
    assert run.waits() > run.now
    run.end(probe)
    assert not service.is_held
    assert not run.lane.offer.is_troubled


def test_a_first_content_shows_that_a_server_is_back() -> None:
    """The others go at once, and do not wait for the end of that answer."""
    run = Run.of(calls(20), limit=8)
    run.end(run.send())
    run.end(run.send(), REFUSED)
    probe = run.send_when_due()
    assert run.waits() > run.now
    run.scheduler.answering(probe, run.now)
    assert not run.lane.breaker.is_down
    assert run.fill() > 0
