"""What becomes of one request for an answer: read, counted, refused or queued, generated, sent as its faults want."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import replace
from email.utils import formatdate
from typing import TYPE_CHECKING

from batcher.simulator.asks import EMBEDDING, Ask, Durations, normal_name, read_body, texts_of
from batcher.simulator.behaviours import STOPPING, Behaviour, behaviour_of, parse
from batcher.simulator.chance import Chance
from batcher.simulator.content import complete
from batcher.simulator.http import Request, response_head
from batcher.simulator.limits import Limits
from batcher.simulator.pace import Pace
from batcher.simulator.refusals import JSON, REFUSALS, RefusedError, Reply, refuse, say
from batcher.simulator.routes import ANSWERS
from batcher.simulator.script import Step, Steps, bomb, last_words, stream, whole
from batcher.simulator.slots import Slots
from batcher.simulator.tally import Seen

if TYPE_CHECKING:
    from collections.abc import Callable

    from batcher.simulator.connection import Connection
    from batcher.simulator.limits import Headers
    from batcher.simulator.settings import Settings
    from batcher.simulator.tally import Tally

NO_FAULTS: frozenset[str] = frozenset()


class Service:
    """The part of a server that answers. `crash` resets every connection."""

    def __init__(self, settings: Settings, tally: Tally, crash: Callable[[], None]) -> None:
        self._settings = settings
        self._tally = tally
        self._crash = crash
        self.models = frozenset(normal_name(model) for model in settings.models)
        self._default = parse(settings.default)
        self._chance = Chance(settings)
        self._limits = Limits(settings)
        self._pace = Pace(settings, tally)
        self._playing: dict[Connection, Ask] = {}
        self._number = 0
        self._date = (0, "")
        self.storm_until = -math.inf
        """All are refused until then, on the monotonic clock."""
        self.slots = Slots(settings, tally)

    async def answer(self, request: Request, wire: Connection) -> None:
        """Answer one request. Raises `RefusedError`, `QueueFullError`."""
        ask = self._read(request)
        if ask.faults and self._refuse(ask, wire):
            return
        complete(ask, self.models)
        headers: Headers = ()
        if not self._limits.none:
            tokens = ask.prompt_tokens + ask.completion_tokens
            headers = self._limits.admit(ask.asked_model, tokens, time.monotonic(), self._wall(), native=ask.native)
        began = time.perf_counter_ns()
        if lag := self._chance.lag(ask.key, self._tally.counts[ask.key]):
            await asyncio.sleep(lag)
        if ask.finish == "unload":  # answered at once, whoever uses the model (server/routes.go)
            self.slots.expire(ask.asked_model)
            await self._play(ask, request, wire, (began, began), headers)
            return
        async with self.slots.hold(ask.asked_model, ask.body if ask.native else {}) as loaded:
            self._playing[wire] = ask
            try:
                await self._play(ask, request, wire, (began, loaded), headers)
            finally:
                del self._playing[wire]

    def reply(self, reply: Reply, request: Request, wire: Connection) -> None:
        """Send a whole response."""
        body = b"" if request.method == "HEAD" else reply.body
        length = 0 if reply.status == 204 else len(reply.body)
        wire.write(response_head(reply.status, reply.content_type, length, self.date(), reply.headers) + body)

    def date(self) -> str:
        """The Date header, made once a second."""
        second = int(self._wall())
        if second != self._date[0]:
            self._date = (second, formatdate(second, usegmt=True))
        return self._date[1]

    def _wall(self) -> float:
        return time.time() + self._settings.clock_off

    def _read(self, request: Request) -> Ask:
        """Who asks, how often so far, and what the directive wants. Every input of a pack counts under its own id."""
        native = request.path.startswith("/api/")
        body = read_body(request.body, native=native)
        texts = texts_of(request.path, body)
        try:
            behaviours = [behaviour_of(text, self._default) for text in texts] or [self._default]
        except ValueError as error:
            raise say(418, str(error), native=native) from None
        keys = [found.id or text[:80] for found, text in zip(behaviours, texts or [""], strict=True)]
        faults = []
        for place, (key, found) in enumerate(zip(keys, behaviours, strict=True)):
            self._tally.counts[key] += 1
            behaviours[place], active = self._fate(key, found)
            faults.append(active)
        chosen = next((i for i, active in enumerate(faults) if active), 0)
        met = NO_FAULTS.union(*faults) if len(faults) > 1 else faults[0]
        self._tally.remember(Seen(keys[0], time.monotonic(), request.path, request.headers, body, met))
        self._number += 1
        return Ask(
            path=request.path,
            body=body,
            texts=texts,
            keys=keys,
            key=keys[chosen],
            settings=self._settings,
            length=self._chance.tokens(keys[chosen]),
            number=self._number,
            created=self._wall(),
            behaviour=behaviours[chosen],
            faults=met,
            text_faults=faults,
        )

    def _fate(self, key: str, behaviour: Behaviour) -> tuple[Behaviour, frozenset[str]]:
        """What happens to this request of a job: what its directive says, else what is drawn by lot."""
        nth = self._tally.counts[key]
        if (left := self.storm_until - time.monotonic()) > 0:
            told = f"do=throttled hint={self._settings.hint} retry_after={left:.3f}"
            return parse(told, replace(behaviour, status=None)), frozenset(("throttled",))
        if behaviour.active(nth):
            return behaviour, behaviour.do or frozenset(("status",))
        if self._chance.sure or not (drawn := self._chance.fault(key, nth)):
            return behaviour, NO_FAULTS
        behaviour = parse(drawn, replace(behaviour, do=NO_FAULTS, status=None))
        return behaviour, behaviour.do or frozenset(("status",))

    def _refuse(self, ask: Ask, wire: Connection) -> bool:
        """Do what the faults want in place of an answer; false if they want nothing of the kind."""
        done = next(
            (name for name in ("crash", "runner_crash", "reset_before", "close_before") if name in ask.faults), ""
        )
        if done == "crash":
            self.slots.forget()
            self._crash()
        elif done == "runner_crash":
            self._kill_runner()
            raise RefusedError(_stopped(ask))
        elif done == "reset_before":
            wire.reset()
        elif done == "close_before":
            wire.close()
        elif (refusal := ask.behaviour.refusal()) is not None:
            behaviour, hint = ask.behaviour, ask.behaviour.hinted(self._wall())
            words = (behaviour.message or refusal.message) + hint.words
            headers = (*behaviour.headers, *hint.headers)
            raise RefusedError(refuse(refusal, native=ask.native, message=words, headers=headers, extra=hint.extra))
        if done:
            self._tally.refused[done] += 1
        return bool(done)

    def _kill_runner(self) -> None:
        """All that is being generated ends as Ollama ends it (llm/llama_server.go)."""
        self.slots.forget()
        for wire, ask in list(self._playing.items()):
            if wire.begun and ask.stream:
                wire.interrupt(last_words(ANSWERS[ask.look][ask.path](ask), ask))
            elif not wire.begun:
                reply = _stopped(ask)
                head = response_head(reply.status, reply.content_type, len(reply.body), self.date())
                wire.interrupt(head + reply.body)

    async def _play(
        self, ask: Ask, request: Request, wire: Connection, times: tuple[int, int], headers: Headers
    ) -> None:
        behaviour, faults = ask.behaviour, ask.faults
        began, loaded = times
        if "silent" in faults:
            await wire.wait_closed()
            return
        reading = time.perf_counter_ns()
        await self._pace.prompt(ask.prompt_tokens, behaviour.ttft)
        first = time.perf_counter_ns()

        def measure() -> Durations:
            now = time.perf_counter_ns()
            load, prompt = max(1, loaded - began), max(1, first - reading)
            return Durations(now - began, load, prompt, max(1, now - first))

        produced = _Produced(self._tally, ask)
        try:
            if not ask.stream and ask.path not in EMBEDDING:
                await produced.whole(self._pace)
            head, steps, chunked = self._script(ask, measure, headers)
            if "close_delimited" in faults:
                request.keep_alive = False
            if "stall_head" in faults:
                wire.write(head[: len(head) // 2])
                await wire.wait_closed()
                return
            await wire.play(
                head,
                produced.counted(steps),
                chunked=chunked,
                sliced="slice" in faults,
                delay=lambda: self._pace.token(behaviour.delay),
            )
        finally:
            produced.settle(left=wire.left)
        wire.stale = "stale" in faults
        if "hangup" in faults:
            wire.close()

    def _script(self, ask: Ask, measure: Callable[[], Durations], headers: Headers) -> tuple[bytes, Steps, bool]:
        """The head, the steps, and whether the body is chunked."""
        answer = ANSWERS[ask.look][ask.path](ask)
        length: int | None = None
        if "bomb" in ask.faults:
            kind, steps = JSON, bomb()
        elif ask.stream:
            kind = "application/x-ndjson" if ask.native else "text/event-stream"
            steps = stream(answer, ask, measure)
        else:
            kind = JSON if ask.native else "application/json"
            length, steps = whole(answer, ask, measure)
        headers = (*headers, *ask.behaviour.headers)
        if not ask.faults.isdisjoint(("gzip", "bomb")):
            headers = (*headers, ("Content-Encoding", "gzip"))
        if "endless_head" in ask.faults:
            headers = (*headers, ("X-Endless", "a" * (64 << 20)))
        if "close_delimited" in ask.faults:
            length = -1
        return response_head(200, kind, length, self.date(), headers), steps, length is None


class _Produced:
    """The tokens of one answer, as they are generated; whether it comes to its end, and who was the cause if not."""

    def __init__(self, tally: Tally, ask: Ask) -> None:
        self._tally = tally
        self._ask = ask
        self._tokens = 0
        self._over = False

    async def whole(self, pace: Pace) -> None:
        """Generate a whole answer before its first byte."""
        count, fixed = self._ask.completion_tokens, self._ask.behaviour.delay
        if not pace.token(fixed):
            self._count(count)
            return
        async for _ in pace.tokens(count, fixed):
            self._count()

    def counted(self, steps: Steps) -> Steps:
        """Count the answer before its terminal mark goes out, so that whoever has heard that finds it counted."""
        stopping = not self._ask.faults.isdisjoint(STOPPING)
        for step, data in steps:
            if step is Step.RECORD:
                self._count()
            elif step is Step.MARK and not self._over and not stopping:
                self._over = True
                self._tally.answer(self._ask.keys, time.monotonic())
            yield step, data

    def settle(self, *, left: bool) -> None:
        """The answer has been sent, or never will be."""
        if self._over or not self._tokens:
            return
        ours = not left or not self._ask.faults.isdisjoint(STOPPING)
        (self._tally.broken if ours else self._tally.dropped)[self._ask.key] += 1
        self._tally.wasted += self._tokens
        if not ours:
            self._tally.left += self._tokens

    def _count(self, tokens: int = 1) -> None:
        self._tokens += tokens
        self._tally.generated += tokens


def _stopped(ask: Ask) -> Reply:
    """What a request hears whose runner died before the first token."""
    return refuse(REFUSALS["embed_crash" if ask.path == "/api/embed" else "runner_stopped"], native=ask.native)
