"""Vectors: many inputs in a request, each job its own; a bad input costs itself alone."""

from __future__ import annotations

import base64
import json
import shutil
from array import array
from typing import TYPE_CHECKING, Any

import pytest
from support.commandline import Desk

from batcher.simulator import simulator_thread, vector

if TYPE_CHECKING:
    from support.commandline import Ran

pytestmark = pytest.mark.slow

LOOKS = ["native", "openai"]


def embed(desk: Desk, url: str, *args: str) -> Ran:
    return desk.call("run", "jobs.jsonl", "-o", "results.jsonl", "--base-url", url, "-m", "simulator", *args)


def texts(count: int) -> dict[str, str]:
    return {f"t{number:03d}": f"text number {number}" for number in range(count)}


def write(desk: Desk, jobs: dict[str, str]) -> None:
    desk.write("jobs.jsonl", *({"id": name, "input": text} for name, text in jobs.items()))


@pytest.mark.parametrize("pack", ["auto", "2", "1"])
@pytest.mark.parametrize("concurrency", ["1", "auto"])
def test_rows_that_are_passed_over_keep_nobody_asleep(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, pack: str, concurrency: str
) -> None:
    """Whoever reads rests after so many of them, also while a pack is filling."""
    monkeypatch.setattr("batcher.inputs.intake.TURN", 3)
    write(desk, texts(90))
    with simulator_thread() as sim:
        ran = embed(desk, sim.url, "--shard", "1/3", "-c", concurrency, "--pack", pack, "--max-duration", "30s")
    assert ran.code == 0, ran.err
    assert 15 < len(desk.ids()) < 45


@pytest.mark.parametrize("look", LOOKS)
def test_packed_vectors_find_their_jobs(desk: Desk, look: Any) -> None:
    """Each line has the vector of its own text, in as few requests as the pack size says; lists and limits mix in."""
    jobs = texts(50)
    pair = {"id": "pair", "input": ["first of two", "second of two"]}
    small = {"id": "small", "input": "a small one", "dimensions": 4}
    desk.write("jobs.jsonl", pair, *({"id": name, "input": text} for name, text in jobs.items()), small)
    with simulator_thread(look=look) as sim:
        assert embed(desk, sim.url, "--pack", "16").code == 0
        requests = sim.tally.paths["/api/embed"] + sim.tally.paths["/v1/embeddings"]
        assert requests == 4 + 1  # 52 inputs that agree, one that wants other dimensions
        assert set(sim.counts.values()) == {1}
    lines = {line["id"]: line for line in desk.lines()}
    for name, text in jobs.items():
        assert lines[name]["embedding"] == pytest.approx(vector(text))
    assert lines["pair"]["embeddings"] == [pytest.approx(vector(text)) for text in pair["input"]]
    assert lines["small"]["embedding"] == pytest.approx(vector("a small one", 4))
    assert lines["t000"]["pack"] == {"place": 1, "size": 15}  # jobs; one has two inputs


