"""What a run can be told, as typed values: made once at the edge, from the command line or from Python arguments."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from batcher.failures import FLAGS, UsageError
from batcher.inputs.selection import Shard
from batcher.model import Api

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from batcher.model import Json

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "": 1.0}
_CHOICES: Final = {
    "embedding_format": ("float", "base64"),
    "vectors_dtype": ("float32", "float16"),
    "durability": ("off", "batch", "each"),
    "on_change": ("error", "rerun", "keep"),
    "runaway": ("cut", "keep"),
}
_LEAST: Final = {
    "pack": 1,
    "retries": 0,
    "schema_retries": 0,
    "slots": 1,
    "limit": 1,
    "limit_new": 1,
    "dimensions": 1,
    "sample": 1,
    "repeat": 1,
    "estimate": 1,
}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|)")
_THOUSANDS: Final = {"": 1.0, "k": 1e3, "m": 1e6}
_KEEP_ALIVE = re.compile(r"|-1|0|(?:\d+(?:\.\d+)?(?:ms|s|m|h))+|\d+")

PATHS: Final = frozenset({"local", "api_key_file", "ca_file", "errors", "vectors"})


@dataclass(frozen=True, slots=True)
class Concurrency:
    """How many requests may be in flight at one server: between `least` and `most`; fixed where they are equal."""

    least: int
    most: int

    @property
    def is_fixed(self) -> bool:
        return self.least == self.most

    @classmethod
    def of(cls, value: str | int) -> Concurrency:
        """Read `auto`, `N` or `MIN-MAX`. Raises ValueError, which repeats no text: it may be a secret gone astray."""
        text = str(value).strip().lower()
        if text == "auto":
            return AUTO
        match = re.fullmatch(r"(\d{1,6})(?:-(\d{1,6}))?", text)
        if not match:
            raise ValueError("must be auto, a number such as 8, or a range such as 2-16")
        least, most = int(match[1]), int(match[2] or match[1])
        if least < 1:
            raise ValueError(f"must be at least 1, not {least}")
        if most < least:
            raise ValueError(f"must go from less to more: {most}-{least}, not {least}-{most}")
        return cls(least, most)

    def __str__(self) -> str:
        if self == AUTO:
            return "auto"
        return str(self.most) if self.is_fixed else f"{self.least}-{self.most}"


AUTO: Final = Concurrency(1, 256)


@dataclass(frozen=True, slots=True)
class MaxErrors:
    """How many failed jobs a run puts up with: more than `most` end it. With `of_all`, `most` is percent."""

    most: float
    of_all: bool = False

    ENOUGH: ClassVar[int] = 100
    """Finished jobs before a share of them says anything."""

    @classmethod
    def of(cls, value: str | int) -> MaxErrors:
        """Read `20` or `5%`. Raises ValueError."""
        match = re.fullmatch(r"(\d{1,9})|(\d{1,3}(?:\.\d+)?)\s*%", str(value).strip())
        if not match or (match[2] and float(match[2]) > 100):
            raise ValueError("must be a number of jobs such as 20, or a share of them such as 5%")
        return cls(float(match[1] or match[2]), of_all=match[2] is not None)

    def exceeded(self, failed: int, finished: int) -> bool:
        """Whether so many failures, among so many jobs that finished in this run, are too many."""
        if not self.of_all:
            return failed > self.most
        return finished >= self.ENOUGH and 100 * failed > self.most * finished

    def __str__(self) -> str:
        return f"{self.most:g}{'%' if self.of_all else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Everything a run can be told. Durations are seconds. Raises UsageError on values that contradict themselves.

    `concurrency`, `rpm` (requests a minute) and `tpm` (tokens a minute) hold for each server. `min_speed` is tokens a
    second, 0 for none; `runaway` is whether an answer that only repeats itself is "cut" off or "keep"s coming;
    `keep_alive` is Ollama's ("" leaves it to the server). `prefix` goes before each text that is embedded, the server
    is asked for `dimensions`, and `normalize` gives all vectors length 1; `vectors` is an array of them that is made at
    the end, in numbers of `vectors_dtype`. `errors` defaults to a file beside the results, `max_wait` to 15 s before
    the server has ever answered and one hour after. `params` and `option` apply to all jobs that do not say otherwise;
    `pack` embedding inputs go in one request, as many as are found to be best if it is None or "auto".
    `input_format`, `encoding` (of text) and `sql` (for a database) say how inputs are read. `keep` names the
    columns of the input that a table has, None for all; `table` is the one of a database; `formula_guard` keeps
    spreadsheets from running cells. `schema` is what answers have to fit: JSON, the path of a file with it, or a
    class with `model_json_schema`; with `json` any object does. What does not is asked again `schema_retries` times.
    """

    # which server, and how to be let in
    base_url: tuple[str, ...] = ()
    dialect: Api | None = None
    local: bool | Path = False
    slots: int | None = None
    api_key_env: str | None = None
    api_key_file: Path | None = None
    header_env: Mapping[str, str] = field(default_factory=dict)
    allow_insecure: bool = False
    ca_file: Path | None = None
    trust_env: bool = False

    # what to ask
    model: str | None = None
    aliases: Mapping[str, str] = field(default_factory=dict)
    endpoint: str | None = None
    prompt: str | None = None
    messages: str | None = None
    embed: str | None = None
    prefix: str = ""
    dimensions: int | None = None
    system: str | None = None
    id_field: str | None = None
    model_field: str | None = None
    image_field: str | None = None
    params: Mapping[str, Json] = field(default_factory=dict)
    option: Mapping[str, Json] = field(default_factory=dict)
    schema: Any = None
    json: bool = False
    schema_retries: int = 2
    stream: bool = True
    pack: int | None = None
    limit: int | None = None
    limit_new: int | None = None
    sample: int | None = None
    seed: int = 0
    shard: Shard | None = None
    done_from: tuple[Path, ...] = ()
    repeat: int = 1
    dedupe: bool | None = None
    estimate: int | None = None
    input_format: str | None = None
    encoding: str | None = None
    sql: str | None = None

    # how fast, how often, how long
    concurrency: Concurrency = AUTO
    rpm: float | None = None
    tpm: float | None = None
    retries: int = 4
    connect_timeout: float = 10.0
    first_token_timeout: float = 600.0
    idle_timeout: float = 120.0
    timeout: float = 1800.0
    min_speed: float = 0.2
    runaway: str = "cut"
    keep_alive: str = "30m"
    max_wait: float | None = None
    grace: float = 20.0
    max_duration: float | None = None
    max_errors: MaxErrors | None = None

    # what to write
    errors: Path | None = None
    overwrite: bool = False
    on_change: str = "error"
    skip_failed: bool = False
    durability: str = "batch"
    disk_wait: float = 60.0
    wait_lock: float = 0.0
    ordered: bool = False
    atomic: bool = False
    raw: bool = False
    embedding_format: str = "float"
    vectors: Path | None = None
    vectors_dtype: str = "float32"
    normalize: bool = False
    keep: tuple[str, ...] | None = None
    table: str = "answers"
    formula_guard: bool = True
    fail_on: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        self._check_numbers()
        self._check_pace()
        for name, known in _CHOICES.items():
            if (value := getattr(self, name)) not in known:
                raise UsageError(f"{name} is {' or '.join(known)}, not {value!r}")
        if unknown := sorted(self.fail_on - FLAGS.keys()):
            raise UsageError(f"fail_on does not know {', '.join(unknown)}; it knows {', '.join(FLAGS)}")
        if self.json and self.schema is not None:
            raise UsageError("schema says what the JSON is to be, and json that it may be any: say one of the two")
        if self.sample is not None and self.estimate is not None:
            raise UsageError("sample and estimate both draw rows: say one of the two")
        if self.local and self.base_url:
            raise UsageError("local starts a server and base_url names one: say one of the two")

    def _check_pace(self) -> None:
        for name in ("rpm", "tpm"):
            if (value := getattr(self, name)) is not None and not 0 < value < math.inf:
                raise UsageError(f"{name} must be more than 0 a minute")
        if not 0 <= self.min_speed < math.inf:
            raise UsageError("min_speed must not be less than 0 tokens a second")
        if not _KEEP_ALIVE.fullmatch(self.keep_alive):
            raise UsageError(
                "keep_alive is a duration such as 30m, -1 for ever, 0 for not at all, or empty for the server's own, "
                f"not {self.keep_alive!r}"
            )

    def _check_numbers(self) -> None:
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise UsageError(f"{name} must be at least {least}, not {value}")
        for name in ("connect_timeout", "first_token_timeout", "idle_timeout", "timeout"):
            if not getattr(self, name) > 0:
                raise UsageError(f"{name} must be longer than 0 s")
        for name in ("max_wait", "max_duration", "grace", "disk_wait", "wait_lock"):
            if (value := getattr(self, name)) is not None and not value >= 0:
                raise UsageError(f"{name} must not be less than 0 s")

    @classmethod
    def of(cls, values: Mapping[str, object]) -> Options:
        """Make options from Python arguments. Raises UsageError on a name that is none, with the nearest that is."""
        names = [f.name for f in fields(cls)]
        for name in values:
            if name not in names:
                raise UsageError(f"no option is called {name!r}{nearest(name, names)}")
        return cls(**{name: _typed(name, value) for name, value in values.items()})


