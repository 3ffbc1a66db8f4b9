"""What a run can be told, as typed values: made once at the edge, from the command line or from Python arguments."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from batcher.failures import FLAGS, UnknownOptionError, UsageError, nearest
from batcher.figures import AUTO, Concurrency, MaxErrors, amount, duration, pack_size
from batcher.inputs.shard import Shard
from batcher.model import Api

if TYPE_CHECKING:
    from collections.abc import Callable

    from batcher.model import Json

_CHOICES: Final = {
    "embedding_format": ("float", "base64"),
    "vectors_dtype": ("float32", "float16"),
    "on_overflow": ("error", "truncate", "split"),
    "durability": ("off", "batch", "each"),
    "on_change": ("error", "rerun", "keep"),
    "runaway": ("cut", "keep"),
}
_LEAST: Final = {
    "pack": 1,
    "retries": 0,
    "schema_retries": 0,
    "slots": 1,
    "workers": 1,
    "limit": 1,
    "limit_new": 1,
    "dimensions": 1,
    "sample": 1,
    "repeat": 1,
    "estimate": 1,
}
_MOST: Final = dict.fromkeys((*_LEAST, "seed"), 10**12) | {"repeat": 100_000}
"""What no file has and no server does; beyond, numbers of rows would not fit where they are kept."""
_RESERVED: Final = {
    "CPU": "for CPUs say worker_cpus",
    "object_store_memory": "workers use nothing of Ray's store of objects",
}
"""Resources of Ray's that are not asked for by these names, and why not."""
_RANGES: Final[tuple[tuple[tuple[str, ...], Callable[[float], bool], str], ...]] = (
    (("rpm", "tpm"), lambda value: 0 < value < math.inf, "be more than 0 a minute"),
    (("worker_cpus",), lambda value: 0 <= value < math.inf, "not be less than 0 CPUs"),
    (("min_speed",), lambda value: 0 <= value < math.inf, "not be less than 0 tokens a second"),
    (("price_in", "price_cached", "price_out", "max_cost"), lambda value: 0 <= value < math.inf, "not be less than 0"),
    (
        ("connect_timeout", "first_token_timeout", "idle_timeout", "timeout"),
        lambda value: value > 0,
        "be longer than 0 s",
    ),
    (("max_wait", "max_duration", "grace", "disk_wait", "wait_lock"), lambda value: value >= 0, "not be less than 0 s"),
)
"""Which options must be in which range, NaN in none; and how to say so."""
_KEEP_ALIVE = re.compile(r"|-1|0|(?:\d+(?:\.\d+)?(?:ms|s|m|h))+|\d+")

PATHS: Final = frozenset({"local", "api_key_file", "ca_file", "errors", "price_file", "metrics_file", "vectors"})


DURATIONS: Final = frozenset(
    {
        *("connect_timeout", "first_token_timeout", "idle_timeout", "timeout", "max_wait", "grace", "max_duration"),
        *("disk_wait", "wait_lock"),
    }
)
"""Options that are seconds, or text such as `30s`."""
_DURATION_WORDS: Final = "seconds, or text such as 30s"


class _Kind(NamedTuple):
    types: tuple[type, ...]
    words: str


