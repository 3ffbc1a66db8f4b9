"""The state file: what a run was told, what it read, how far it came. A help and never the truth: it can be deleted.

The results file alone says what is done. The state says how the last run ended, so that the next can tell what has
changed since, and up to where the disk is known to have kept what was written.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import orjson

from batcher import codec
from batcher.ledger import disk
from batcher.ledger.neighbours import unfit
from batcher.ledger.recovery import unmarked
from batcher.ledger.seal import Seal
from batcher.model import VERSION
from batcher.opening import UnfitError, read_small

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from batcher.inputs.formats.defaults import Defaults
    from batcher.inputs.selection import Selection
    from batcher.model import Json

FORMAT: Final = 1
EVERY: Final = 10.0
"""Seconds between two writings."""


class Status(StrEnum):
    """How a run is, or ended."""

    RUNNING = "running"
    """At work, or killed."""
    COMPLETE = "complete"
    """Every job has a result or an error line."""
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """The state of a run. `run` is what `parameters` gives, `input` the input's fingerprint (`Source.fingerprint`)."""

    status: Status
    run: dict[str, Json] = field(default_factory=dict)
    input: dict[str, Json] = field(default_factory=dict)
    selection: dict[str, Json] = field(default_factory=dict)
    """Which rows of it were taken, if not all (`Selection.said`), and after how many lines it ended (`limit`)."""
    counts: dict[str, int] = field(default_factory=dict)
    synced: int = 0
    """Bytes of the results file that are known to be on the disk."""
    seal: Seal | None = None
    """By which the next run knows the results again, if it is for the same `run` and `input`."""
    blocks: list[Sequence[int]] = field(default_factory=list)
    """By which unchanged rows are known again in an input that has changed (`inputs.blocks`)."""
    sizes: dict[str, int] = field(default_factory=dict)
    """How long vectors are, by model and by what was asked for."""
    batcher: str = VERSION
    """The version that wrote this; another one may make other requests of the same lines."""
    report: dict[str, Json] = field(default_factory=dict)
    """Who runs it, since when, how far it is and what it waits for; what happened on the way (`running.journal`)."""
    sync_failed: bool = False
    """The disk refused what follows on `synced`: it may be read back today and be gone tomorrow."""
    version: int = FORMAT

    @property
    def untrusted(self) -> int | None:
        """From which byte on the results file must be written anew before it is trusted; `None` if all is well."""
        return self.synced if self.sync_failed else None

    def seal_for(self, fingerprint: Mapping[str, Json]) -> Seal | None:
        """Give the seal if it is this version's, and of results that are trusted.

        It is for the input of that fingerprint, or for what that was before it changed.
        """
        known = self.input == fingerprint or (self.blocks and _kind(self.input) == _kind(fingerprint))
        return self.seal if known and self.batcher == VERSION and self.untrusted is None else None


def read(path: Path) -> tuple[State | None, str | None]:
    """Give the state, if there is one that can be read, and a note if there is one that cannot.

    Raises `OutputError` (73) if something else than a file of ours has its name.
    """
    try:
        return _state(codec.loads(unmarked(read_small(path)))), None
    except FileNotFoundError:
        return None, None
    except UnfitError as error:
        raise unfit(error) from error
    except (OSError, orjson.JSONDecodeError, TypeError, ValueError, KeyError) as error:
        return None, f"{path}: cannot be read ({error}); it is not needed, and will be written anew"


def write(path: Path, state: State, clean: Callable[[Json], Json] | None = None) -> str | None:
    """Put a state in the place of the last one, in one step; `clean` takes secrets out. Returns a note if it fails."""
    record = asdict(replace(state, run=clean(state.run), input=clean(state.input)) if clean else state)
    try:
        with disk.replacing(path) as fd:
            disk.write_all(fd, codec.dumps(record, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
        disk.let_go(fd)
    except OSError as error:
        return f"{path}: cannot be written: {error.strerror or error}; the results are no worse for it"
    return None


def parameters(defaults: Defaults, selection: Selection | None = None) -> dict[str, Json]:
    """What a run says for all its lines, and what makes requests and their numbers differ, without what is not said."""
    said: dict[str, Any] = {
        "model": defaults.model,
        "system": defaults.system,
        "endpoint": defaults.path,
        "aliases": dict(defaults.aliases),
        "params": dict(defaults.params),
        "options": dict(defaults.options),
        "extra": dict(defaults.extra),
        "recipe": dict(defaults.recipe.said) if defaults.recipe else {},
        "prefix": defaults.prefix or None,
        "repeat": selection.repeat if selection is not None and selection.repeat > 1 else None,
    }
    return {name: value for name, value in said.items() if value not in (None, {})}


def _kind(fingerprint: Mapping[str, Json]) -> list[tuple[Json, ...]]:
    """How inputs are read: rows of another format, or with another encoding, may have the same bytes."""
    parts = fingerprint.get("inputs") or [fingerprint]
    return [tuple(part.get(name) for name in ("format", "encoding", "sheet", "sql")) for part in parts]


def _state(record: Mapping[str, Json]) -> State:
    """Raises KeyError, TypeError or ValueError on what is none, or of a version to come."""
    if record["version"] != FORMAT:
        raise ValueError(f"its version is {record['version']}, and {FORMAT} is known")
    for name, kind in (("run", dict), ("input", dict), ("counts", dict), ("synced", int), ("sync_failed", bool)):
        if not isinstance(record[name], kind):
            raise TypeError(f"{name} is not what it should be")
    if not isinstance(record.get("selection", {}), dict):
        raise TypeError("selection is not what it should be")
    if not isinstance(record.get("report", {}), dict):
        raise TypeError("report is not what it should be")
    sizes = record.get("sizes", {})
    if not isinstance(sizes, dict) or not all(type(size) is int for size in sizes.values()):
        raise TypeError("sizes are not what they should be")
    blocks = record.get("blocks", [])
    if not all([type(value) for value in block] == [int, int, int] for block in blocks):
        raise TypeError("blocks are not what they should be")
    return State(**{**record, "status": Status(record["status"]), "seal": _seal(record.get("seal"))})


def _seal(record: Mapping[str, Any] | None) -> Seal | None:
    if record is None:
        return None
    seal = Seal(**record)
    if [type(value) for value in (seal.size, seal.crc, seal.alone)] != [int, int, bool]:
        raise TypeError("seal is not what it should be")
    return seal
