"""Every row of the fault matrix shows on the wire, on every endpoint where it applies."""

from __future__ import annotations

import gzip
import json
from contextlib import closing, suppress
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from support.faultmatrix import ALL, EMBEDDINGS, ROWS, Fault, Way
from support.rawhttp import Heard, ask, body_for, connect, eventually, send

from batcher.simulator import BackgroundSimulator, simulator_thread
from batcher.simulator.behaviours import FAULTS, behaviour_of, parse

if TYPE_CHECKING:
    from collections.abc import Iterator

PLAIN = [row for row in ROWS if row.directive and row.end != "held" and not row.heavy]
HELD = [row for row in ROWS if row.directive and row.end == "held"]


@pytest.fixture(scope="module")
def sim() -> Iterator[BackgroundSimulator]:
    with simulator_thread() as simulator:
        yield simulator


def has_given_up(sim: BackgroundSimulator, number: int) -> bool:
    """Whether the simulator noticed so many clients that left, and serves nobody."""
    return sim.tally.aborted == number and sim.tally.in_service == 0


def requested(way: Way) -> dict[str, Any]:
    return {} if way in EMBEDDINGS else {"stream": way.streamed}


def events(body: str) -> Iterator[Any]:
    """The JSON in a body, whole or streamed, whatever its framing; it knows nothing of the simulator."""
    body = body.replace("\r\n", "\n").replace("\r", "\n")
    for event in body.split("\n\n" if "data:" in body else "\n"):
        data = "\n".join(line[5:].strip() for line in event.split("\n") if line.startswith("data:")) or event
        with suppress(ValueError):
            yield "[DONE]" if data == "[DONE]" else json.loads(data)


def is_complete(heard: Heard, way: Way) -> bool:
    """Whether the answer bears its API's mark of the end, and tells of no error."""
    if heard.end != "clean":
        return False
    body = gzip.decompress(heard.body) if heard.headers.get("content-encoding") == "gzip" else heard.body
    found = list(events(body.decode("utf-8-sig", "replace")))
    objects = [one for one in found if isinstance(one, dict)]
    if any(one.get("error") for one in objects) or b"\nerror: {" in body:
        return False
    if way in EMBEDDINGS:
        return any(one.get("embeddings") or one.get("data") for one in objects)
    if way.path.startswith("/api/"):
        return any(one.get("done") for one in objects)
    if "/responses" in way.path:
        return any(one.get("type") == "response.completed" or one.get("output") for one in objects)
    return "[DONE]" in found or any(c.get("finish_reason") for one in objects for c in one["choices"])


@pytest.mark.parametrize("row", PLAIN, ids=lambda row: f"{row.name} | {row.directive}")
def test_a_fault_shows_on_the_wire(sim: BackgroundSimulator, row: Fault) -> None:
    """Status, end, words and the mark of completion are those of the row, on each way that it names."""
    for way in sorted(row.ways):
        prompt = f"[[sim id={quote(row.name + str(way))} {row.directive}]]"
        heard = ask(sim, way.path, prompt, **requested(way))
        assert (way, heard.status, heard.end) == (way, row.status, row.end)
        head = "".join(f"{name}: {value}\n" for name, value in heard.headers.items()).encode()
        assert row.shows in head + heard.body, way
        if row.complete is not None:
            assert (way, is_complete(heard, way)) == (way, row.complete)


@pytest.mark.parametrize("row", HELD, ids=lambda row: row.name)
def test_a_held_answer_lasts_until_the_client_leaves(row: Fault) -> None:
    """The request stays in flight, and counts as left when the client goes."""
    with simulator_thread() as sim:
        for number, way in enumerate(sorted(row.ways), 1):
            with closing(connect(sim)) as sock:
                send(
                    sock,
                    "POST",
                    way.path,
                    json.dumps(body_for(way.path, f"[[sim {row.directive}]]") | requested(way)).encode(),
                )
                eventually(lambda: sim.tally.in_service == 1)
                assert sim.tally.aborted == number - 1
            eventually(partial(has_given_up, sim, number))
        assert sim.tally.aborted == len(row.ways)


def test_the_matrix_is_whole() -> None:
    """Every fault that the simulator knows stands in a row, every directive can be read, and no row is there twice."""
    directives = [parse(row.directive) for row in ROWS]
    assert FAULTS - set().union(*(found.do for found in directives)) == set()
    assert {row.name for row in ROWS if not (row.directive or row.settings or row.act)} == set()
    assert {row.act for row in ROWS if row.act and not callable(getattr(BackgroundSimulator, row.act))} == set()
    assert len({(row.name, row.directive) for row in ROWS}) >= len(ROWS) - 1  # a dying runner has two statuses
    assert frozenset().union(*(row.ways for row in ROWS)) == ALL
    assert behaviour_of("plain", parse("")) == parse("")
