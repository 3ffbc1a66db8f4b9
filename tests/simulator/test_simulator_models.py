"""The simulator loads, keeps and unloads models as Ollama does: each story names the lines that it follows.

Lines are those of https://github.com/ollama/ollama/blob/v0.33.0-rc2/server/sched.go, if nothing else is said.
"""

from __future__ import annotations

import json
import math
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from support.rawhttp import CHAT, EMBED, GENERATE, V1_CHAT, ask, body_for, connect, eventually, hear, send

from batcher.simulator import simulator_thread
from batcher.simulator.runners import Runners, Want

if TYPE_CHECKING:
    from collections.abc import Mapping

ONE: dict[str, Any] = {"most": 1, "load": 2.0}
"""Room for one model, which takes two seconds to load; it stays for the usual 300."""


class Step(NamedTuple):
    """At a time (seconds) a request comes (`model` is named) or is over (none is)."""

    time: float
    who: str
    model: str = ""
    keep_alive: float | None = None
    options: Mapping[str, object] = {}


def play(runners: Runners, *steps: Step, until: float) -> tuple[dict[str, float], dict[str, float]]:
    """When each request was given its model, and when each load ended; `model gone` is when it was gone."""
    wants: dict[str, Want] = {}
    given: dict[str, float] = {}
    models: dict[str, float] = {}
    queue = list(steps)
    now = 0.0
    while now <= until:
        while queue and queue[0].time <= now:
            step = queue.pop(0)
            if step.model:
                wants[step.who] = Want(step.model, step.options, step.keep_alive)
                runners.ask(wants[step.who])
            else:
                runners.done(wants[step.who], now)
        before = set(runners.loaded)
        later = runners.advance(now)
        for model in before - set(runners.loaded):
            models[f"{model} gone"] = now
        for model in runners.loads:
            models[model] = now
        runners.loads.clear()
        for who, want in wants.items():
            if want.runner is not None:
                given.setdefault(who, round(now, 6))
        now = min(later, queue[0].time if queue else math.inf)
    return given, models


