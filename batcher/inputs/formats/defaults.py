"""What a run says for all its lines, and what reading them brings up for the run."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING

from batcher.failures import LineError, UsageError
from batcher.inputs.formats.endpoints import endpoint_of
from batcher.inputs.formats.plain import Plain
from batcher.model import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from batcher.inputs.recipe import Recipe
    from batcher.model import Fits, Json

ANY = "*"
"""The alias that stands for every model that a line may name."""
_LATEST = ":latest"
_DISTINCT_KEYS = 1000
_LONGEST_KEY = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """Run-wide values; whatever a line says itself wins over them.

    `params` go by their common names (see `parameters.split_parameters`), `extra` goes into the body as it is.
    `keep_alive` is said on Ollama's own API alone, "" not at all. `path` is the API path for lines that name none.
    Paths of images are relative to `files_root` and must stay below it; `None` refuses them. `files` counts the images
    that lines named, which may become others while the lines stay as they are. `unknown_keys` counts the keys that no
    part of batcher reads, for one warning a run, `shapes` the lines in the shapes of others. `recipe` says what is made
    of a row; without one it is read as a line of a job file. Raises `UsageError` if `path` is no endpoint.
    """

    model: str | None = None
    system: str | None = None
    aliases: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, Json] = field(default_factory=dict)
    options: Mapping[str, Json] = field(default_factory=dict)
    extra: Mapping[str, Json] = field(default_factory=dict)
    keep_alive: str = ""
    path: str | None = None
    recipe: Recipe | None = None
    prefix: str = ""
    """What goes before each text that is embedded."""
    fits: Fits | None = None
    """What answers have to fit, if lines do not say otherwise; it is asked for by `params`."""
    brings_row: bool = False
    """Jobs bring the columns of their rows along, those of `keep` if that is said."""
    keep: tuple[str, ...] | None = None
    files_root: Path | None = None
    files: Counter[str] = field(default_factory=Counter, compare=False)
    unknown_keys: Counter[str] = field(default_factory=Counter, compare=False)
    shapes: Counter[str] = field(default_factory=Counter, compare=False)
    asked: Counter[str] = field(default_factory=Counter, compare=False)
    """The models that were asked for, before aliases, where there are some."""
    plain: Plain | None = field(init=False, compare=False, default=None)
    """The short way to jobs that embed a text, where nothing is to be looked up for it."""

    def __post_init__(self) -> None:
        path, kind = self.path, Kind.EMBED
        if path is not None:
            try:
                path, kind = endpoint_of(path)
            except LineError as error:
                raise UsageError(f"--endpoint: {error.message}") from error
        if kind is Kind.EMBED and not self.aliases:
            with suppress(LineError):  # it is each line's then
                plain = Plain(
                    model=self.model,
                    path=path,
                    prefix=self.prefix,
                    params=self.params,
                    options=self.options,
                    extra=self.extra,
                    keep_alive=self.keep_alive,
                )
                object.__setattr__(self, "plain", plain)

    def resolve(self, model: str | None) -> str | None:
        """The model to ask: the line's or the run's, after aliases, for which `name` and `name:latest` are one."""
        name = model or self.model
        if not self.aliases or name is None:
            return name
        if name in self.asked or len(self.asked) < _DISTINCT_KEYS:
            self.asked[name] += 1
        if ANY in self.aliases and name not in self.aliases:
            return self.aliases[ANY]
        twin = name.removesuffix(_LATEST) if name.endswith(_LATEST) else name + _LATEST
        return self.aliases.get(name) or self.aliases.get(twin) or name

    def unused_aliases(self) -> list[str]:
        """Aliases for what nobody asked for, with what they may be meant for, once the input has been read."""
        asked = {name.removesuffix(_LATEST) for name in self.asked}
        unused = [name for name in self.aliases if asked and name != ANY and name.removesuffix(_LATEST) not in asked]
        near = [get_close_matches(name, self.asked, 1) for name in unused]
        return [
            f"--alias {name}: no line asks for that model" + (f"; did you mean {meant[0]!r}?" if meant else "")
            for name, meant in zip(unused, near, strict=True)
        ]

    def root(self) -> Path | None:
        """Give `files_root` to someone who reads an image."""
        self.files["image"] += 1
        return self.files_root

    def note_unknown(self, keys: Iterable[str]) -> None:
        """Count keys that are not used; a file with a new key on each line must not fill the memory."""
        for key in keys:
            name = key[:_LONGEST_KEY]
            if name in self.unknown_keys or len(self.unknown_keys) < _DISTINCT_KEYS:
                self.unknown_keys[name] += 1
