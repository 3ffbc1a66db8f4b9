"""Keeps the state file of a run: reads what the last one left, writes at the start, now and then, and at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

import anyio
from anyio import to_thread

from batcher.ledger.ledger import Ledger
from batcher.ledger.names import state_path
from batcher.ledger.state import EVERY, State, Status, read, write

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from batcher.ledger.ledger import AnyLedger
    from batcher.ledger.seal import Seal
    from batcher.model import Json
    from batcher.view.summary import Summary


SOON: Final = 1.0


class StateKeeper:
    """The state of one run. Nothing is written before `begin`: a run that is refused leaves the last one's state.

    Leave it after the ledger is closed, for only then is it known what is on the disk. What fails is told to `note`
    once and ends nothing.
    """

    def __init__(self, summary: Summary, note: Callable[[str], None]) -> None:
        self._summary = summary
        self._note: Callable[[str], None] | None = note
        self._ledger: Ledger | None = None
        self._run: dict[str, Json] = {}
        self._input: dict[str, Json] = {}
        self._selection: dict[str, Json] = {}
        self._clean: Callable[[Json], Json] | None = None
        self.report: Callable[[int], dict[str, Json]] | None = None
        """Gives what is to be said of the run, as of an end of the results file."""
        self._seal: Callable[[], Seal | None] = lambda: None
        self._blocks: Callable[[], Sequence[Sequence[int]]] = tuple
        self._sizes: Mapping[str, int] = {}

    def before(self, ledger: AnyLedger) -> dict[str, Json]:
        """Give the parameters of the last run, as far as they are known."""
        if not isinstance(ledger, Ledger):
            return {}
        state, note = read(state_path(ledger.path))
        self._tell(note)
        return state.run if state else {}

    def begin(
        self,
        ledger: AnyLedger,
        run: dict[str, Json],
        input_file: dict[str, Json],
        clean: Callable[[Json], Json],
        seal: Callable[[], Seal | None] = lambda: None,
        *,
        selection: dict[str, Json] | None = None,
        blocks: Callable[[], Sequence[Sequence[int]]] = tuple,
    ) -> None:
        """Write that a run is at work. `clean` takes secrets out of what is written; `seal` and `blocks` are
        asked each time.
        """
        if isinstance(ledger, Ledger):
            self._ledger, self._run, self._input, self._clean, self._seal = ledger, run, input_file, clean, seal
            self._selection = selection or {}
            self._blocks = blocks
            self.keep()

    def keep(self, status: Status = Status.RUNNING) -> None:
        """Write how far the run has come. May wait for the disk."""
        ledger, summary = self._ledger, self._summary
        if ledger is None or ledger.stale or ledger.withdrawn:
            return  # with the results of the last run its state stays, and without any there is none
        state = State(
            status=status,
            run=self._run,
            input=self._input,
            selection=self._selection,
            counts={name: getattr(summary, name) for name in ("ok", "skipped", "failed", "left", "pending")},
            synced=ledger.synced,
            seal=self._seal(),
            blocks=[*self._blocks()],
            report=self.report(ledger.end) if self.report is not None else {},
            sizes=dict(self._sizes),
            sync_failed=status is not Status.RUNNING and ledger.synced < ledger.end,
        )
        self._tell(write(state_path(ledger.path), state, self._clean))

    async def keep_now_and_then(self) -> None:
        """Write it until cancelled: soon, when it is known how much there is to do, and then from time to time."""
        wait = SOON
        while True:
            await anyio.sleep(wait)
            await to_thread.run_sync(self.keep)
            wait = EVERY

    def keep_sizes(self, ledger: AnyLedger, known: dict[str, int]) -> None:
        """Write how long vectors are by now; what the last run knew is put in."""
        if isinstance(ledger, Ledger) and ledger.before is not None and not ledger.stale:
            known.update(ledger.before.sizes)
        self._sizes = known

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.keep(Status.COMPLETE if kind is None and self._summary.complete else Status.STOPPED)

    def _tell(self, note: str | None) -> None:
        if note and self._note:
            self._note(note)
            self._note = None
