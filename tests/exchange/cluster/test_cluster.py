"""Holds a run whose exchanges are made by workers elsewhere to the promises of one that makes its own."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn, cast

import pytest
from support.enginerun import PATHS, engine_for, job, results_of, until
from support.nearby import Nearby, cluster
from support.rawserver import answer, playing

from batcher.exchange import packing
from batcher.exchange.cluster import parcels
from batcher.failures import ConfigError, FailureClass, UnavailableError
from batcher.ledger.fallback import dump_anything
from batcher.model import Api, Endpoint, Kind
from batcher.policy.packs import FixedPacks
from batcher.simulator import text, vector

if TYPE_CHECKING:
    from batcher.exchange.cluster.cluster import Cluster
    from batcher.exchange.cluster.errand import Placement
    from batcher.exchange.cluster.link import Message
    from batcher.exchange.cluster.member import Member
    from batcher.outcome import Attempt
    from batcher.simulator import Simulator

pytestmark = pytest.mark.anyio


def members(of: Cluster) -> list[Member]:
    return list(of._crew)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(("api", "kind"), PATHS)
async def test_answers_arrive_whole(simulator: Simulator, api: Api, kind: Kind, *, stream: bool) -> None:
    """Each job gets the answer to its own prompt, sent once, with its times, tokens and proof."""
    jobs = [job(n, kind=kind) for n in range(20)]
    async with engine_for(jobs, simulator.url, api=api, stream=stream, exchanges=cluster(Nearby())) as engine:
        results = await results_of(engine)
    assert {name: result.text for name, result in results.items()} == {f"j{n}": text(f"j{n}") for n in range(20)}
    for result in results.values():
        assert (result.ok, result.attempts, simulator.counts[result.id]) == (True, 1, 1)
        assert result.completion is not None
        assert result.completion.proof
        assert result.completion.usage is not None
        timing = result.timing
        assert timing is not None
        assert (timing.ttft is not None) is stream
        assert timing.started <= (timing.arrivals or [timing.finished])[0] <= timing.finished


async def test_packs_and_doubts_are_those_of_one_process(simulator: Simulator) -> None:
    """Packed vectors go to their own jobs; answers are looked at for what is doubtful, with the jobs in sight."""
    jobs = [job(n, kind=Kind.EMBED) for n in range(9)]
    async with engine_for(jobs, simulator.url, pack=4, exchanges=cluster(Nearby())) as engine:
        results = await results_of(engine)
    for one in jobs:
        completion = results[one.id].completion
        assert completion is not None
        assert completion.vectors == [pytest.approx(vector(one.content))]

    jobs = [job(1, "say=none", params={"format": "json"}), job(2)]
    async with engine_for(jobs, simulator.url, exchanges=cluster(Nearby())) as engine:
        results = await results_of(engine)
    first, second = results["j1"].completion, results["j2"].completion
    assert first is not None
    assert second is not None
    assert ("invalid_json" in first.flags, "invalid_json" in second.flags) == (True, False)


async def test_the_work_is_shared(simulator: Simulator) -> None:
    """As many are in flight as one process would have, on all workers together, and each has some of them."""
    made = cluster(Nearby(), 3)
    jobs = [job(n, "tokens=5 delay=0.02") for n in range(60)]
    async with engine_for(jobs, simulator.url, limit=9, exchanges=made) as engine:
        await until(lambda: len(members(made)) == 3)
        results = await results_of(engine)
        assert all(member.has_served for member in members(made))
    assert len(results) == 60
    assert simulator.peak_in_flight <= 9


async def test_a_worker_that_dies_costs_no_attempt(simulator: Simulator) -> None:
    """What it had is sent again, and nothing else; each job has one result, no attempt is used, another one comes."""
    placement, notes = Nearby(), list[str]()
    made = cluster(placement, 2, notes=notes)
    jobs = [job(n, "tokens=4 delay=0.05") for n in range(24)]
    async with engine_for(jobs, simulator.url, limit=8, retries=0, exchanges=made) as engine:
        results = asyncio.create_task(results_of(engine))
        await until(lambda: any(len(member.flying) >= 3 for member in members(made)))
        dead = max(members(made), key=lambda member: len(member.flying))
        lost = {flying.call.jobs[0].id for flying in dead.flying.values()}
        placement.kill(dead.number)
        done = await results
    assert len(done) == 24
    assert all(result.ok and result.attempts == 1 for result in done.values())
    twice = {name for name, count in simulator.counts.items() if count > 1}
    assert twice <= lost
    assert len(placement.errands) == 3
    assert len(notes) == 1
    assert notes[0].startswith(f"worker {dead.place + 1} on ")


async def test_a_worker_that_ends_leaves_its_room_to_the_next(simulator: Simulator) -> None:
    """A cluster that has room for so many and no more has it again, also where a worker ended of itself."""
    placement = Nearby(room=1)
    made = cluster(placement, 1)
    async with engine_for([job(1, "tokens=4 delay=0.05")], simulator.url, exchanges=made) as engine:
        (member,) = members(made)
        assert member.link is not None
        member.link.close()
        results = await results_of(engine)
    assert results["j1"].ok
    assert len(placement.tasks) == 2


async def test_all_workers_die_and_others_come(simulator: Simulator) -> None:
    """Calls wait for a worker meanwhile, and no breaker hears of it."""
    placement = Nearby()
    made = cluster(placement, 2)
    jobs = [job(n, "tokens=4 delay=0.05") for n in range(12)]
    async with engine_for(jobs, simulator.url, limit=4, retries=0, exchanges=made) as engine:
        results = asyncio.create_task(results_of(engine))
        await until(lambda: len(members(made)) == 2 and all(member.has_served for member in members(made)))
        for member in members(made):
            placement.kill(member.number)
        done = await results
        assert engine.scheduler.lanes[0].trouble is None
    assert all(result.ok and result.attempts == 1 for result in done.values())
    assert len(placement.errands) == 4


async def test_no_worker_ever_ends_as_a_server_that_is_away(simulator: Simulator) -> None:
    """Where no new one can be had, patience decides as with servers: 69, and the jobs stay pending."""
    placement = Nearby()
    made = cluster(placement, 1)
    made.nobody_within = 0.1
    jobs = [job(n, "tokens=40 delay=0.05") for n in range(3)]
    async with engine_for(jobs, simulator.url, patience=0.5, exchanges=made) as engine:
        results = asyncio.create_task(results_of(engine))
        await until(lambda: bool(members(made)) and bool(members(made)[0].flying))
        placement.places = False
        placement.kill(members(made)[0].number)
        assert await results == {}
        failure = engine.scheduler.stop_failure
    assert failure is not None
    assert (failure.code, int(failure.exit)) == ("no_worker", 69)
    assert "killed" in failure.message or "hung up" in failure.message


async def test_what_kills_each_worker_is_found_out(simulator: Simulator) -> None:
    """A job under which workers die again and again fails alone; what flew beside it does not."""
    placement = Nearby()
    made = cluster(placement, 2)
    jobs = [job(n, "tokens=2" if n else "tokens=1000 delay=0.05") for n in range(12)]

    async def murder() -> None:
        while True:
            await asyncio.sleep(0.01)
            for member in members(made):
                if any(flying.call.jobs[0].id == "j0" for flying in member.flying.values()):
                    placement.kill(member.number)

    async with engine_for(jobs, simulator.url, limit=4, retries=1, exchanges=made) as engine:
        murderer = asyncio.create_task(murder())
        done = await results_of(engine)
        murderer.cancel()
    assert {name for name, result in done.items() if not result.ok} == {"j0"}
    assert done["j0"].failure is not None
    assert done["j0"].failure.code in ("crashes_server", "server_crash")
    assert len(done) == 12


async def test_a_worker_that_is_silent_is_given_up(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is cut off closes no connection: it is gone when it has said nothing for a while."""
    monkeypatch.setattr("batcher.exchange.cluster.cluster.LOOK_S", 0.05)
    monkeypatch.setattr("batcher.exchange.cluster.cluster.SILENT", 2)
    monkeypatch.setattr("batcher.exchange.cluster.remote.BEAT_S", 3600.0)
    notes: list[str] = []
    made = cluster(Nearby(), 1, notes=notes)
    made.nobody_within = 0.1
    async with engine_for([job(1, "tokens=30 delay=0.1")], simulator.url, exchanges=made) as engine:
        results = asyncio.create_task(results_of(engine))
        await until(lambda: bool(notes), 20.0)
        results.cancel()
        await asyncio.wait((results,))
    assert "said nothing" in notes[0]