_KINDS: Final = {
    "str": _Kind((str,), "text"),
    "int": _Kind((int,), "a whole number"),
    "float": _Kind((int, float), "a number"),
    "bool": _Kind((bool,), "True or False"),
    "Path": _Kind((Path,), "a path"),
    "Api": _Kind((Api,), "native or openai"),
    "Shard": _Kind((Shard,), "a part of so many, such as 2/8"),
    "Concurrency": _Kind((Concurrency,), "auto, a number such as 8, or a range such as 2-16"),
    "MaxErrors": _Kind((MaxErrors,), "a number of jobs such as 20, or a share of them such as 5%"),
    "Mapping[str, Json]": _Kind((Mapping,), "a mapping"),
    "Mapping[str, str]": _Kind((Mapping,), "a mapping"),
}
"""By the annotation of a field: what its values are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Everything a run can be told. Durations are seconds. Raises UsageError on values that contradict themselves.

    `concurrency`, `rpm` (requests a minute) and `tpm` (tokens a minute) hold for each server. `min_speed` is tokens a
    second, 0 for none; `runaway` is whether an answer that only repeats itself is "cut" off or "keep"s coming;
    `keep_alive` is Ollama's ("" leaves it to the server). Texts are cut into chunks of `chunk` tokens ("400t") or
    characters ("2000c"), with an `overlap`. `prefix` goes before each text that is embedded, the server is asked for
    `dimensions`, and `normalize` gives all vectors length 1; a text that is too long is an "error", or `on_overflow`
    has it "truncate"d or "split". `vectors` is an array that is made at the end, of `vectors_dtype`. `errors` defaults
    to a file beside the results, `max_wait` to 15 s before the server has ever answered and one hour after. `params`
    and `option` apply to all jobs that do not say otherwise; `pack` embedding inputs go in one request, as many as are
    found to be best if it is None or "auto". `price_in`, `price_cached` and `price_out` are those of a million tokens;
    `max_cost` is what the answers of a run may cost by them. `input_format`, `encoding` (of text) and `sql` (for a
    database) say how inputs are read. `keep` names the columns of the input that a table has, None for all; `table` is
    the one of a database; `formula_guard` keeps spreadsheets from running cells. `schema` is what answers have to fit:
    JSON, the path of a file with it, or a class with `model_json_schema`; with `json` any object does. What does not is
    asked again `schema_retries` times. With the `engine` "ray" so many `workers` make the requests, as many as this
    machine has cores if it is None: processes on this machine, or on the cluster at `ray_address`, each of which gets
    `worker_cpus` and other `worker_resources` of it.
    """

    # which server, and how to be let in
    base_url: tuple[str, ...] = ()
    dialect: Api | None = None
    local: bool | Path = False
    slots: int | None = None
    engine: str | None = None
    workers: int | None = None
    ray_address: str | None = None
    worker_cpus: float = 1.0
    worker_resources: Mapping[str, Json] = field(default_factory=dict)
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
    chunk: str | None = None
    overlap: str | None = None
    prefix: str = ""
    dimensions: int | None = None
    on_overflow: str = "error"
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
    price_in: float | None = None
    price_cached: float | None = None
    price_out: float | None = None
    price_file: Path | None = None
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
    max_cost: float | None = None

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
    metrics_file: Path | None = None

    def __post_init__(self) -> None:
        self._check_numbers()
        for name, known in _CHOICES.items():
            if (value := getattr(self, name)) not in known:
                raise UsageError(f"{name} is {' or '.join(known)}, not {value!r}")
        if unknown := sorted(self.fail_on - FLAGS.keys()):
            meant, flags = nearest(unknown[0], FLAGS), ", ".join(FLAGS)
            raise UsageError(
                f"fail_on does not know {', '.join(unknown)}{meant}{' It knows' if meant else '; it knows'} {flags}"
            )
        if not _KEEP_ALIVE.fullmatch(self.keep_alive):
            raise UsageError(
                "keep_alive is a duration such as 30m, -1 for ever, 0 for not at all, or empty for the server's own, "
                f"not {self.keep_alive!r}"
            )
        if self.json and self.schema is not None:
            raise UsageError("schema says what the JSON is to be, and json that it may be any: say one of the two")
        if self.sample is not None and self.estimate is not None:
            raise UsageError("sample and estimate both draw rows: say one of the two")
        if self.max_cost is not None and (self.price_in, self.price_out, self.price_file) == (None, None, None):
            raise UsageError("max_cost needs prices: say price_in and price_out, or price_file")
        if self.local and self.base_url:
            raise UsageError("local starts a server and base_url names one: say one of the two")
        self._check_engine()

    @property
    def places(self) -> int:
        """How many workers an engine has."""
        return self.workers or os.cpu_count() or 1

    def _check_engine(self) -> None:
        if self.engine not in (None, "ray"):
            raise UsageError(f"engine is ray, or not given, not {self.engine!r}")
        if self.engine is None and (self.workers, self.ray_address, self.worker_resources) != (None, None, {}):
            raise UsageError("workers, ray_address and worker_resources are for an engine: say engine as well")
        if self.ray_address is not None and "://" in self.ray_address:
            raise UsageError(
                f"ray_address is HOST:PORT, or auto, as machines of the cluster have it, not {self.ray_address!r}: the "
                "run has to be on one of them, since workers connect to it"
            )
        for name, value in self.worker_resources.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
                raise UsageError(f"worker_resources: {name} must be a number, not {value!r}")
            if name in _RESERVED:
                raise UsageError(f"worker_resources: {_RESERVED[name]}")

    def _check_numbers(self) -> None:
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise UsageError(f"{name} must be at least {least}, not {value}")
        for name, most in _MOST.items():
            value = getattr(self, name)
            if value is not None and value > most:
                raise UsageError(f"{name} must be at most {most:,}")
        for names, fits, words in _RANGES:
            for name in names:
                if (value := getattr(self, name)) is not None and not fits(value):
                    raise UsageError(f"{name} must {words}")

    @classmethod
    def of(cls, values: Mapping[str, object]) -> Options:
        """Make options from Python arguments: durations are seconds, or text as the command has it, or a timedelta.

        Raises UnknownOptionError on a name that is none, with the nearest that is, and UsageError on a wrong value.
        """
        kinds = {f.name: str(f.type) for f in fields(cls)}
        for name in values:
            if name not in kinds:
                raise UnknownOptionError(f"no option is called {name!r}{nearest(name, kinds)}")
        return cls(**{name: _checked(name, kinds[name], _typed(name, value)) for name, value in values.items()})


