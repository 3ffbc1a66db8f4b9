"""Holds the engine to exact counts, over real sockets, for every fault that a server can have."""

from __future__ import annotations

from dataclasses import replace
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from support.enginerun import PATHS, engine_for, job, results_of, until

from batcher.exchange.timeouts import Timeouts
from batcher.failures import Exit, FailureClass, OutputError
from batcher.model import Api, Endpoint, Job, Kind
from batcher.policy.evidence import SEVERAL
from batcher.policy.judge import ALIKE
from batcher.simulator import Simulator, text

if TYPE_CHECKING:
    from batcher.outcome import Result

pytestmark = pytest.mark.anyio

SHORT = Timeouts(first_token=0.15, idle=0.15, total=20.0)


TRANSIENT = [
    ("truncate after=3", "truncated"),
    ("cut after=3", "cut"),
    ("reset after=3", "cut"),
    ("error_line after=3", None),
    ("runner_stopped", "server_crash"),
    ("html502", "http_502"),
    ("empty200", None),
    ("json_error200", None),
    ("close_before", "disconnected"),
    ("reset_before", "disconnected"),
]
"""What may go well next time, and the code with which it ends when it does not."""


@pytest.mark.parametrize("fault", [fault for fault, _ in TRANSIENT])
@pytest.mark.parametrize(("api", "kind"), PATHS)
async def test_a_passing_fault_is_overcome(simulator: Simulator, api: Api, kind: Kind, fault: str) -> None:
    """Two faults and then an answer: three requests, one result, nothing of the halves in it.

    The first time that a connection closes without a byte is no attempt.
    """
    async with engine_for(
        [job(1, f"do={fault} times=2", kind=kind), job(2, kind=kind)], simulator.url, api=api
    ) as engine:
        results = await results_of(engine)
    assert (results["j1"].text, results["j2"].text) == (text("j1"), text("j2"))
    assert (results["j1"].failure, results["j1"].attempts) == (None, 2 if "_before" in fault else 3)
    assert simulator.counts == {"j1": 3, "j2": 1}


@pytest.mark.parametrize(("fault", "code"), TRANSIENT)
async def test_a_lasting_fault_fails_after_its_attempts(simulator: Simulator, fault: str, code: str | None) -> None:
    """With two retries there are three requests, and one more if the connection closed without a byte.

    One at a time: with others in flight it may go once more, until these tell whose fault it is.
    """
    async with engine_for([job(1, f"do={fault}"), job(2)], simulator.url, limit=1) as engine:
        results = await results_of(engine)
    failure = results["j1"].failure
    assert failure is not None
    assert results["j2"].ok
    assert failure.kind is FailureClass.TRANSIENT
    assert code is None or failure.code == code
    assert (results["j1"].attempts, simulator.counts["j1"]) == (3, 3 + (code == "disconnected"))


@pytest.mark.parametrize(
    ("directive", "code"),
    [("do=bad", "bad_request"), ("do=context_overflow", "context_overflow"), ("status=413", "too_large")],
)
async def test_a_permanent_failure_is_asked_once(simulator: Simulator, directive: str, code: str) -> None:
    """What cannot succeed is not paid for twice."""
    async with engine_for([job(1, directive), job(2)], simulator.url) as engine:
        results = await results_of(engine)
    failure = results["j1"].failure
    assert failure is not None
    assert (failure.code, simulator.counts["j1"]) == (code, 1)
    assert results["j2"].ok


@pytest.mark.parametrize("directive", ["do=throttled retry_after=0", "do=busy", "do=overloaded", "do=loading"])
async def test_a_throttle_uses_no_attempt(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch, directive: str
) -> None:
    """Refused five times with no retries allowed, the job still gets its answer."""
    monkeypatch.setattr("batcher.policy.lastlook.WAITS", (0.02, 0.1))
    async with engine_for([job(1, f"{directive} times=5"), job(2)], simulator.url, retries=0) as engine:
        results = await results_of(engine)
    assert all(result.ok for result in results.values())
    assert simulator.counts["j1"] == 6