async def test_one_that_cannot_begin_says_why(simulator: Simulator) -> None:
    """Another version there would misread what is said: the run does not begin, and tells what is wrong."""
    placement = Nearby()
    made = cluster(placement, 1)
    made.version = "batcher 0.0 on Python 2.7"
    made.setup = replace(made.setup, model=Unknown())  # type: ignore[arg-type]  # as of a version to come
    with pytest.raises(ConfigError, match=r"worker 1 cannot begin: the run has batcher 0\.0 on Python 2\.7, and"):
        async with engine_for([job(1)], simulator.url, exchanges=made):
            pass
    assert simulator.counts == {}


async def test_places_of_another_version_are_given_up(simulator: Simulator) -> None:
    """Workers that join later are not started again and again where none could work; without any it is 78."""
    placement, notes = Nearby(room=1), list[str]()
    made = cluster(placement, 2, notes=notes)

    async def run() -> None:
        async with asyncio.timeout(20), made.open(Faulty()):
            made.version = "batcher 0.0 on Python 2.7"
            placement.room = 2
            placement.dismiss(0)  # none: whoever waits for room has it
            await until(lambda: len(notes) == 1)
            assert "Nobody takes its place" in notes[0]
            placement.kill(members(made)[0].number)
            await asyncio.Event().wait()

    with pytest.raises(ExceptionGroup) as raised:
        await run()
    assert raised.group_contains(ConfigError, match=r"cannot begin: the run has batcher 0\.0 on Python 2\.7, and")
    assert len(placement.errands) == 3