def _checked(name: str, kind: str, value: Any) -> Any:
    """A value of the type that its field has. Raises UsageError, which repeats no text: it may be a key gone astray."""
    wanted = kind.removesuffix(" | None")
    if value is None and kind.endswith(" | None"):
        return value
    known = _KINDS.get(wanted)
    if known is None or (isinstance(value, known.types) and not (isinstance(value, bool) and bool not in known.types)):
        return float(value) if wanted == "float" else value
    what = _DURATION_WORDS if name in DURATIONS else known.words
    raise UsageError(f"{name} must be {what}, not {type(value).__name__}")


def _typed(name: str, value: Any) -> Any:
    """A Python argument as its field has it: text that stands for an API or a path is one. Raises UsageError."""
    if name in DURATIONS and isinstance(value, str | timedelta):
        return _seconds(name, value)
    if name == "dialect" and isinstance(value, str):
        try:
            return Api(value)
        except ValueError:
            raise UsageError(f"dialect is {' or '.join(Api)}, not {value!r}") from None
    if name in PATHS and isinstance(value, str):
        return Path(value)
    if name in _SEVERAL and (value is not None or name != "keep"):
        return _several(name, value)
    if name in _READ and isinstance(value, str | int | float):
        try:
            return _READ[name](value)
        except ValueError as error:
            raise UsageError(f"{name} {error}") from None
    return value


def _several(name: str, value: Any) -> Any:
    """What may be one or several, as its field has them; flags and columns in a text are separated by commas."""
    if isinstance(value, str):
        value = value.split(",") if name in ("fail_on", "keep") else [value]
    if isinstance(value, Path):
        value = [value]
    try:
        return _SEVERAL[name](value or ())
    except TypeError:
        raise UsageError(f"{name} must be one or a list of several, not {type(value).__name__}") from None


def _seconds(name: str, value: str | timedelta) -> float:
    if isinstance(value, timedelta):
        return value.total_seconds()
    try:
        return duration(value)
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from None


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
_SEVERAL: Final[Mapping[str, Callable[[Any], Any]]] = {
    "base_url": tuple,
    "done_from": lambda value: tuple(map(Path, value)),
    "fail_on": frozenset,
    "keep": lambda value: tuple(part.strip() for part in value if part.strip()),
}
"""Options of which there may be several, and how they are kept."""