def _typed(name: str, value: Any) -> Any:
    """A Python argument as its field has it: text that stands for an API or a path is one. Raises UsageError."""
    if name == "dialect" and isinstance(value, str):
        try:
            return Api(value)
        except ValueError:
            raise UsageError(f"dialect is {' or '.join(Api)}, not {value!r}") from None
    if name in PATHS and isinstance(value, str):
        return Path(value)
    if name == "base_url":
        return (value,) if isinstance(value, str) else tuple(value or ())
    if name == "done_from":
        return tuple(map(Path, [value] if isinstance(value, str | Path) else value or ()))
    if name == "keep" and value is not None:
        parts = value.split(",") if isinstance(value, str) else value
        return tuple(part.strip() for part in parts if part.strip())
    if name in _READ and isinstance(value, str | int | float):
        try:
            return _READ[name](value)
        except ValueError as error:
            raise UsageError(f"{name} {error}") from None
    if name == "fail_on" and not isinstance(value, str):
        return frozenset(value)
    return value


def nearest(name: str, names: Iterable[str]) -> str:
    """Return `; did you mean …?` for a near miss, else nothing."""
    from difflib import get_close_matches

    close = get_close_matches(name, list(names), 1)
    return f"; did you mean {close[0]!r}?" if close else ""


def duration(text: str) -> float:
    """Read `30s`, `5m`, `1h`, `1h30m`, `250ms` or plain seconds, as seconds. Raises ValueError."""
    total, end = 0.0, 0
    for match in _DURATION.finditer(text):
        if match.start() != end or not match[0] or (not match[2] and match[0] != text):
            break
        total, end = total + float(match[1]) * _UNITS[match[2]], match.end()
    if not text or end != len(text) or not math.isfinite(total):
        raise ValueError(f"{text!r} is no duration; write it as 30s, 5m or 1h30m")
    return total


def pack_size(value: str | int) -> int | None:
    """Read `auto`, which is None, or a number. Raises ValueError, which repeats no text."""
    text = str(value).strip().lower()
    if text != "auto" and not (re.fullmatch(r"\d{1,6}", text) and int(text) > 0):
        raise ValueError("must be auto, or a number of at least 1")
    return None if text == "auto" else int(text)


def amount(value: str | float) -> float:
    """Read `500`, `30k` or `2m` (millions), as a number. Raises ValueError, which repeats no text."""
    match = re.fullmatch(r"(\d{1,15}(?:\.\d+)?)([km]?)", str(value).strip().lower())
    if not match:
        raise ValueError("must be an amount such as 500, 30k or 2m")
    return float(match[1]) * _THOUSANDS[match[2]]


_READ: Final[Mapping[str, Callable[[Any], Any]]] = {
    "concurrency": Concurrency.of,
    "max_errors": MaxErrors.of,
    "shard": Shard.read,
    "rpm": amount,
    "tpm": amount,
    "keep_alive": str,
    "pack": pack_size,
}
"""Options that may be given as text or as a number, and how they are read."""
