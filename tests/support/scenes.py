"""Scenes in which something is wrong with a part of the work, and what must become of all the rest of it.

The table is data: who asks, how the server treats whom, what must come out. `sceneplay` plays a scene.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from support.commandline import names, until
from support.rawhttp import ask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from support.sceneplay import Stage

ANSWER: Final = {"prompt_delay": 0.02, "tokens": 5}
"""A server whose answers take 20 ms."""
HOSTED: Final = {"look": "openai"}
NOBODY: Final[frozenset[str]] = frozenset()


@dataclass(frozen=True, slots=True)
class Scene:
    """One kind of trouble. Times in seconds; ids that stand in none of the sets belong to jobs that must succeed."""

    name: str
    jobs: tuple[Mapping[str, Any], ...]
    bad: frozenset[str] = NOBODY
    """Each of these has an error line at the end."""
    late: frozenset[str] = NOBODY
    """These must succeed, whenever: they are refused, or fail, the first times."""
    unsure: frozenset[str] = NOBODY
    """These may succeed, fail or wait for the next run."""
    pending: frozenset[str] = NOBODY
    """These have neither a result nor an error line at the end."""
    server: Mapping[str, Any] = field(default_factory=lambda: ANSWER)
    servers: tuple[Mapping[str, Any], ...] = ({},)
    """What is different at each of them."""
    args: tuple[str, ...] = ("-c", "8")
    exits: tuple[int, ...] = ()
    """How the run may end; if nothing is said, with 3 if there are bad jobs, else with 0."""
    healthy: float = 10.0
    """From the first request to the last answer to a job that nothing is wrong with."""
    ends: float = 240.0
    """From the start of the process to its end."""
    quiet: float = 40.0
    """The longest time in which no request comes and no answer ends: a last look waits 16 s and more for a hint."""
    requests: int | None = None
    """The most that the servers may see."""
    memory: int | None = None
    """The most that the process may have had at a time, in MiB."""
    stdin: bool = False
    """The jobs come through a pipe."""
    says: str = ""
    """A part of what is said on stderr."""
    again: str = "same"
    """What a second run does: nothing new ("same"), all of the rest ("mends"), or it is not asked for ("")."""
    meanwhile: Callable[[Stage], None] | None = None
    """What else happens while it runs."""
    quick: bool = False
    """Its run and a second one are over in a few seconds."""

    def __str__(self) -> str:
        return self.name

    @property
    def ids(self) -> list[str]:
        return [str(job["id"]) for job in self.jobs]

    @property
    def must(self) -> frozenset[str]:
        """The jobs that must succeed."""
        return frozenset(self.ids) - self.bad - self.unsure - self.pending

    @property
    def codes(self) -> tuple[int, ...]:
        return self.exits or ((3,) if self.bad else (0,))


def job(name: str, directive: str = "", **more: Any) -> dict[str, Any]:
    return {"id": name, "prompt": f"[[sim id={name} {directive}]]"} | more


def lot(
    count: int, sick: Iterable[int] = (), directive: str = "", prefix: str = "", **more: Any
) -> list[dict[str, Any]]:
    """So many jobs, of which those at the places `sick` meet what the directive says."""
    ill = set(sick)
    return [job(prefix + name, directive if place in ill else "", **more) for place, name in enumerate(names(count))]


def ids(places: Iterable[int], prefix: str = "") -> frozenset[str]:
    return frozenset(f"{prefix}q{place:03d}" for place in places)


FIFTH: Final = range(2, 200, 5)
WAYS: Final[dict[str, tuple[str, float, tuple[str, ...]]]] = {
    # the way in which a job fails each time it is asked: directive, the time for all others, arguments
    "500": ("status=500", 10, ()),
    "503": ("status=503", 10, ()),
    "503, Retry-After 2": ("status=503 retry_after=2", 25, ()),
    "429, Retry-After 1": ("status=429 retry_after=1", 25, ()),
    "hung up": ("do=close_before", 10, ()),
    "cut": ("do=cut after=2", 10, ()),
    "no first token": ("do=silent", 10, ("--first-token-timeout", "500ms")),
    "stalled": ("do=stall after=2", 10, ("--idle-timeout", "500ms")),
    "429, no hint": ("status=429", 25, ()),
    "529": ("do=overloaded", 10, ()),
    "502, a page": ("do=html502", 10, ()),
    "524": ("do=cloudflare524", 10, ()),
    "reset": ("do=reset_before", 10, ()),
    "truncated": ("do=truncate after=2", 10, ()),
    "an error in the stream": ("do=error_line after=2", 10, ()),
    "a runner that stops": ("do=runner_stopped", 10, ()),
    "loading": ("do=loading", 10, ()),
    "empty 200": ("do=empty200", 10, ()),
}
QUICK: Final = ("500", "503, Retry-After 2", "hung up", "cut")
MANY: Final = (
    "status=500",
    "status=503 retry_after=1",
    "status=429 retry_after=1",
    "do=close_before",
    "do=cut after=2",
)


def one_in_five() -> Iterable[Scene]:
    """200 jobs of which 40 fail each time: the others need less than a second of work."""
    for way, (directive, healthy, args) in WAYS.items():
        yield Scene(
            f"one in five always: {way}",
            tuple(lot(200, FIFTH, directive)),
            ids(FIFTH),
            args=("-c", "8", *args),
            healthy=healthy,
        )
    for way in QUICK:
        few = range(2, 100, 5)
        jobs = tuple(lot(100, few, WAYS[way][0]))
        args = ("-c", "8", "--retries", "1")
        yield Scene(f"one in five of 100 always: {way}", jobs, ids(few), args=args, healthy=25, again="", quick=True)
    turns = lot(200)
    for place in FIFTH:
        turns[place] = job(f"q{place:03d}", MANY[place // 5 % len(MANY)])
    yield Scene("one in five always: each way by turns", tuple(turns), ids(FIFTH), healthy=25)
    for way in ("500", "503, Retry-After 2", "hung up"):
        directive, healthy, args = WAYS[way]
        first = range(8)
        jobs = tuple(lot(200, first, directive))
        yield Scene(
            f"the first eight always: {way}", jobs, ids(first), args=("-c", "8", *args), healthy=max(25, healthy)
        )


def one() -> Iterable[Scene]:
    """A single job that fails each time."""
    yield Scene(
        "one of 100 always: 503, Retry-After 3",
        tuple(lot(100, [30], "status=503 retry_after=3")),
        ids([30]),
        healthy=25,
    )
    for way in ("500", "503", "503, Retry-After 2", "hung up"):
        directive, healthy, args = WAYS[way]
        jobs = tuple(lot(50, [20], directive))
        yield Scene(
            f"-c 1, one of 50 always: {way}",
            jobs,
            ids([20]),
            args=("-c", "1", *args),
            healthy=healthy,
            quick=way == "500",
        )
    refused = ("403", "status=403"), ("401", "status=401"), ("model missing", "do=model_missing")
    for name, directive in (*refused, ("insufficient_quota", "do=insufficient_quota"), ("402", "do=payment")):
        yield Scene(
            f"one of 40 always: {name}",
            tuple(lot(40, [15], directive)),
            ids([15]),
            server=ANSWER | HOSTED,
            args=("-c", "4"),
            quick=name in ("403", "model missing"),
        )
    first = tuple(lot(40, [0], "status=403"))
    yield Scene("the first of 40 always: 403", first, ids([0]), server=ANSWER | HOSTED, args=("-c", "4"))
    yield Scene("one of 40 always, on Ollama: 403", tuple(lot(40, [15], "status=403")), ids([15]), args=("-c", "4"))
    for name, directive in refused:
        yield Scene(
            f"one of 40 once: {name}",
            tuple(lot(40, [15], f"{directive} times=1")),
            unsure=ids([15]),
            server=ANSWER | HOSTED,
            args=("-c", "4"),
            exits=(0, 3),
            again="mends",
            quick=name == "401",
        )
    line = {
        "id": "vector",
        "url": "/api/embed",
        "body": {"model": "simulator", "input": "[[sim id=vector do=no_embeddings]]"},
    }
    mixed = (*lot(15), line, *lot(25, prefix="z"))
    yield Scene(
        "one embedding for a chat model (501)", mixed, unsure=frozenset(["vector"]), args=("-c", "4"),
        exits=(3, 4, 69, 77, 78), quick=True,
    )  # fmt: skip


def paths() -> Iterable[Scene]:
    """What one path does not offer, another does."""
    for name, server, path in (("Ollama", ANSWER, "/api/embed"), ("/v1", ANSWER | HOSTED, "/v1/embeddings")):
        vectors = [
            {
                "id": f"vector{place}",
                "url": path,
                "body": {"model": "simulator", "input": f"[[sim id=vector{place} do=no_embeddings]]"},
            }
            for place in range(20)
        ]
        mixed = [one for group in zip(vectors, lot(20), lot(20, prefix="z"), strict=True) for one in group]
        yield Scene(
            f"20 embeddings for a chat model (501), {name}",
            tuple(mixed),
            unsure=frozenset(f"vector{place}" for place in range(20)),
            server=server,
            args=("-c", "4"),
            exits=(3, 4, 69, 77, 78),
        )


def models() -> Iterable[Scene]:
    """Two models, of which one is in trouble; and two that do not fit beside each other."""
    both = [one for pair in zip(lot(30, prefix="a", model="a"), lot(60, prefix="b", model="b")) for one in pair]  # noqa: B905 - a has fewer
    both += lot(60, prefix="b", model="b")[30:]
    sick = [
        one | {"prompt": f"[[sim id={one['id']} status=429 retry_after=7200]]"} if one["model"] == "a" else one
        for one in both
    ]
    yield Scene(
        "Retry-After 7200 for one of two models",
        tuple(sick),
        pending=frozenset(one["id"] for one in both if one["model"] == "a"),
        server=ANSWER | HOSTED | {"models": ("a", "b")},
        exits=(4,),
        again="same",
        quick=True,
    )
    broken = [one | {"prompt": f"[[sim id={one['id']} status=500]]"} if one["model"] == "a" else one for one in both]
    yield Scene(
        "500 for one of two models",
        tuple(broken),
        unsure=frozenset(one["id"] for one in both if one["model"] == "a"),
        server=ANSWER | HOSTED | {"models": ("a", "b")},
        exits=(3, 4, 69, 78),
        healthy=25,
    )
    busy = lot(6, range(6), "do=busy times=1", prefix="b", model="b")
    short = lot(30, [0], "status=500 message=out%20of%20memory times=1", prefix="a", model="a")
    heap = [one for pair in zip(busy, short) for one in pair] + short[6:]  # noqa: B905 - the rest follows
    yield Scene(
        "two models, the limit cut while the heap is full",
        tuple(heap),
        server=ANSWER | {"models": ("a", "b"), "prompt_delay": 0.2},
        args=("-c", "auto"),
        healthy=25,
        quick=True,
    )
    ollama = ANSWER | {"models": ("a", "b"), "max_loaded": 1, "load": 0.3, "prompt_delay": 0.1, "slots": 2}
    halves = (*lot(12, prefix="a", model="a"), *lot(12, prefix="b", model="b"))
    yield Scene("Ollama: one model after the other", halves, server=ollama, args=("-c", "4"), quick=True)
    turns = lot(24)
    for place, one in enumerate(turns):
        one["model"] = "ab"[place % 2]
    yield Scene("Ollama: two models by turns", tuple(turns), server=ollama, args=("-c", "4"), quick=True)
    again = lot(12, range(3, 12, 2), "do=busy times=1", prefix="a", model="a")
    mixed = (*again, *lot(12, range(0, 12, 3), "do=runner_stopped times=1", prefix="b", model="b"))
    yield Scene("Ollama: retries of the model before", mixed, server=ollama, args=("-c", "4"), healthy=25, quick=True)
    slow = tuple(
        job(f"{model}{place}", "ttft=1" if place == 5 else "", model=model) for model in "ab" for place in range(6)
    )
    yield Scene("Ollama: a long answer of the model before", slow, server=ollama, args=("-c", "4"))
    six = tuple("abcdef")
    often = tuple(job(f"{model}{place}", model=model) for model in six for place in range(5))
    racing = ANSWER | {"models": six, "max_loaded": 1, "load": 0.05, "lag": 0.2}
    yield Scene(
        "Ollama: requests that overtake each other", often, server=racing, args=("-c", "4"), ends=20, quick=True
    )
    yield Scene(
        "Ollama: another client waits for its model",
        (*lot(30, model="a"), *lot(30, prefix="z", model="a", keep_alive="1h")),
        server=ollama | {"slots": 4},
        args=("-c", "4"),
        meanwhile=_visit,
        quick=True,
    )


def servers() -> Iterable[Scene]:
    """Of two servers one does not serve."""
    for name, fate in (
        ("500", "status=500"),
        ("503", "status=503"),
        ("429, Retry-After 7200", "status=429 retry_after=7200"),
        ("hung up", "do=close_before"),
        ("403", "status=403"),
        ("cut", "do=cut after=2"),
        ("empty 200", "do=empty200"),
    ):
        yield Scene(
            f"one of two servers: {name} to everything",
            tuple(lot(100)),
            server=ANSWER | HOSTED,
            servers=({}, {"default": fate}),
            args=("-c", "4"),
            healthy=25,
            quick=name == "500",
        )


def many_words() -> Iterable[Scene]:
    """Half of what is refused for long is more than may be kept in memory."""
    heavy = [one | {"prompt": one["prompt"] + "x" * 400_000} for one in lot(400, range(0, 400, 2), "status=503")]
    light = {"keep": 300}
    sick = ids(range(0, 400, 2))
    args = ("-c", "8", "--retries", "1")
    yield Scene(
        "half of 160 MB always: 503", tuple(heavy), sick, server=ANSWER | light, args=args, healthy=60, ends=180,
        memory=170, again="",
    )  # fmt: skip
    yield Scene(
        "half of 160 MB always, through a pipe: 503", tuple(heavy), unsure=sick, server=ANSWER | light, args=args,
        healthy=60, ends=180, memory=170, stdin=True, exits=(3, 4, 69), again="",
    )  # fmt: skip


def _visit(stage: Stage) -> None:
    """Another client asks for its own model in the middle of the run: it has its turn when the run is over."""
    until(lambda: stage.answered >= 10)
    try:
        ask(stage.sim, "/api/chat", "[[sim id=visitor]]", model="b")
    except TimeoutError:
        stage.wrong.append("another client waits for its model long after the run")


def from_the_start() -> Iterable[Scene]:
    """Nobody is ever served."""
    for count in (3, 5, 50):
        yield Scene(
            f"500 to everything, {count} jobs",
            tuple(lot(count)),
            pending=ids(range(count)),
            server=ANSWER | {"default": "status=500 message=the%20disk%20is%20on%20fire"},
            exits=(69, 78),
            says="the disk is on fire",
            ends=30,
            again="same",
        )
    yield Scene(
        "403 to everything, 40 jobs",
        tuple(lot(40)),
        pending=ids(range(40)),
        server=ANSWER | HOSTED | {"default": "status=403"},
        exits=(77, 78),
        ends=30,
        again="same",
    )


def _rotate(stage: Stage) -> None:
    """The key changes at the server, and its file with it."""
    until(lambda: stage.answered >= 40)
    stage.change_key("second")


def _revoke(stage: Stage) -> None:
    until(lambda: stage.answered >= 40)
    stage.change_key("second", tell=False)


def _leave_and_return(stage: Stage) -> None:
    """The server goes away when all but the refused jobs are served, and comes back after four seconds."""
    until(lambda: stage.answered >= 45)
    stage.go_away(4.0)


KEYED: Final = ANSWER | HOSTED | {"key": "first"}
WITH_FILE: Final = ("-c", "4", "--api-key-file", "key")


def keys() -> Iterable[Scene]:
    yield Scene("a rotated key file", tuple(lot(120)), server=KEYED, args=WITH_FILE, meanwhile=_rotate, quick=True)
    yield Scene(
        "a revoked key",
        tuple(lot(120)),
        unsure=ids(range(120)),
        server=KEYED,
        args=WITH_FILE,
        exits=(77,),
        ends=40,
        requests=160,
        again="",
        meanwhile=_revoke,
    )


def last_looks() -> Iterable[Scene]:
    """What is refused for long, and served in the end."""
    late = range(0, 50, 10)
    yield Scene(
        "refused seven times: 503, Retry-After 1",
        tuple(lot(50, late, "status=503 retry_after=1 times=7")),
        late=ids(late),
    )
    yield Scene(
        "refused seven times, -c 1", tuple(lot(50, late, "status=503 times=7")), late=ids(late), args=("-c", "1")
    )
    yield Scene(
        "a last look with a server that leaves and comes back",
        tuple(lot(50, late, "status=503 retry_after=1 times=7")),
        meanwhile=_leave_and_return,
        late=ids(late),
    )


def by_lot() -> Iterable[Scene]:
    """Nobody's job is at fault."""
    for status in (429, 503):
        for limit in ("8", "auto"):
            yield Scene(
                f"30 % answered {status}, Retry-After 1, -c {limit}",
                tuple(lot(2000)),
                server=ANSWER | {"slots": 8, "faults": ((str(status), 0.3),), "default": "retry_after=1"},
                args=("-c", limit),
                healthy=18,
            )


def rates() -> Iterable[Scene]:
    """A rate that nobody told: found by refusals alone."""
    tokens = {"tpm": 6000, "prompt_delay": 0.2, "tokens": 92, "look": "openai"}
    for hint in ("none", "body"):
        yield Scene(
            f"6,000 tokens a minute, found out, hint {hint}",
            tuple(lot(150)),
            server=tokens | {"hint": hint},
            args=("-c", "8"),
            healthy=160,
            ends=200,
            requests=180,
            again="",
        )
    yield Scene(
        "300 requests a minute, found out",
        tuple(lot(900)),
        server=ANSWER | HOSTED | {"rpm": 300, "hint": "none"},
        args=("-c", "8"),
        healthy=190,
        ends=220,
        requests=1050,
        again="",
    )


SCENES: Final[dict[str, Scene]] = {
    scene.name: scene
    for scenes in (
        one_in_five,
        one,
        paths,
        models,
        servers,
        from_the_start,
        keys,
        last_looks,
        by_lot,
        rates,
        many_words,
    )
    for scene in scenes()
}
"""All of them, by name."""
