"""All results in the order of the rows: at once, kept in a file, wherever a program stands."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import orjson
import pytest
import trio
from support.commandline import PROJECT, Desk, names, prompts, running, until as happened
from support.programs import agen, is_alone, until

import batcher
from batcher.failures import InputError, UnavailableError, UsageError
from batcher.simulator import simulator_thread, text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batcher.simulator import BackgroundSimulator

pytestmark = pytest.mark.usefixtures("sim")

SLOWEST_FIRST = [
    {"id": name, "prompt": f"[[sim id={name} ttft={0.1 - place / 100}]]"} for place, name in enumerate(names(9))
]


@pytest.mark.parametrize("source", [list, iter, agen])
def test_results_are_in_the_order_of_the_rows(source: Any) -> None:
    """However they come in, and whenever they were answered."""
    results = batcher.map(source(SLOWEST_FIRST), concurrency=9)
    assert [result.id for result in results] == names(9)
    assert [result.row for result in results] == SLOWEST_FIRST
    assert [result.text for result in results] == [text(name) for name in names(9)]


def test_nothing_is_nothing() -> None:
    """No rows, no results, and no server is asked for any."""
    assert batcher.map([]) == []
    assert batcher.map(iter(())) == []


def test_there_is_a_result_for_every_row(sim: BackgroundSimulator) -> None:
    """One that asks what another of its id asks has that answer; what cannot be asked is a failure in its place."""
    rows: list[Any] = [{"id": 1, "prompt": "[[sim id=a]]"}, None, {"id": 1, "prompt": "[[sim id=a]]"}]
    rows.append({"id": 1, "prompt": "[[sim id=b]]"})
    results = batcher.map(rows)
    codes = [result.failure.code if result.failure else "" for result in results]
    assert codes == ["", "input_invalid", "", "duplicate_id"]
    assert [result.text for result in results] == [text("a"), "", text("a"), ""]
    assert [result.seq for result in results] == [0, 1, 2, 3]
    assert results[2].row is rows[2]
    assert sim.counts == {"a": 1}


def test_a_stop_has_the_results_that_there_are(sim: BackgroundSimulator) -> None:
    """A limit that was set, a refused key, a server that is away: the error carries them, in order."""
    with pytest.raises(batcher.BatcherError, match="is over") as stopped:
        batcher.map(prompts(names(50), "ttft=0.1"), concurrency=2, max_duration=0.5)
    assert stopped.value.exit == 4
    found = [result.id for result in stopped.value.results]
    assert found == sorted(found)
    assert sorted(sim.tally.answered) == found
    with pytest.raises(batcher.BatcherError, match="max_errors") as failing:
        batcher.map(prompts(names(50), "do=bad"), concurrency=1, max_errors=2)
    assert [result.ok for result in failing.value.results] == [False] * 3
    with pytest.raises(UnavailableError) as away:
        batcher.map(["Hi"], base_url="http://127.0.0.1:9", max_wait=0)
    assert away.value.results == []


def test_a_source_that_raises_costs_no_answers() -> None:
    """What was answered is carried by the error, which says what the source raised."""

    def rows() -> Iterator[str]:
        yield "one"
        yield "two"
        raise OSError("the disk is gone")

    with pytest.raises(InputError, match="the rows ended early, with OSError: the disk is gone") as caught:
        batcher.map(rows())
    assert [result.row for result in caught.value.results] == ["one", "two"]
    assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.anyio
async def test_amap_may_be_cancelled(sim: BackgroundSimulator) -> None:
    """What is in flight is broken off, and no task is left."""
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(batcher.amap(prompts(names(9), "ttft=30")), 0.2)
    await until(lambda: sim.tally.in_flight == 0)
    await is_alone()


class TestOutput:
    """Results that are kept in a file."""

    def test_they_are_taken_up_again(self, desk: Desk, sim: BackgroundSimulator) -> None:
        """The same call asks nothing twice, gives the same results, and the file is one of the command's."""
        output = desk.path / "results.jsonl"
        rows: list[Any] = [
            *prompts(names(5)),
            {"id": "empty", "prompt": " "},
            *prompts(["bad"], "do=bad"),
            "[[sim id=t]]",
        ]
        first = batcher.map(rows, output=output, retries=0)
        asked = dict(sim.counts)
        again = batcher.map(rows, output=output, retries=0)
        assert [result.to_dict() | {"meta": 0} for result in first if result.ok] == [
            result.to_dict() | {"meta": 0} for result in again if result.ok
        ]
        assert [(result.row, result.ok, result.text) for result in first] == [
            (result.row, result.ok, result.text) for result in again
        ]
        assert [result.ok for result in first] == [True] * 5 + [False, False, True]
        assert {result.failure.code for result in first if result.failure} == {"empty_prompt", "bad_request"}
        assert dict(sim.counts) == asked | {"bad": 2}
        assert len(desk.lines()) == 6
        assert desk.errors() == {"empty": "empty_prompt", "bad": "bad_request"}

    def test_rows_may_move_and_grow(self, desk: Desk, sim: BackgroundSimulator) -> None:
        """Results go by their ids: those of other rows are no matter, and those that are there are not asked again."""
        output = desk.path / "results.jsonl"
        batcher.map(prompts(names(6)), output=output)
        moved = [*prompts(["new"]), *reversed(prompts(names(6)))]
        results = batcher.map(moved, output=output)
        assert [result.id for result in results] == ["new", *reversed(names(6))]
        assert [result.text for result in results] == [text(result.id) for result in results]
        assert [result.seq for result in results] == list(range(7))
        assert set(sim.counts.values()) == {1}

    def test_a_stop_carries_them_too(self, desk: Desk) -> None:
        """What was kept before the stop is what the error has."""
        output = desk.path / "results.jsonl"
        with pytest.raises(batcher.BatcherError, match="is over") as caught:
            batcher.map(prompts(names(60), "ttft=0.1"), output=output, concurrency=2, max_duration="500ms")
        assert sorted(result.id for result in caught.value.results) == desk.ids()
        assert caught.value.results

    def test_repeats_shards_and_duplicates(self, desk: Desk) -> None:
        """Rows that were not chosen are left out; those that repeat another have its answer."""
        rows: list[Any] = [{"id": 1, "prompt": "a"}, {"id": 1, "prompt": "a"}, {"id": 1, "prompt": "b"}]
        results = batcher.map(rows, output=desk.path / "dup.results.jsonl")
        assert [result.failure.code if result.failure else "" for result in results] == ["", "", "duplicate_id"]
        assert [result.id for result in results] == ["1", "1", "1"]
        three = batcher.map(prompts(["q"]), output=desk.path / "three.results.jsonl", repeat=3)
        assert [result.id for result in three] == ["q~1", "q~2", "q~3"]
        halves = [
            batcher.map(prompts(names(8)), output=desk.path / f"{n}.results.jsonl", shard=f"{n}/2") for n in (1, 2)
        ]
        assert sorted(result.id for half in halves for result in half) == names(8)

    @pytest.mark.anyio
    async def test_cancelled_it_keeps_what_has_finished(self, desk: Desk, sim: BackgroundSimulator) -> None:
        """The next call goes on from there."""
        output = desk.path / "results.jsonl"
        rows = [*prompts(names(5)), *prompts(["slow"], "ttft=30")]
        task = asyncio.create_task(batcher.amap(rows, output=output, concurrency=6))
        await until(lambda: len(sim.tally.answered) == 5)
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert desk.ids() == names(5)

    def test_vectors_and_thoughts_come_back(self, desk: Desk) -> None:
        """Whatever a line holds is in the result that is read from it."""
        rows: list[Any] = [{"input": "one"}, {"input": ["two", "three"]}, {"prompt": "Hi", "think": True}]
        asked = [batcher.map(rows)]
        asked += [batcher.map(rows, output=desk.path / "results.jsonl") for _ in range(2)]
        for results in asked:
            assert [result.ok for result in results] == [True] * 3
            assert [len(result.vectors or []) for result in results] == [1, 2, 0]
            assert (results[0].vector is None, results[1].vector) == (False, None)
        first, kept, again = asked
        for place in range(3):
            assert first[place].usage == kept[place].usage == again[place].usage
            assert kept[place].thinking == again[place].thinking
            assert kept[place].to_dict() == again[place].to_dict()