STORIES: dict[str, tuple[dict[str, Any], list[Step], float, dict[str, float], dict[str, float]]] = {
    # name: the server, what comes, until when, who was given its model when, what was loaded and gone when
    "the first load; a second request for it waits in line and then has it (262)": (
        ONE,
        [Step(0, "a1", "a"), Step(1, "a2", "a")],
        10,
        {"a1": 2, "a2": 2},
        {"a": 2},
    ),
    "what is loaded passes who waits for a load (201)": (
        {"most": 2, "load": 2.0},
        [Step(0, "a1", "a"), Step(3, "b1", "b"), Step(4, "a2", "a")],
        10,
        {"a1": 2, "b1": 5, "a2": 4},
        {"a": 2, "b": 5},
    ),
    "what is idle stays for its time, and goes (395)": (
        ONE,
        [Step(0, "a1", "a", 60), Step(5, "a1")],
        100,
        {"a1": 2},
        {"a": 2, "a gone": 65},
    ),
    "who says nothing leaves the stay as it was, who says something changes it (483)": (
        ONE,
        [
            Step(0, "a1", "a", 60),
            Step(5, "a1"),
            Step(6, "a2", "a"),
            Step(7, "a2"),
            Step(8, "a3", "a", 9),
            Step(9, "a3"),
        ],
        100,
        {"a1": 2, "a2": 6, "a3": 8},
        {"a": 2, "a gone": 18},
    ),
    "the stay begins when the last of several is over (385)": (
        ONE,
        [Step(0, "a1", "a", 60), Step(3, "a2", "a"), Step(5, "a2"), Step(30, "a1")],
        100,
        {"a1": 2, "a2": 3},
        {"a": 2, "a gone": 90},
    ),
    "a stay of 0 ends with the answer (386)": (
        ONE,
        [Step(0, "a1", "a", 0), Step(5, "a1")],
        10,
        {"a1": 2},
        {"a": 2, "a gone": 5},
    ),
    "nothing asks for an idle model: it makes room at once, however long it was to stay (344, 345)": (
        ONE,
        [Step(0, "a1", "a", 1800), Step(5, "a1"), Step(6, "b1", "b")],
        100,
        {"a1": 2, "b1": 8},
        {"a": 2, "a gone": 6, "b": 8},
    ),
    "a model in use is waited for, and goes with its last answer (386)": (
        ONE,
        [Step(0, "a1", "a", 1800), Step(3, "b1", "b"), Step(9, "a1")],
        100,
        {"a1": 2, "b1": 11},
        {"a": 2, "a gone": 9, "b": 11},
    ),
    "one without keep_alive passes who waits, and delays it by its own time alone (201, 483)": (
        ONE,
        [Step(0, "a1", "a", 1800), Step(3, "b1", "b"), Step(4, "a2", "a"), Step(9, "a1"), Step(12, "a2")],
        100,
        {"a1": 2, "a2": 4, "b1": 14},
        {"a": 2, "a gone": 12, "b": 14},
    ),
    "one with keep_alive, while B waits, makes it wait so long after A's last answer (484, 395)": (
        ONE,
        [Step(0, "a1", "a", 1800), Step(3, "b1", "b"), Step(4, "a2", "a", 1800), Step(9, "a1"), Step(12, "a2")],
        3000,
        {"a1": 2, "a2": 4, "b1": 1814},
        {"a": 2, "a gone": 1812, "b": 1814},
    ),
    "each further one renews it again (480, 408)": (
        ONE,
        [
            *(Step(0, "a1", "a"), Step(3, "b1", "b"), Step(4, "a2", "a", 60), Step(5, "a1"), Step(6, "a2")),
            *(Step(50, "a3", "a"), Step(51, "a3"), Step(100, "a4", "a", 10), Step(101, "a4")),
        ],
        3000,
        {"a1": 2, "a2": 4, "a3": 50, "a4": 100, "b1": 113},
        {"a": 2, "a gone": 111, "b": 113},
    ),
    "a keep_alive of 0 among them lets A go (386)": (
        ONE,
        [
            *(Step(0, "a1", "a"), Step(3, "b1", "b"), Step(4, "a2", "a", 60), Step(5, "a1"), Step(6, "a2")),
            *(Step(20, "a3", "a", 0), Step(21, "a3")),
        ],
        3000,
        {"a1": 2, "a2": 4, "a3": 20, "b1": 23},
        {"a": 2, "a gone": 21, "b": 23},
    ),
    "the client of B has left, and A is to go all the same; B is not loaded (344, 627)": (
        ONE,
        [Step(0, "a1", "a", 1800), Step(3, "b1", "b"), Step(4, "b1"), Step(5, "c1", "c"), Step(9, "a1")],
        100,
        {"a1": 2, "c1": 11},
        {"a": 2, "a gone": 9, "c": 11},
    ),
    "who left before its turn is passed over (237)": (
        ONE,
        [Step(0, "a1", "a"), Step(1, "b1", "b"), Step(1.5, "b1"), Step(3, "a2", "a"), Step(4, "a1"), Step(5, "a2")],
        100,
        {"a1": 2, "a2": 3},
        {"a": 2},
    ),
    "the first in line holds up all behind it, also those for which there is room (348)": (
        {"most": 2, "load": 2.0},
        [
            *(Step(0, "a1", "a", 9), Step(0, "b1", "b", 99), Step(5, "c1", "c"), Step(6, "d1", "d")),
            *(Step(7, "b1"), Step(10, "a1")),
        ],
        30,
        {"a1": 2, "b1": 4, "c1": 12, "d1": 14},
        {"a": 2, "b": 4, "a gone": 10, "c": 12, "b gone": 12, "d": 14},
    ),
    "of two an idle one goes (1686)": (
        {"most": 2, "load": 2.0},
        [Step(0, "a1", "a", 9), Step(0, "b1", "b", 99), Step(5, "b1"), Step(6, "c1", "c")],
        50,
        {"a1": 2, "b1": 4, "c1": 8},
        {"a": 2, "b": 4, "b gone": 6, "c": 8},
    ),
    "of two in use the one with the shorter stay goes (1691)": (
        {"most": 2, "load": 2.0},
        [Step(0, "a1", "a", 99), Step(0, "b1", "b", 9), Step(5, "c1", "c"), Step(6, "a1"), Step(20, "b1")],
        50,
        {"a1": 2, "b1": 4, "c1": 22},
        {"a": 2, "b": 4, "b gone": 20, "c": 22},
    ),
    "other load options wait for their own model to go (254, 395)": (
        ONE,
        [
            *(Step(0, "a1", "a"), Step(3, "a2", "a", None, {"num_ctx": 9}), Step(4, "a3", "a", 60)),
            *(Step(5, "a1"), Step(6, "a3")),
        ],
        100,
        {"a1": 2, "a3": 4, "a2": 68},
        {"a": 68, "a gone": 66},
    ),
    "a client that leaves breaks off its load, and the next in line begins (llm/llama_server.go, 1299)": (
        ONE,
        [Step(0, "a1", "a"), Step(1, "a2", "a"), Step(1.5, "a1")],
        100,
        {"a2": 3.5},
        {"a": 3.5},
    ),
    "who waits also waits until the memory is free (463)": (
        ONE | {"unload": 1.5},
        [Step(0, "a1", "a"), Step(3, "b1", "b"), Step(5, "a1"), Step(5.5, "a2", "a")],
        8.6,
        {"a1": 2, "b1": 8.5},
        {"a": 2, "a gone": 5, "b": 8.5},
    ),
    "one that comes before the time is over stops the clock (480)": (
        ONE,
        [Step(0, "a1", "a", 3), Step(2.5, "a1"), Step(5.4, "a2", "a"), Step(9, "a2")],
        100,
        {"a1": 2, "a2": 5.4},
        {"a": 2, "a gone": 12},
    ),
    "with no limit all stay (264)": (
        {"load": 2.0},
        [Step(0, "a1", "a", 1800), Step(0, "b1", "b"), Step(0, "c1", "c")],
        100,
        {"a1": 2, "b1": 4, "c1": 6},
        {"a": 2, "b": 4, "c": 6},
    ),
}


