"""Which models are loaded, which is to go, who waits: Ollama's scheduler (server/sched.go, v0.33.0-rc2). Pure.

Requests for a loaded model pass all others. The rest wait in one line, and the first of it holds up those behind it
until its model is loaded: if there is no room, another model must go, and that goes only when nobody uses it. A
request that says `keep_alive` renews the stay of its model even then, so that who waits for its place waits so long.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

LOAD_OPTIONS: Final = ("num_ctx", "num_batch", "num_gpu", "main_gpu", "use_mmap", "num_thread")
"""Options whose change makes Ollama load a model again (`Runner` in api/types.go, `needsReload`)."""


@dataclass(slots=True, eq=False)
class Want:
    """A request for a model: load options that it names, and how long (seconds) the model is to stay, if it says so."""

    model: str
    options: Mapping[str, object] = field(default_factory=dict)
    keep_alive: float | None = None
    runner: Runner | None = None
    """What it was given. It holds a reference until it is `done`."""
    is_gone: bool = False


@dataclass(slots=True, eq=False)
class Runner:
    """A loaded model (`runnerRef`), who uses it, and when it expires if nobody does."""

    model: str
    options: Mapping[str, object]
    session: float
    users: int = 0
    timer: float = math.inf

    def serves(self, want: Want) -> bool:
        """Whether a request can have it as it is (`needsReload`, which passes over a `num_gpu` that is not said)."""
        mine, asked = dict(self.options), dict(want.options)
        if asked.get("num_gpu", -1) == -1:
            mine.pop("num_gpu", None)
            asked.pop("num_gpu", None)
        return mine == asked


@dataclass(slots=True)
class Runners:
    """At most `most` models are loaded, one after another; `load` and `unload` say how long that takes, in seconds."""

    keep_alive: float = 300.0
    most: int | None = None
    load: float = 0.0
    unload: float = 0.0
    loaded: dict[str, Runner] = field(default_factory=dict)
    loads: list[str] = field(default_factory=list)
    """What was loaded since somebody emptied this, in turn."""
    _pending: deque[Want] = field(default_factory=deque)
    _first: Want | None = None
    """The request whose model is being loaded, or has no room yet."""
    _ready: float = math.inf
    """When its model is loaded."""
    _is_blocked: bool = False
    """It waits for a model to go."""
    _going: list[float] = field(default_factory=list)
    """When models that were unloaded have given back their memory."""

    def ask(self, want: Want) -> None:
        """Take in a request (`getRunner`): it has its `runner` at once, or a later `advance` gives it one."""
        runner = self.loaded.get(want.model)
        if runner is not None and runner.serves(want):
            _use(runner, want)
        else:
            self._pending.append(want)

    def would_serve(self, model: str, options: Mapping[str, object]) -> bool:
        """Whether a request would have its runner at once."""
        runner = self.loaded.get(model)
        return runner is not None and runner.serves(Want(model, options))

    def done(self, want: Want, now: float) -> None:
        """A request has its answer, or its client has left, in whatever state it is (`processCompleted`)."""
        want.is_gone = True
        if want is self._first:  # its load is broken off; if it waits for room, the next one waits on
            self._first, self._ready = None, math.inf
        runner = want.runner
        if runner is not None:
            runner.users -= 1
            if not runner.users:
                runner.timer = now + runner.session

    def expire(self, model: str, now: float) -> None:
        """Unload a model as soon as nobody uses it (`expireRunner`)."""
        if model in self.loaded:
            self._end_session(self.loaded[model], now)

    def forget(self) -> None:
        """All that is loaded has died."""
        self.loaded.clear()
        self._is_blocked = False

    def advance(self, now: float) -> float:
        """Do what is due, and say when to come back."""
        while self._unload(now) or self._go_on(now):
            pass
        due = [self._ready, *self._going]
        due += [runner.timer for runner in self.loaded.values()]
        return min(due)

    def _unload(self, now: float) -> bool:
        """Let expired models go; true if one went, or has gone for good."""
        for model, runner in self.loaded.items():
            if runner.timer <= now:
                del self.loaded[model]
                self._going.append(now + self.unload)
                return True
        if self._going and self._going[0] <= now:
            del self._going[0]
            self._is_blocked = False
            return True
        return False

    def _go_on(self, now: float) -> bool:
        """Do the next thing for the first in line (`processPending`); false if there is nothing to do now."""
        if self._first is None:
            if not self._pending:
                return False
            self._first = self._pending.popleft()
            if self._first.is_gone:
                self._first = None
                return True
        if self._ready < math.inf:
            return self._ready <= now and self._give(self._first)
        return not self._is_blocked and self._make_room(self._first, now)

    def _make_room(self, want: Want, now: float) -> bool:
        """Give what is loaded, begin to load, or let another model go."""
        runner = self.loaded.get(want.model)
        if runner is not None and runner.serves(want):
            _use(runner, want)
            self._first = None
            return True
        if runner is None and (not self.most or len(self.loaded) < self.most):
            self._ready = now + self.load
            return True
        self._end_session(runner or self._least(), now)
        self._is_blocked = True
        return True

    def _least(self) -> Runner:
        """The model that is to go: one that is idle, else that with the shortest stay (`findRunnerToUnload`)."""
        by_stay = sorted(self.loaded.values(), key=lambda runner: (runner.session, runner.model))
        return next((runner for runner in by_stay if not runner.users), by_stay[0])

    @staticmethod
    def _end_session(runner: Runner, now: float) -> None:
        runner.session = 0.0
        if not runner.users:
            runner.timer = now

    def _give(self, want: Want) -> bool:
        """A model is loaded, and its first user has it (`load`)."""
        stay = self.keep_alive if want.keep_alive is None else want.keep_alive
        runner = self.loaded[want.model] = Runner(want.model, want.options, stay)
        runner.users = 1
        want.runner = runner
        self.loads.append(want.model)
        self._first, self._ready = None, math.inf
        return True


def _use(runner: Runner, want: Want) -> None:
    """Give a loaded model to one more request (`useLoadedRunner`)."""
    runner.users += 1
    runner.timer = math.inf
    if want.keep_alive is not None:
        runner.session = want.keep_alive
    want.runner = runner