async def test_partial_text_is_kept_in_the_failure(simulator: Simulator) -> None:
    """What had arrived before an answer broke off is there to be looked at, and is no result."""
    async with engine_for([job(1, "do=cut after=3 tokens=8")], simulator.url, retries=0) as engine:
        results = await results_of(engine)
    assert not results["j1"].ok
    assert results["j1"].text == text("j1", 3)


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("silent", "timeout_first_token"),
        ("stall after=2", "timeout_idle"),
        ("pings after=2", "timeout_idle"),
        ("pings after=0", "timeout_first_token"),
    ],
)
@pytest.mark.parametrize(("api", "kind"), PATHS)
async def test_a_server_that_goes_quiet_is_left(
    simulator: Simulator, api: Api, kind: Kind, fault: str, code: str
) -> None:
    """Silence ends in a failure named by its phase; pings are no content; the connection is closed."""
    async with engine_for(
        [job(1, f"do={fault}", kind=kind)], simulator.url, api=api, retries=1, timeouts=SHORT
    ) as engine:
        results = await results_of(engine)
    failure = results["j1"].failure
    assert failure is not None
    assert (failure.code, simulator.counts["j1"]) == (code, 2)
    await until(lambda: simulator.tally.aborted == 2)


@pytest.mark.parametrize("stream", [True, False])
async def test_the_total_time_is_bounded(simulator: Simulator, *, stream: bool) -> None:
    """An answer that never stops coming, and one that never starts, end at `--timeout`."""
    timeouts = Timeouts(first_token=9.0, idle=9.0, total=0.2)
    work = [job(1, "tokens=2000 delay=0.02"), job(2, "do=silent")]
    async with engine_for(work, simulator.url, retries=0, timeouts=timeouts, stream=stream) as engine:
        results = await results_of(engine)
    assert {result.failure.code for result in results.values() if result.failure} == {"timeout_total"}
    assert len(results) == 2


