"""What becomes of the last jobs of an input: nobody new is left to tell whose fault it is that they are not served.

Some a server hangs up on, some it tells to wait, again and again.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from support.virtualrun import CUT, GATEWAY, HOSTED, HUNG_UP, NATIVE, OTHER, SICK, Run, calls, throttle
from support.virtualworld import Box, World

from batcher.figures import span
from batcher.policy import history
from batcher.policy.breaker import LAST_S
from batcher.policy.judge import Verdict
from batcher.policy.lastlook import ROOM, LastLook

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from batcher.failures import Failure
    from batcher.model import Call, Endpoint

JOBS, LIMIT, TAKES = 40, 8, 0.3
BEGIN = (JOBS // LIMIT - 1) * TAKES - 0.01
"""Just before the last of them are sent."""


def _play(
    failure: Failure,
    until: float,
    *servers: Endpoint,
    begin: float = BEGIN,
    limit: int = LIMIT,
    bad: tuple[int, ...] = (),
    retries: int = 4,
) -> World:
    """A server that fails all that is sent between two times so, and `bad` ones at any."""
    servers = servers or (HOSTED,)
    run = Run.of(calls(JOBS), *servers, limit=limit, retries=retries, stretch=4)

    def fate(one: Call, _dice: random.Random) -> Failure | None:
        return failure if one.jobs[0].seq in bad or begin <= run.now < until else None

    boxes = [Box(servers[0], takes=TAKES, fate=fate), *(Box(other, takes=TAKES) for other in servers[1:])]
    return World(run, *boxes).play()


def _fates(world: World) -> dict[int, Verdict]:
    return {one.jobs[0].seq: verdict for one, verdict in world.verdicts.items()}


@pytest.mark.parametrize("server", [HOSTED, NATIVE], ids=lambda one: str(one.api))
@pytest.mark.parametrize("failure", [HUNG_UP, GATEWAY], ids=lambda one: one.code)
@pytest.mark.parametrize("away", [5.0, 60.0, 240.0])
def test_a_server_that_is_restarted_behind_a_proxy_costs_the_last_ones_nothing(
    failure: Failure, away: float, server: Endpoint
) -> None:
    """Connections are taken, and nobody is behind them: they wait, and are served when somebody is there again."""
    world = _play(failure, BEGIN + away, server)
    assert world.ended == JOBS
    assert world.run.now <= BEGIN + away + 15.0


@pytest.mark.parametrize("failure", [HUNG_UP, GATEWAY], ids=lambda one: one.code)
def test_a_server_that_never_comes_back_is_waited_for_some_minutes(failure: Failure) -> None:
    """Nobody is blamed: the run ends with what the server said, and the last ones stay pending."""
    world = _play(failure, math.inf)
    assert (world.ended, Verdict.FAILED in world.verdicts.values()) == (JOBS - LIMIT, False)
    assert world.run.scheduler.pending == LIMIT
    stop = world.run.scheduler.stop_failure
    assert stop is not None
    assert (stop.code, stop.exit) == (failure.code, 69)
    assert LAST_S <= world.run.now <= LAST_S + 15.0
    assert world.requests.total() <= JOBS + 3 * LIMIT + LAST_S / 3


@pytest.mark.parametrize("failure", [HUNG_UP, GATEWAY], ids=lambda one: one.code)
@pytest.mark.parametrize("bad", [(39,), (38, 39), (2, 7, 12, 17, 22, 27, 32, 37), (32, 33, 34, 35, 36, 37)])
def test_those_that_others_are_served_after_have_their_error_lines(bad: tuple[int, ...], failure: Failure) -> None:
    """The server was there when it hung up on them, however many they are."""
    world = _play(failure, -math.inf, bad=bad)
    fates = _fates(world)
    assert world.run.now <= 20.0
    assert fates == {seq: Verdict.FAILED if seq in bad else Verdict.ENDED for seq in range(JOBS)}


def test_two_are_too_few_to_say_that_a_server_is_gone() -> None:
    fates = _fates(_play(HUNG_UP, math.inf, begin=(JOBS // 2 - 1) * TAKES - 0.01, limit=2))
    assert [seq for seq, verdict in fates.items() if verdict is Verdict.FAILED] == [38, 39]


def test_two_servers_that_hang_up_on_one_each_are_too_few_as_well() -> None:
    run = Run.of(calls(JOBS), HOSTED, OTHER, limit=1, stretch=4)
    begin = (JOBS // 2 - 1) * TAKES - 0.01
    gone = [Box(one, takes=TAKES, fate=lambda *_: HUNG_UP if run.now >= begin else None) for one in (HOSTED, OTHER)]
    assert list(World(run, *gone).play().verdicts.values()).count(Verdict.FAILED) == 2


def test_one_that_waits_for_the_last_look_may_tell_yet() -> None:
    """Those that are hung up on have their tries: one that is asked after them is answered."""
    run = Run.of(calls(JOBS), limit=1, stretch=4)
    bad = {3: throttle(1.0), **dict.fromkeys(range(JOBS - 3, JOBS), HUNG_UP)}
    fates = _fates(World(run, Box(takes=TAKES, fate=lambda one, _: bad.get(one.jobs[0].seq))).play())
    assert {seq for seq, verdict in fates.items() if verdict is Verdict.FAILED} == set(bad)
    assert run.now <= 120.0


def test_where_new_ones_come_three_that_are_hung_up_on_show_nothing() -> None:
    """The next one may be served: nobody is waited for."""
    run = Run.of(calls(20), limit=3)
    for _ in range(3):
        run.end(run.send())
    for _ in range(2):
        run.fill()
        for one in list(run.lane.in_flight):
            run.end(one, HUNG_UP)
    assert not run.lane.breaker.is_down


def test_while_there_are_new_ones_a_server_may_be_away_for_longer() -> None:
    assert _play(HUNG_UP, 2 * LAST_S, begin=0.5).ended == JOBS


def test_one_that_is_served_again_shows_whose_fault_it_was() -> None:
    """Three of the last eight are hung up on each time, the server was away: five are served, three fail."""
    fates = _fates(_play(HUNG_UP, BEGIN + 30.0, bad=(33, 35, 37)))
    assert {seq for seq, verdict in fates.items() if verdict is Verdict.FAILED} == {33, 35, 37}


def test_another_server_takes_what_one_hangs_up_on() -> None:
    world = _play(HUNG_UP, math.inf, HOSTED, OTHER, begin=0.5)
    assert world.ended == JOBS
    assert world.run.now <= 10.0


@pytest.mark.parametrize("failure", [SICK, CUT], ids=lambda one: one.code)
def test_an_answer_that_fails_is_no_server_that_is_gone(failure: Failure) -> None:
    """Somebody is there, and fails the last ones as often as they are asked: nothing tells that from their fault."""
    world = _play(failure, math.inf)
    assert Verdict.FAILED in world.verdicts.values()
    assert world.run.now <= 60.0


def _ask(
    failure: Failure,
    until: float,
    *,
    begin: float = 0.5,
    jobs: int = 6,
    limit: int = 1,
    bad: tuple[int, ...] = (),
    retries: int = 4,
    is_proxy: bool = False,
) -> World:
    """As `_play`, where a server can be asked whether it is there; an `is_proxy` says so for itself."""
    run = Run.of(calls(jobs), limit=limit, retries=retries, stretch=4)
    run.scheduler.asks = True

    def fate(one: Call, _dice: random.Random) -> Failure | None:
        return failure if one.jobs[0].seq in bad or begin <= run.now < until else None

    def greets(now: float) -> bool:
        return is_proxy or not begin <= now < until

    return World(run, Box(takes=TAKES, fate=fate, greets=greets)).play()


@pytest.mark.parametrize("failure", [HUNG_UP, GATEWAY], ids=lambda one: one.code)
@pytest.mark.parametrize(
    ("left", "limit", "retries"),
    [(1, 1, 0), (1, 1, 4), (2, 2, 0), (2, 2, 1), (2, 1, 4), (4, 2, 1), (8, 8, 0), (8, 8, 4)],
)
@pytest.mark.parametrize("away", [5.0, 780.0, 3000.0])
def test_however_few_are_left_a_server_is_waited_for_of_which_nobody_answers(
    failure: Failure, left: int, limit: int, retries: int, away: float
) -> None:
    """Also where it was restarted three minutes before the end, and took ten."""
    begin = (40 - left) / limit * TAKES - 0.01
    world = _ask(failure, begin + away, begin=begin, jobs=40, limit=limit, retries=retries)
    assert world.ended == 40
    assert world.run.now <= begin + away + 15.0
    assert world.requests.total() <= 40 + 3 * left + 2
    assert world.greetings <= 8 + away / 3


@pytest.mark.parametrize("failure", [HUNG_UP, GATEWAY], ids=lambda one: one.code)
def test_nobody_is_blamed_where_nobody_answers_for_longer_than_patience(failure: Failure) -> None:
    world = _ask(failure, math.inf, begin=5 * TAKES - 0.01)
    assert (world.ended, Verdict.FAILED in world.verdicts.values()) == (5, False)
    stop = world.run.scheduler.stop_failure
    assert stop is not None
    assert (stop.code, stop.exit) == (failure.code, 69)
    assert 3600.0 <= world.run.now <= 3700.0


@pytest.mark.parametrize("retries", [0, 4])
@pytest.mark.parametrize("limit", [1, 2, 8])
@pytest.mark.parametrize("bad", [(39,), (38, 39), (37, 38, 39), (0, 39), (32, 33, 34, 35, 36, 37, 38, 39)])
def test_the_last_ones_that_a_server_hangs_up_on_which_is_there_have_their_error_lines(
    bad: tuple[int, ...], limit: int, retries: int
) -> None:
    """It says that it is there after each of them: so it is they who are at fault, however many they are."""
    world = _ask(HUNG_UP, -math.inf, jobs=40, limit=limit, bad=bad, retries=retries)
    assert _fates(world) == {seq: Verdict.FAILED if seq in bad else Verdict.ENDED for seq in range(40)}
    assert world.run.now <= 40 * TAKES + 60.0
    assert max(world.requests.values()) <= 20


@pytest.mark.parametrize("left", [1, 2, 3])
def test_a_proxy_that_answers_for_itself_shows_nothing_where_several_are_left(left: int) -> None:
    """One or two have their tries. Three and more are waited with for five minutes, and nobody is blamed."""
    begin = (40 - left) * TAKES - 0.01
    world = _ask(GATEWAY, math.inf, begin=begin, jobs=40, is_proxy=True)
    failed = list(world.verdicts.values()).count(Verdict.FAILED)
    assert failed == (left if left < 3 else 0)
    assert world.run.now <= begin + (60.0 if left < 3 else LAST_S + 15.0)


def _tell(hint: float, bad: tuple[int, ...] = (0,), jobs: int = 31, patience: float = 3600.0, limit: int = 8) -> World:
    """Some jobs are told to wait for so long each time, the others are served."""
    run = Run.of(calls(jobs), limit=limit, stretch=4, patience=patience)
    box = Box(takes=0.02, fate=lambda one, _: throttle(hint) if one.jobs[0].seq in bad else None)
    return World(run, box).play()


@pytest.mark.parametrize("bad", [(0,), (17,), (30,), tuple(range(2, 31, 5))])
@pytest.mark.parametrize("hint", [1.0, 5.0, 14.0, 15.0, 30.0, 600.0, 3600.0])
def test_who_is_told_to_wait_each_time_is_waited_for_once(hint: float, bad: tuple[int, ...]) -> None:
    """As long as the server asks, and then half a minute: not for so long in each of ten rounds."""
    world = _tell(hint, bad)
    assert _fates(world) == {seq: Verdict.FAILED if seq in bad else Verdict.ENDED for seq in range(31)}
    assert world.run.now <= 1.1 * min(hint, 100.0) + max(hint - 100.0, 0.0) + 35.0
    for one in world.verdicts:
        if one.jobs[0].seq in bad:
            assert world.words[one].startswith(f"wait; it asks to wait {span(hint)}, each of the ")
            assert f" the {world.requests[one]} times " in world.words[one]


def test_what_is_longer_than_patience_is_said() -> None:
    """Nobody waits for it: the error line says what was asked for, and why that was not done."""
    world = _tell(7200.0)
    [words] = filter(None, world.words.values())
    assert words == "wait; it asks to wait 2h 00m, which is longer than --max-wait, and has served others"
    assert world.run.now <= 5.0


def test_waits_add_up_to_no_more_than_patience() -> None:
    """Waits that grow shorter are waited for one after the other, but not for ever."""
    hints = iter([300.0, 140.0, 65.0, 30.0, 14.0, 6.0, 3.0, 1.0] * 9)
    run = Run.of(calls(31), limit=8, stretch=4, patience=400.0)
    box = Box(takes=0.02, fate=lambda one, _: throttle(next(hints)) if one.jobs[0].seq == 3 else None)
    assert World(run, box).play().ended == 30
    assert run.now <= 480.0


@pytest.mark.parametrize("window", [20.0, 60.0])
@pytest.mark.parametrize("told", [math.floor, math.ceil, float], ids=lambda one: one.__name__)
def test_a_limit_by_the_minute_that_is_over_soon_is_waited_for(told: Callable[[float], float], window: float) -> None:
    """The last two of 31 come in its next minute, also where its clock or its rounding is behind."""
    run = Run.of(calls(31), limit=8, stretch=4)
    left = {0: 29, 1: 29}

    def fate(_one: Call, _dice: random.Random) -> Failure | None:
        minute = int(run.now >= window + 1.5)
        if left.get(minute, 0):
            left[minute] -= 1
            return None
        return throttle(max(0.0, told(window - run.now)))

    world = World(run, Box(takes=TAKES, fate=fate)).play()
    assert world.ended == 31
    assert run.now <= window + 15.0


def test_one_that_has_to_wait_keeps_none_back_in_the_last_look() -> None:
    """The others are asked meanwhile; it is, when its time has come."""
    look, [long, short] = LastLook(), calls(2)
    history.told_to_wait(long, 600.0, 0.0, 0.0, 3600.0)
    history.told_to_wait(short, 2.0, 0.0, 0.0, 3600.0)
    asked: list[tuple[float, Call]] = []
    now = 0.0
    assert look.keep(long, ROOM)
    assert look.keep(short, ROOM)
    while look.waiting:
        look.begin(now)
        if now < look.opens < math.inf:
            now = look.opens
            continue
        while (one := look.take(lambda _: True)) is not None:
            look.served(one)
            asked.append((now, one))
    assert asked == [(2.0, short), (600.0, long)]


@pytest.mark.parametrize(
    ("told", "owed"),
    [
        ([(0, 0, 30), (31, 31, 30)], [True, False]),  # it was for nothing once
        ([(0, 0, 30), (31, 31, 12)], [True, True]),  # the end comes nearer
        ([(0, 0, 30), (10, 10, 12)], [True, True]),  # it was asked too early: that tells nothing
        ([(0, 0, 30), (10, 10, 30)], [True, True]),
        ([(0, 0, 5), (5, 5, 5), (10, 10, 5), (15, 15, 5)], [True, True, True, False]),
        ([(0, 0, 4000)], [False]),
        ([(0, 0, 3000), (3001, 3001, 700)], [True, False]),  # longer than patience altogether
        ([(0, 0, 0), (5, 5, 30)], [False, True]),  # nobody says how long
    ],
)
def test_what_is_asked_for_is_waited_in_full_until_it_was_for_nothing(
    told: list[tuple[float, float, float]], owed: list[bool]
) -> None:
    one = calls(1)[0]
    found = []
    for sent, now, hint in told:
        history.told_to_wait(one, hint, sent, now, 3600.0)
        found.append(history.rests_until(one) == now + hint and one.told.is_owed if one.told else False)
    assert found == owed