async def test_nobody_is_ready(simulator: Simulator) -> None:
    """A cluster that has no room for workers is given so long, and then it is 69."""
    made = cluster(Nearby(places=False), 2)
    made.first_within = 0.05
    with pytest.raises(UnavailableError, match="no worker was ready within"):
        async with engine_for([job(1)], simulator.url, exchanges=made):
            pass


async def test_nobody_can_be_placed(simulator: Simulator) -> None:
    """What no machine of a cluster has is said at once, as one may be on its way, and again in the end."""
    notes: list[str] = []
    made = cluster(Nearby(places=False, lacks="a worker asks for GPU=1"), 2, notes=notes)
    made.first_within = 0.05
    with pytest.raises(UnavailableError, match=r"within 0\.05 s: a worker asks for GPU=1\. Ask for fewer"):
        async with engine_for([job(1)], simulator.url, exchanges=made):
            pass
    assert notes == ["no worker can begin as it stands: a worker asks for GPU=1"]


async def test_another_key_is_passed_on(simulator: Simulator) -> None:
    """A server that is known under another key is told anew, and only then."""
    made = cluster(Nearby(), 1)
    async with engine_for([job(1)], simulator.url, exchanges=made) as engine:
        await results_of(engine)
        (member,) = members(made)
        first = Endpoint(root=simulator.url, api=Api.NATIVE, headers={"Authorization": "Bearer one"})
        places = [member._place_of(endpoint) for endpoint in (first, first, replace(first, headers={"a": "b"}))]
    assert places[0] == places[1] != places[2]


async def test_questions_are_asked_by_workers(simulator: Simulator) -> None:
    """Whether anybody is there is asked from where the calls go out."""

    class Told:
        def __init__(self) -> None:
            self.told_of: list[tuple[str, bool]] = []

        def begun(self, call: object) -> None: ...
        def ended(self, call: object, endpoint: object, attempt: object) -> None: ...
        def told(self, endpoint: Endpoint, *, is_there: bool) -> None:
            self.told_of.append((endpoint.root, is_there))

    told, made = Told(), cluster(Nearby(), 1)
    here, nowhere = (Endpoint(root=root, api=Api.NATIVE) for root in (simulator.url, "http://127.0.0.1:9"))
    async with made.open(told):
        made.ask(here)
        made.ask(nowhere)
        await until(lambda: len(told.told_of) == 2)
    assert dict(told.told_of) == {here.root: True, nowhere.root: False}


async def test_what_comes_is_told_while_it_comes(simulator: Simulator) -> None:
    """Pieces of answers in the making are counted by the workers, and shown here."""
    made = cluster(Nearby(), 1)
    async with engine_for([job(1, "tokens=400 delay=0.01")], simulator.url, exchanges=made) as engine:
        results = asyncio.create_task(results_of(engine))
        await until(lambda: made.flow().pieces > 0, 10.0)
        assert made.flow().heard is not None
        results.cancel()
        await asyncio.wait((results,))