def test_a_result_is_a_line_of_the_file() -> None:
    """`to_dict` is held against the schema of results, answers and failures; `unwrap` raises what went wrong."""
    schema = jsonschema.Draft202012Validator(orjson.loads((PROJECT / "docs/results.schema.json").read_bytes()))
    results = batcher.map(
        [*prompts(["q"]), {"id": "e", "prompt": " ", "meta": 1}, *prompts(["b"], "do=bad")], retries=0
    )
    for result in results:
        schema.validate(json.loads(json.dumps(result.to_dict())))
        copy = pickle.loads(pickle.dumps(result))
        assert (copy.to_dict(), copy.row) == (result.to_dict(), result.row)
    assert results[0].unwrap() is results[0]
    with pytest.raises(batcher.FailedRowError, match=r"row 2 \(id 'e'\): empty_prompt: ") as caught:
        results[1].unwrap()
    assert isinstance(caught.value, batcher.BatcherError)
    assert pickle.loads(pickle.dumps(caught.value)).failure == results[1].failure
    assert repr(results[1]) == "<Result 'e' failed empty_prompt>"


class TestPlaces:
    """Where programs stand when they call what blocks."""

    @pytest.mark.anyio
    async def test_in_a_loop_that_runs(self, tmp_path: Path) -> None:
        """As in a notebook's cell: it blocks, in a thread of its own."""
        assert [result.ok for result in batcher.map(["one", "two"])] == [True, True]
        jobs = tmp_path / "jobs.jsonl"
        jobs.write_text('{"prompt": "Hi"}\n')
        assert batcher.run(jobs, tmp_path / "results.jsonl").ok == 1
        with pytest.raises(UsageError, match="did you mean"):
            batcher.map(["one"], modle="m")  # type: ignore[call-arg]  # a mistake
        with pytest.raises(UnavailableError):
            batcher.map(["one"], base_url="http://127.0.0.1:9", max_wait=0)

    def test_under_trio(self) -> None:
        """What blocks works; what is awaited says what to do instead."""

        async def main() -> None:
            assert batcher.map(["one"])[0].ok
            assert (await trio.to_thread.run_sync(lambda: batcher.map(["two"])))[0].ok
            with pytest.raises(UsageError, match=r"works on asyncio.*trio.to_thread.run_sync"):
                await batcher.amap(["three"])
            with pytest.raises(UsageError, match=r"there is batcher\.run\(input, output, \.\.\.\), and under trio"):
                await batcher.arun("a.jsonl", "b.jsonl")
            with pytest.raises(UsageError, match=r"batcher\.stream works on asyncio"):
                async with batcher.stream(["four"]):
                    pass
            with pytest.raises(UsageError, match=r"batcher\.Client works on asyncio"):
                async with batcher.Client():
                    pass

        trio.run(main)

    def test_in_threads(self) -> None:
        """Several at once, each with a loop of its own."""
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda name: batcher.map(prompts([name]))[0].text, names(8)))
        assert found == [text(name) for name in names(8)]

    @pytest.mark.parametrize("method", ["fork", "spawn"])
    @pytest.mark.slow
    def test_in_process_pools(self, method: str) -> None:
        """Rows go there and results come back; also where this process has run something before it forks."""
        assert batcher.map(["before"])[0].ok
        context = multiprocessing.get_context(method)
        with ProcessPoolExecutor(2, mp_context=context) as pool:
            found = list(pool.map(batcher.map, [prompts(names(3)), prompts(["q"])]))
        assert [[result.ok for result in results] for results in found] == [[True] * 3, [True]]

    @pytest.mark.parametrize("where", ["script", "notebook"])
    @pytest.mark.slow
    def test_ctrl_c(self, where: str, sim: BackgroundSimulator) -> None:
        """It ends the call at once, as KeyboardInterrupt, with what is in flight broken off."""
        call = "batcher.map([{'id': 'q', 'prompt': '[[sim id=q ttft=30]]'}])"
        program = (
            "import asyncio, signal, batcher\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
            f"async def main():\n    {call}\ntry:\n"
            f"    {'asyncio.run(main())' if where == 'notebook' else call}\n"
            "except KeyboardInterrupt:\n    print('interrupted')\n"
        )
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        with running(subprocess.Popen([sys.executable, "-W", "error", "-c", program], **pipes)) as process:
            happened(lambda: sim.tally.in_flight or process.poll() is not None)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=20)
        assert (out, err, process.returncode) == ("interrupted\n", "", 0)