@pytest.mark.parametrize(
    "fault", ["keep_open", "extra_after_done", "comments", "crlf", "nospace", "slice", "gzip", "bom"]
)
@pytest.mark.parametrize(("api", "kind"), PATHS)
async def test_oddities_are_no_faults(
    simulator: Simulator, api: Api, kind: Kind, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same answer in other bytes, or with more after its end, is the same answer."""
    monkeypatch.setattr("batcher.exchange.workers.DRAIN", 0.05)
    timeouts = Timeouts(first_token=5.0, idle=5.0, total=0.4 * 8)
    async with engine_for([job(1, f"do={fault}", kind=kind)], simulator.url, api=api, timeouts=timeouts) as engine:
        results = await results_of(engine)
    assert (results["j1"].failure, results["j1"].text) == (None, text("j1"))
    assert simulator.counts["j1"] == 1


async def test_a_refused_key_leaves_the_rest_unsent(simulator: Simulator) -> None:
    """When several were answered 401, and none well, nothing more is sent: no result, no failure, all pending."""
    async with engine_for([job(n, "status=401") for n in range(50)], simulator.url) as engine:
        assert await results_of(engine) == {}
        failure = engine.scheduler.stop_failure
    assert failure is not None
    assert failure.exit is Exit.REFUSED
    assert len(simulator.counts) <= SEVERAL + 2
    assert sum(simulator.counts.values()) <= 2 * SEVERAL + 2


async def test_a_refused_key_is_read_again(simulator: Simulator) -> None:
    """A key that has been replaced meanwhile is taken for what was refused; nothing is counted for that."""
    renewed: list[Endpoint] = []

    def renew(endpoint: Endpoint) -> Endpoint | None:
        if renewed:
            return None
        renewed.append(endpoint)
        return replace(endpoint, headers={"Authorization": "Bearer another"})

    async with engine_for([job(1, "status=401 times=1"), job(2)], simulator.url, limit=1) as engine:
        engine.renew = renew
        results = await results_of(engine)
    assert (results["j1"].failure, results["j1"].attempts) == (None, 1)
    assert results["j2"].ok
    assert simulator.counts["j1"] == 2
    assert engine.scheduler.lanes[0].endpoint.headers == {"Authorization": "Bearer another"}


async def test_a_server_that_comes_back_is_waited_for(simulator: Simulator) -> None:
    """Away in mid-run, the server costs no job and no attempt: each job has its answer in the end."""
    work = [job(n, "tokens=2") for n in range(60)]
    outages = 0
    async with engine_for(work, simulator.url, limit=4, retries=4) as engine:
        results = {}
        async for batch in engine.batches():
            results.update({result.id: result for result in batch})
            if len(results) >= 20 and not outages:
                outages += 1
                await simulator.stop()
                await anyio.sleep(0.05)
                await simulator.start()
    assert len(results) == 60
    assert all(result.ok for result in results.values())


async def test_a_server_that_is_not_there_ends_the_run(simulator: Simulator) -> None:
    """Beyond its patience the run stops with exit 69 and everything pending."""
    await simulator.stop()
    async with engine_for([job(n) for n in range(9)], simulator.url, patience=0.3) as engine:
        assert await results_of(engine) == {}
        failure = engine.scheduler.stop_failure
    assert failure is not None
    assert (failure.exit, failure.code) == (Exit.UNAVAILABLE, "refused")


async def test_one_of_two_servers_that_dies_costs_only_time(simulator: Simulator) -> None:
    """Killed in mid-run and never back, it loses no job and no attempt; what it was at is asked of the other."""
    work = [job(n, "tokens=2 delay=0.002") for n in range(80)]
    async with Simulator() as other, engine_for(work, simulator.url, other.url, limit=4, retries=0) as engine:
        results = {}
        async for batch in engine.batches():
            results.update({result.id: result for result in batch})
            if len(results) >= 20 and simulator.tally.in_flight:
                await simulator.stop()
        asked = simulator.counts + other.counts
    assert len(results) == 80
    assert all(result.ok for result in results.values())
    assert {result.server for result in results.values()} == {simulator.url, other.url}
    assert sum(asked.values()) <= 80 + 4


@pytest.mark.parametrize("fault", ["crash", "runner_crash"])
async def test_a_job_that_kills_the_server_is_named(simulator: Simulator, fault: str) -> None:
    """Whatever it runs beside dies with it, and is answered; it fails alone."""
    work = [job(n, f"do={fault} after=1" if n == 3 else "tokens=3 delay=0.004") for n in range(30)]
    async with engine_for(work, simulator.url, limit=4, retries=1) as engine:
        results = await results_of(engine)
    failed = {name: result.failure.code for name, result in results.items() if result.failure}
    assert set(failed) == {"j3"}
    assert failed["j3"] in ("crashes_server", "server_crash", "disconnected")
    assert len(results) == 30


@pytest.mark.parametrize(("directive", "flag"), [("do=length", "length"), ("do=empty", "empty")])
async def test_doubtful_answers_are_flagged_or_failed(simulator: Simulator, directive: str, flag: str) -> None:
    """The same answer is a flagged result, or with `--fail-on` a failure that keeps the text; never asked twice."""
    for fail_on in (frozenset[str](), frozenset({flag})):
        async with engine_for([job(1, directive)], simulator.url, fail_on=fail_on) as engine:
            result = (await results_of(engine))["j1"]
        assert result.completion is not None
        assert result.completion.flags == [flag]
        assert (result.failure.code if result.failure else None) == (flag if fail_on else None)
    assert simulator.counts["j1"] == 2


BUGS: list[tuple[str, type[Exception]]] = [
    ("batcher.wire.dialects.reading.Reading.close", KeyError),
    ("batcher.exchange.answers.judge", ValueError),
    ("batcher.running.omissions.Omissions.served", AttributeError),
    ("batcher.exchange.dialogue.goes_on", LookupError),
    ("batcher.policy.scheduler.Scheduler.finished", AssertionError),
    ("batcher.policy.pace.pacing.Pacing.settle", OverflowError),
    ("batcher.policy.lane.Lane.served", ZeroDivisionError),
    ("batcher.policy.quota.RetryQuota.earn", TypeError),
    ("batcher.exchange.packing.results_of", RecursionError),
]
"""Where a bug may be met, from the request to the result."""


def breaks(monkeypatch: pytest.MonkeyPatch, where: str, error: Exception, times: int) -> None:
    """Have a function raise an error, so many times, where it is about the job `j1`, or a later one."""
    original, left = resolve_name(where), [error] * times

    def broken(*args: Any, **named: Any) -> Any:
        about = [getattr(one, "_call", one) for one in args]
        ids = [job.id for one in about for job in getattr(one, "jobs", (one,)) if isinstance(job, Job)]
        if left and ids and ids != ["j0"]:
            raise left.pop()
        return original(*args, **named)

    monkeypatch.setattr(where, broken)


@pytest.mark.parametrize(("where", "kind"), BUGS)
async def test_a_bug_that_one_answer_meets_costs_no_other(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch, where: str, kind: type[Exception]
) -> None:
    """Its job has failed, and the words say of what; nothing is in flight, alone, or loads a model for it any more."""
    breaks(monkeypatch, where, kind("oops"), 1)
    turn: list[Any] = [{"role": "user", "content": "[[sim id=again]]"}]
    jobs = [replace(job(n, kind=Kind.CHAT), turns=(turn,) if where.endswith("goes_on") else ()) for n in range(6)]
    async with engine_for(jobs, simulator.url) as engine:
        results = await results_of(engine)
    (failed,) = [one for one in results.values() if one.failure is not None]
    assert failed.failure is not None
    assert (failed.failure.code, failed.failure.kind) == ("internal", FailureClass.PERMANENT)
    assert failed.failure.message.startswith(f"{kind.__name__}: ")
    assert "(test_engine_faults.py:" in failed.failure.message
    assert len(results) == 6
    lane = engine.scheduler.lanes[0]
    assert (engine.scheduler.in_flight, lane.in_flight, lane.solitary, lane.again) == (0, {}, None, 0)
    assert lane.loading.loader is None


@pytest.mark.parametrize(("error", "times"), [(KeyError("oops"), ALIKE), (OutputError("no room"), 1)])
async def test_what_every_answer_meets_and_what_is_no_bug_end_the_run(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch, error: Exception, times: int
) -> None:
    """Else a whole input would be paid for, and none of it answered."""
    breaks(monkeypatch, "batcher.running.omissions.Omissions.served", error, times)
    seen: list[Result] = []

    async def run() -> None:
        async with engine_for([job(n, "tokens=1") for n in range(60)], simulator.url) as engine:
            async for batch in engine.batches():
                seen.extend(batch)

    with pytest.raises(ExceptionGroup) as raised:
        await run()
    assert raised.group_contains(type(error), match="oops|no room")
    assert len(seen) <= times


@pytest.mark.parametrize("do", ["cut after=3", "reset after=3", "truncate after=3"])
async def test_a_bug_in_what_is_kept_of_a_broken_answer(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch, do: str
) -> None:
    """It may have been whole, and is closed to see that."""
    monkeypatch.setattr("batcher.wire.dialects.reading.Reading.may_be_whole", True)
    breaks(monkeypatch, "batcher.wire.dialects.reading.Reading.close", KeyError("oops"), 9)
    async with engine_for([job(0), job(1, f"do={do}"), job(2, "tokens=2")], simulator.url, limit=1) as engine:
        results = await results_of(engine)
    assert {name: one.failure and one.failure.code for name, one in results.items()} == {
        "j0": None,
        "j1": "internal",
        "j2": "internal",
    }