@pytest.mark.parametrize("story", STORIES)
def test_models_come_and_go_as_on_ollama(story: str) -> None:
    """Who has its model when, and what is loaded when, on a clock of plain numbers."""
    settings, steps, until, given, models = STORIES[story]
    assert play(Runners(**settings), *steps, until=until) == (given, models)


@pytest.mark.parametrize(
    ("loaded", "asked", "fits"),
    [
        ({}, {}, True),
        ({"num_ctx": 4096}, {"num_ctx": 4096}, True),
        ({"num_ctx": 4096}, {}, False),
        ({}, {"num_ctx": 4096}, False),
        ({"num_gpu": 9}, {}, True),  # 1408: -1, the default, is whatever there is
        ({"num_gpu": 9}, {"num_gpu": -1}, True),
        ({"num_gpu": 9}, {"num_gpu": 8}, False),
        ({}, {"shift": False}, False),  # 1417
    ],
)
def test_what_must_be_loaded_again(loaded: dict[str, object], asked: dict[str, object], *, fits: bool) -> None:
    """Load options that differ from those of the loaded model (`needsReload`, 1381)."""
    runners = Runners()
    first, second = Want("a", loaded), Want("a", asked)
    runners.ask(first)
    runners.advance(0)
    runners.ask(second)
    assert (second.runner is first.runner is not None) is fits


def test_what_has_died_is_given_to_nobody() -> None:
    """After a crash who waits for room loads at once, and the answers of the dead count nothing (376)."""
    runners = Runners(most=1)
    first, second = Want("a", keep_alive=60), Want("b", keep_alive=60)
    runners.ask(first)
    runners.advance(0)
    runners.ask(second)
    runners.advance(1)
    assert second.runner is None
    runners.forget()
    runners.advance(2)
    assert list(runners.loaded) == ["b"]
    runners.done(first, 3)
    assert runners.advance(3) == math.inf
    runners.done(second, 4)
    assert runners.advance(4) == 64


def post(sock: Any, path: str, prompt: str, **more: Any) -> None:
    send(sock, "POST", path, json.dumps(body_for(path, prompt) | more).encode())


@pytest.mark.parametrize(
    ("path", "more", "held"),
    [
        (CHAT, {"keep_alive": "0.4s"}, True),
        (GENERATE, {"keep_alive": 0.4}, True),
        (CHAT, {}, False),
        (V1_CHAT, {"keep_alive": "30m"}, False),
    ],
)
def test_keep_alive_holds_up_who_waits(path: str, more: dict[str, Any], *, held: bool) -> None:
    """Over HTTP: B stays out after A's last answer if a request for A said `keep_alive` meanwhile; /v1 never does."""
    with (
        simulator_thread(models=("a", "b"), max_loaded=1) as sim,
        closing(connect(sim)) as first,
        closing(connect(sim)) as second,
    ):
        post(first, CHAT, "[[sim do=stall]]", model="a", keep_alive="30m")
        eventually(lambda: sim.tally.in_service == 1)
        post(second, CHAT, "x", model="b")
        eventually(lambda: sim.tally.waiting == 1)
        assert ask(sim, path, model="a", **more).status == 200
        first.close()
        eventually(lambda: sim.tally.in_service == 0)
        if held:
            assert ask(sim, "/api/ps", method="GET").json["models"][0]["name"] == "a:latest"
            assert sim.tally.loads == {"a:latest": 1}
        assert hear(second).lines[-1]["done"]  # within the client's 10 s
        assert sim.tally.loads == {"a:latest": 1, "b:latest": 1}


def test_a_model_is_unloaded_on_request() -> None:
    """An empty prompt with `keep_alive: 0` unloads and loads nothing (server/routes.go, 404); one without loads."""
    with simulator_thread() as sim:
        assert ask(sim, GENERATE, "", stream=False, keep_alive=0).json["done_reason"] == "unload"
        assert sim.tally.loads == {}
        assert ask(sim, GENERATE, "", stream=False).json["done_reason"] == "load"
        assert ask(sim, GENERATE, "", stream=False, keep_alive=0).json["done_reason"] == "unload"
        assert ask(sim, "/api/ps", method="GET").json["models"] == []
        assert ask(sim, EMBED, "x", keep_alive=0).status == 200
        assert sim.tally.loads.total() == 2