def test_what_the_process_had_it_has_again() -> None:
    """Signals, the loop policy, the environment, threads and the limit of open files are as before."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    low = min(soft, 256)
    resource.setrlimit(resource.RLIMIT_NOFILE, (low, hard))
    try:
        before = _state()
        seen: list[int] = []

        def rows() -> Iterator[str]:
            seen.append(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
            yield "Hi"

        batcher.map(rows(), concurrency="1-500")
        assert max(seen) > low
        assert _state() == before
        with pytest.raises(UnavailableError):
            batcher.map(["Hi"], base_url="http://127.0.0.1:9", max_wait=0)
        assert _state() == before
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _state() -> dict[str, Any]:
    import resource

    for thread in threading.enumerate():
        if thread.name == "batcher rows":
            thread.join(10)
    return {
        "signals": [signal.getsignal(number) for number in signal.Signals],
        "policy": type(asyncio.get_event_loop_policy()),
        "environment": dict(os.environ),
        "files": resource.getrlimit(resource.RLIMIT_NOFILE),
        "threads": {thread.name for thread in threading.enumerate() if not thread.name.startswith("AnyIO")},
        "directory": Path.cwd(),
    }


def test_progress_is_shown_or_told(capsys: pytest.CaptureFixture[str]) -> None:
    """A function is called now and then and at the end; True writes a line to stderr, and nothing to stdout."""
    seen: list[batcher.Progress] = []
    batcher.map(prompts(names(5)), progress=seen.append)
    assert (seen[-1].done, seen[-1].ok, seen[-1].total) == (5, 5, 5)
    batcher.map(prompts(names(5)), progress=True)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "/5" in shown.err


def test_a_progress_function_that_raises_ends_the_call() -> None:
    """A mistake in it is told, and not hidden."""

    def broken(_: batcher.Progress) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        batcher.map(prompts(names(5)), progress=broken)


def test_partial_functions_are_what_they_were_made_of() -> None:
    """As a program makes a function of its own."""
    ask = partial(batcher.map, prompt="[[sim id={{ text }}]]", concurrency=2)
    with simulator_thread() as other:
        assert [result.server for result in ask(["a"], base_url=other.url)] == [other.url]


def test_a_changed_row_is_told_in_words_of_python(tmp_path: Path) -> None:
    """What the command calls `--on-change rerun` is an argument here."""
    batcher.map([{"id": 1, "prompt": "one"}], output=tmp_path / "kept.jsonl")
    with pytest.raises(batcher.BatcherError) as found:
        batcher.map([{"id": 1, "prompt": "two"}], output=tmp_path / "kept.jsonl")
    assert 'on_change="rerun"' in str(found.value)
    assert "--on-change" not in str(found.value)