class Unknown:
    """What a worker of another version cannot unpickle."""

    def __reduce__(self) -> tuple[object, ...]:
        return Faulty().report, ()


ODD = {
    "deep": b'{"a":' * 600 + b"1" + b"}" * 600,
    "long": b"7" * 5000,
    "both": b'[{"a":' * 200 + b"7" * 5000 + b"}]" * 200,
}


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("odd", ODD)
async def test_whatever_a_server_says_is_brought(odd: str, *, whole: bool) -> None:
    """JSON that nests deep, or has integers that Python has none of, is written as by one process."""
    call = b'{"id":"1","type":"function","function":{"name":"f","arguments":"{}"},"extra":%b}' % ODD[odd]
    choice = b'{"index":0,"finish_reason":"tool_calls","message":{"content":"hi","tool_calls":[%b]}}' % call
    body = b'{"id":"x","model":"m","choices":[%b],"extra":%b}' % (choice, ODD[odd])
    written: list[list[bytes]] = []
    async with playing(answer(body, "Content-Type: application/json", "Connection: close")) as url:
        for exchanges in (None, cluster(Nearby(), 1, raw=whole)):
            jobs = [job(n, kind=Kind.CHAT) for n in range(3)]
            async with engine_for(jobs, url, api=Api.OPENAI, stream=False, exchanges=exchanges) as engine:
                results = await results_of(engine)
            assert all(result.ok for result in results.values())
            said = [
                (result.completion, result.completion.first.tool_calls)
                for result in results.values()
                if result.completion
            ]
            written.append([dump_anything([calls, one.head if whole else None]) for one, calls in said])
    assert written[0] == written[1]
    assert len(written[0]) == 3


async def test_an_attempt_that_cannot_be_brought_fails(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job says so, no worker dies of it, and the others have their answers."""
    brought = parcels.said_attempt
    asked: list[object] = []

    def once(attempt: Attempt, **fields: bool) -> Message:
        asked.append(attempt)
        parcel = brought(attempt, **fields)
        return parcel if len(asked) > 1 else (*parcel[:4], lambda: None, parcel[5])

    monkeypatch.setattr(parcels, "said_attempt", once)
    async with engine_for([job(n) for n in range(4)], simulator.url, exchanges=cluster(Nearby(), 1)) as engine:
        results = await results_of(engine)
    failures = [result.failure for result in results.values() if result.failure is not None]
    assert [(failure.code, failure.kind) for failure in failures] == [("internal", FailureClass.PERMANENT)]
    assert "could not be brought from its worker" in failures[0].message


class Faulty:
    """Whoever takes reports, or places workers, with a bug in it."""

    def report(self, *_: object, **__: object) -> NoReturn:
        raise PermissionError

    begun = ended = told = place = dismiss = report


@pytest.mark.parametrize("what", ["begun", "ended", "told", "told of nobody", "lost", "given up", "placed"])
async def test_an_error_of_who_takes_reports_ends_the_run(simulator: Simulator, what: str) -> None:
    """As in a run of one process: no call is lost without a word, and nobody waits for it for good."""
    placement = Nearby()
    made = cluster(placement, 1)
    made.nobody_within = 0.1
    endpoint = Endpoint(root=simulator.url, api=Api.NATIVE)
    one = job(1, "tokens=400 delay=0.05" if what in ("begun", "lost") else "")
    (call,) = packing.calls([one], Api.NATIVE, Faulty().report, stream=what == "begun", packs=FixedPacks(1))
    assert call is not None

    async def provoke() -> None:
        (member,) = members(made)
        if what in ("told of nobody", "given up"):
            placement.places = False
            placement.kill(member.number)
            await until(lambda: not members(made))
        if what == "placed":
            made.placement = cast("Placement", Faulty())
        elif what.startswith("told"):
            made.ask(endpoint)
        else:
            made.send(call, endpoint)
        if what in ("lost", "placed"):
            placement.kill(member.number)
        await asyncio.Event().wait()

    async def run() -> None:
        async with asyncio.timeout(20), made.open(Faulty()):
            await provoke()

    with pytest.raises(ExceptionGroup) as raised:
        await run()
    assert raised.group_contains(PermissionError)
