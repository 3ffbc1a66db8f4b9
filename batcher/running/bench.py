"""Runs the steps of a sweep (`batcher bench`): each a run of its own over the next rows of the input.

Its results go where those of `batcher run` go, which asks none of these rows again. Where the input has too few that
have no result, rows are asked again into a directory that is gone afterwards.
"""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from batcher.figures import AUTO, Concurrency, count
from batcher.running.loops import on_loop
from batcher.running.runner import Run
from batcher.running.sampling import Watch
from batcher.running.wiring import source_for
from batcher.view.steps import Held, Point, Slo, both, capped, point_of
from batcher.view.sweep import beside, best_pack, contenders, doubled, is_contender, knee, middles

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from batcher.failures import Failure
    from batcher.options import Options
    from batcher.view.observer import Observer
    from batcher.view.summary import Summary

A_SLOT: Final = 8
"""Rows of a step for each that may be in flight, at least."""
LEAST: Final = 16
"""Rows of a step, at least."""
SHARE: Final = 20
"""A step takes a twentieth of the rows that are left, if that is more."""
PACKS_AT: Final = 4
"""Requests in flight with which packs are tried first: one alone would have the server wait for the next."""
LOOKS: Final = 2
"""Steps of what is chosen between."""
LONGER: Final = 2
"""How many times as long as the others the step of `auto` may take, which has to find its concurrency first."""