@pytest.mark.parametrize("way", [(), ("--vectors", "out.npy")])
def test_the_tokens_of_a_pack_stand_on_its_lines(desk: Desk, way: tuple[str, ...]) -> None:
    """Lines, sums, `stats`, `compare` and --max-cost tell the same: what the server said of its requests, added up."""
    if way:
        pytest.importorskip("numpy")
    jobs = {f"t{n}": "word " * (3 + n) for n in range(40)}
    said = sum(len(text) // 4 + 1 for text in jobs.values())  # as the simulator counts
    jobs["copy"] = jobs["t9"]  # not asked again, and costs nothing
    write(desk, jobs)
    prices = ("--price-in", "1e6")
    with simulator_thread(look="openai") as sim:
        assert embed(desk, sim.url, "--pack", "16", *way, *prices, "--summary-json", "sums.json").code == 0
        shutil.copytree(desk.path, desk.path / "again")
        write(desk, jobs | {f"u{n}": f"{n:03d} {'word ' * 60}" for n in range(40)})
        spent = embed(desk, sim.url, "--pack", "16", "-c", "1", *way, *prices, "--max-cost", "1")
    assert (spent.code, "cost     1,232" in spent.err) == (4, True)  # the first 16 of the new texts
    desk = Desk(desk.path / "again")
    lines = [line for line in desk.lines() if "copy_of" not in line]
    assert (len(lines), {line["pack"]["size"] for line in lines}) == (40, {16, 8})
    assert sum(line["usage"]["prompt_tokens"] for line in lines) == said
    assert all(abs(line["usage"]["prompt_tokens"] - len(jobs[line["id"]]) / 4) < 2 for line in lines)
    sums = json.loads((desk.path / "sums.json").read_text())
    assert (sums["tokens"]["prompt"], sums["cost"], sums["unpriced"]) == (said, said, 0)
    told = json.loads(desk.call("stats", "results.jsonl", "--json", *prices).out)
    assert (told["tokens"]["prompt"], told["cost"], told["unpriced"]) == (said, said, 0)
    assert told["tokens"]["uncounted_answers"] == 0
    figures = json.loads(desk.call("compare", "results.jsonl", "results.jsonl", "--json", *prices).out)["figures"]
    assert (figures["prompt_tokens"]["a"], figures["cost"]["b"]) == (said, said)


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("fault", ["bad", "nan_vector", "null_vector", "missing_vector"])
def test_a_poisoned_pack_is_halved(desk: Desk, look: Any, fault: str) -> None:
    """Of 32 inputs only the one at fault becomes an error line, and the requests for each are bounded."""
    jobs = texts(32)
    jobs["t017"] = f"[[sim id=poison do={fault}]]"
    write(desk, jobs)
    with simulator_thread(look=look) as sim:
        ran = embed(desk, sim.url, "--pack", "32", "-c", "2", "--retries", "1")
        assert ran.code == 3, ran.err
        assert max(sim.counts.values()) <= 14  # two a level at most, five levels, and retries of the last
        assert sim.counts[jobs["t000"]] <= 4
    assert desk.ids() == sorted(set(jobs) - {"t017"})
    assert list(desk.errors()) == ["t017"]
    for line in desk.lines():
        assert line["embedding"] == pytest.approx(vector(jobs[line["id"]]))


def test_vectors_in_any_order_are_put_in_theirs(desk: Desk) -> None:
    """The index that the server gives counts, not the place."""
    jobs = texts(6)
    jobs["t003"] = "[[sim do=shuffled_index]]"
    write(desk, jobs)
    with simulator_thread(look="openai") as sim:
        assert embed(desk, sim.url, "--pack", "6").code == 0
    for line in desk.lines():
        assert line["embedding"] == pytest.approx(vector(jobs[line["id"]]))


@pytest.mark.parametrize("look", LOOKS)
def test_vectors_as_base64(desk: Desk, look: Any) -> None:
    """--embedding-format base64 writes little-endian 32-bit floats, whichever form the server sent."""
    write(desk, texts(3))
    with simulator_thread(look=look) as sim:
        assert embed(desk, sim.url, "--embedding-format", "base64").code == 0
    for line in desk.lines():
        floats = array("f", base64.b64decode(line["embedding"], validate=True)).tolist()
        assert floats == vector(texts(3)[line["id"]])


def test_a_run_that_is_stopped_counts_packed_jobs(desk: Desk) -> None:
    """Pending are jobs, not requests: all those that the refused key left undone in packs that were made."""
    write(desk, texts(64))
    with simulator_thread(look="openai", key="other") as sim:
        ran = embed(desk, f"{sim.url}/v1", "--pack", "16", "-c", "1")
    assert ran.code == 77
    assert "64 pending" in ran.err


@pytest.mark.parametrize(("first", "then"), [("float", "base64"), ("base64", "float")])
@pytest.mark.parametrize("several", [False, True])
def test_a_file_has_its_vectors_in_one_way(desk: Desk, first: str, then: str, *, several: bool) -> None:
    """A resume that asks for another is told before anything is sent; the state file is not needed for it."""
    one: Any = ["a", "b"] if several else "a"
    desk.write("jobs.jsonl", {"id": "chat", "prompt": "hello"}, {"id": "a", "input": one}, {"id": "b", "input": one})
    with simulator_thread() as sim:
        assert embed(desk, sim.url, "-n", "2", "--embedding-format", first).code == 0
        (desk.path / "results.state.json").unlink()
        asked = sim.tally.paths["/api/embed"]
        other = embed(desk, sim.url, "--embedding-format", then)
        assert (other.code, sim.tally.paths["/api/embed"]) == (2, asked)
        assert f"--embedding-format {first}" in other.err
        assert desk.ids() == ["a", "chat"]
        assert embed(desk, sim.url, "--embedding-format", first).code == 0
        assert embed(desk, sim.url, "--embedding-format", then, "--overwrite").code == 0
    vectors = [line.get("embeddings", [line.get("embedding")])[0] for line in desk.lines() if line["id"] != "chat"]
    assert {type(vector) for vector in vectors} == {str if then == "base64" else list}