@dataclass(slots=True, kw_only=True)
class Bench:
    """One sweep. `options` are those of a run; `seconds` and `rows` bound each of its steps."""

    input: str | Sequence[str]
    output: Path
    options: Options
    environ: Mapping[str, str]
    observer: Observer
    seconds: float
    rows: int | None = None
    slo: Slo = field(default_factory=dict)
    levels: Sequence[int] = ()
    """What to try; () for what the rules say."""
    packs: Sequence[int] = ()
    """How many embedding inputs go in one request: one number that holds, or several that are tried; () finds out."""
    most: int = 64
    points: list[Point] = field(default_factory=list)
    auto: Point | None = None
    stop: Failure | None = None
    """Why it ended early."""
    signal: int | None = None
    left: int | None = None
    """Rows that have no result yet, as far as that is known."""
    cost: float | None = None
    """Of all answers whose price is known, those among them that are not kept."""
    unpriced: int = 0
    _is_packed: bool = False
    """Requests with several inputs were made."""
    _share: int = 0
    """Rows of the input."""
    _said: set[str] = field(default_factory=set)

    @property
    def is_complete(self) -> bool:
        """Whether it came to its end, which is the step of `auto`."""
        return self.auto is not None

    def sweep(self) -> Iterator[Point]:
        """Make the steps, and yield a point after each, `auto` last; none where there is no row to ask, which is said.

        Raises BatcherError as a run does.
        """
        if not self._has_rows():
            return
        run, _ = self._run(self._kept(1), Concurrency(1, 1), 1)  # a model is loaded, and rows are counted
        if self._has_none_to_ask(run.summary, is_said=run.jobs is not None and not run.jobs.share):
            return
        for level, pack in self._pairs():
            if (point := self._step(level, pack)) is None:
                return
            self.points = _alike([*self.points, point])
            yield self.points[-1]
        for first in contenders(self.points, self.slo):
            if (point := self._step(first.concurrency, first.pack)) is None:
                return
            self.points = _alike([both(one, point) if one.way == point.way else one for one in self.points])
            yield point
        held = self.packs[0] if len(self.packs) == 1 else None
        for _ in range(LOOKS):
            if self.auto is not None and not is_contender(self.auto, self.points, self.slo):
                return
            if (point := self._step(None, held)) is None:
                return
            point = both(point, self.auto) if self.auto is not None else point
            *self.points, self.auto = _alike([*self.points, point])
            yield self.auto

    def _has_rows(self) -> bool:
        """Look for one, and say if there is none, before anything is asked or made."""
        source = source_for(self.input, self.options, Watch(self.observer, self._said).note)
        try:
            return not source.is_regular or next(source.all_lines(), None) is not None
        finally:
            source.close()

    def _pairs(self) -> Iterator[tuple[int, int | None]]:
        """What to try: a concurrency, and how many inputs a request has, None for as many as are found to be best."""
        packs = sorted(set(self.packs))
        pack = packs[0] if packs else None
        if len(packs) > 1:
            at = self.levels[0] if self.levels else min(PACKS_AT, self.most)
            for each in reversed(packs):  # one that makes no packs of the largest has no use for the others
                yield at, each
                if not self._is_packed and self.points[-1].requests:  # of nothing that was answered nobody can tell
                    self.observer.note("no request had several inputs: packs are for embeddings, and are not tried")
                    self.points, packs = [], []
                    break
            pack = best_pack(self.points)
        yield from ((level, pack) for level in self._levels(pack))
        found = knee(self.points)
        if found is not None and len(packs) > 1:
            yield from (
                (found.concurrency, one)
                for one in beside(found.pack, packs)
                if self._at(found.concurrency, one) is None
            )

    def _levels(self, pack: int | None) -> Iterator[int]:
        """The concurrencies to try with a pack; what was tried counts, and is not tried again."""
        done: list[int] = []

        def wanted() -> Iterator[int]:
            if self.levels:
                yield from self.levels
                return
            while (level := doubled(self._of(done, pack), self.most)) is not None:
                yield level
            yield from middles(self._of(done, pack))

        for level in wanted():
            done.append(level)
            if self._at(level, pack) is None:
                yield level

    def _at(self, level: int, pack: int | None) -> Point | None:
        return next((point for point in self.points if point.way == (level, pack)), None)

    def _of(self, levels: Sequence[int], pack: int | None) -> list[Point]:
        return [point for level in levels if (point := self._at(level, pack)) is not None]

    def _step(self, level: int | None, pack: int | None) -> Point | None:
        """Make one step; None if the sweep is over, since somebody or something ended it."""
        if self.stop is not None or self.signal is not None:
            return None
        found = knee(self.points) if level is None else None
        width = level or (found.concurrency if found is not None else 1)
        each = pack or (found.pack if found is not None else None) or 1
        wanted = self._rows(width, each) * (LONGER if level is None else 1)
        is_new = self.left is None or self.left >= max(width * A_SLOT // 2, LEAST // 2) * each
        concurrency = AUTO if level is None else Concurrency(level, level)
        longer = LONGER if level is None else 1
        if is_new:
            run, watch = self._run(replace(self._kept(wanted), pack=pack), concurrency, longer)
        else:
            self._note_again(level)
            with tempfile.TemporaryDirectory(prefix="batcher-bench-") as directory:
                again = replace(self._again(wanted), pack=pack)
                run, watch = self._run(again, concurrency, longer, Path(directory) / "again.jsonl")
        if self.signal is not None:
            return None
        self._is_packed |= any(sample.answers > 1 for sample in watch.samples)
        allowed = [server.in_flight for server in run.summary.servers.values()]
        settled = level or max(allowed, default=1)
        held = _held(run.summary, kept=is_new)
        in_all = settled * max(1, len(allowed))
        point = point_of(watch.samples, in_all, held, self.slo, settles=level is None)
        return replace(point, concurrency=settled, pack=pack)

    def _has_none_to_ask(self, summary: Summary, *, is_said: bool) -> bool:
        """Whether a run came to the end of the input and had nothing to send: nor would the next, and that is said."""
        if self.stop is not None or summary.stop is not None or summary.attempts or summary.pending or summary.unread:
            return False
        if not summary.jobs:
            if not is_said:
                self.observer.note("none of the rows is chosen: there is nothing to ask")
        elif summary.invalid == summary.jobs:
            first = summary.causes.ranked()[0]
            words = f"{count(first.count)} × {first.code}: {first.message} ({first.id})"  # noqa: RUF001 - times
            self.observer.note(f"none of {count(summary.jobs, 'rows')} can be sent: {words}")
        else:
            return False
        return True

    def _rows(self, width: int, each: int) -> int:
        if self.rows is not None:
            return self.rows
        least = max(LEAST, width * A_SLOT) * each
        if self.left is None:
            return 1 << 40  # a large input: its time ends a step
        return max(least, self.left // SHARE)

    def _kept(self, rows: int) -> Options:
        # a row that has failed would be asked in every step
        return replace(self.options, limit_new=rows, skip_failed=True)

    def _again(self, rows: int) -> Options:
        """The same requests over and over: for a file of their own."""
        repeat = self.options.repeat * max(1, math.ceil(rows / max(1, self._share)))
        return replace(
            self.options,
            limit_new=rows,
            repeat=repeat,
            errors=None,
            overwrite=False,
            dedupe=False,
            vectors=None,
            done_from=(),
        )

    def _note_again(self, level: int | None) -> None:
        at = "auto" if level is None else f"-c {level}"
        if "again" not in self._said:
            self._said.add("again")
            self.observer.note(
                f"the input has too few rows without a result: from {at} on rows are asked again, and those answers "
                "are not kept (a server that caches prompts may be faster then)"
            )

    def _run(
        self, options: Options, concurrency: Concurrency, longer: int, output: Path | None = None
    ) -> tuple[Run, Watch]:
        watch = Watch(self.observer, self._said)
        changes: dict[str, Any] = {"concurrency": concurrency, "grace": max(options.grace, self.seconds)}
        run = Run(
            self.input,
            output or self.output,
            replace(options, **changes),
            self.environ,
            watch,
            handle_signals=True,
            typed=output is None,
            sends_for=self.seconds * longer,
        )
        summary = on_loop(run.run)
        self.signal = summary.signal
        self.unpriced += summary.unpriced
        if summary.cost is not None:
            self.cost = (self.cost or 0.0) + summary.cost
        if summary.stop is not None and summary.stop.code != "limit_new":
            self.stop = summary.stop
        elif summary.refused:
            self.stop = summary.refused[0]
        self.options = replace(self.options, overwrite=False)  # what the first run has cleared away
        if output is None and run.jobs is not None:
            self._share = run.jobs.share
            done = summary.skipped + summary.ok + summary.failed + summary.left
            self.left = max(0, run.jobs.share * options.repeat - done)
        return run, watch


def _alike(points: Sequence[Point]) -> list[Point]:
    """The points as the rate that the server became known for in any of them has them."""
    most = min(point.held.most for point in points)
    return [capped(point, most) for point in points]


def _held(summary: Summary, *, kept: bool) -> Held:
    """What the sums of a run say of what held it up."""
    work, servers = summary.work, summary.servers.values()
    several = max(1, len(servers))
    is_by_requests = work.requests > 0 and not work.tokens and work.a_minute
    return Held(
        elapsed=summary.elapsed,
        away=sum(server.away_s for server in servers) / several,
        limited=work.requests + work.tokens,
        throttled=sum(server.throttled for server in servers),
        most=work.a_minute / 60 * several if is_by_requests else math.inf,
        kept=kept,
    )
