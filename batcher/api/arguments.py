"""What functions of the library can be told: the options of a run as typed keywords, and keys beside them.

The types below are `batcher.options.Options` written out for type checkers; a test holds them against it. Durations are
seconds, or text as the command has it (`"30s"`, `"1h30m"`), or a timedelta.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypedDict

from batcher.failures import UnknownOptionError, UsageError, nearest
from batcher.options import Options

if TYPE_CHECKING:
    from datetime import timedelta

    from batcher.figures import Concurrency, MaxErrors
    from batcher.inputs.shard import Shard
    from batcher.model import Api, Json

PathLike: TypeAlias = "str | os.PathLike[str]"
Duration: TypeAlias = "float | str | timedelta"


class ServerOptions(TypedDict, total=False):
    """Which server, how to be let in, and how hard it is used."""

    base_url: str | Iterable[str]
    dialect: Literal["native", "openai"] | Api | None
    local: bool | PathLike
    slots: int | None
    engine: Literal["ray"] | None
    workers: int | None
    ray_address: str | None
    worker_cpus: float
    worker_resources: Mapping[str, float]
    api_key_env: str | None
    api_key_file: PathLike | None
    header_env: Mapping[str, str]
    allow_insecure: bool
    ca_file: PathLike | None
    trust_env: bool
    concurrency: int | str | Concurrency
    rpm: float | str | None
    tpm: float | str | None
    connect_timeout: Duration
    max_wait: Duration | None


class KeyOptions(TypedDict, total=False):
    """Keys as a program has them; they are shown nowhere."""

    api_key: str | None
    headers: Mapping[str, str] | None


class AskOptions(TypedDict, total=False):
    """What is asked, and how long and how often."""

    model: str | None
    aliases: Mapping[str, str]
    endpoint: str | None
    messages: str | None
    embed: str | None
    prefix: str
    dimensions: int | None
    on_overflow: Literal["error", "truncate", "split"]
    normalize: bool
    system: str | None
    id_field: str | None
    model_field: str | None
    image_field: str | None
    params: Mapping[str, Json]
    option: Mapping[str, Json]
    json: bool
    schema_retries: int
    stream: bool
    pack: int | Literal["auto"] | None
    limit: int | None
    limit_new: int | None
    seed: int
    shard: str | Shard | None
    done_from: PathLike | Iterable[PathLike]
    repeat: int
    price_in: float | None
    price_cached: float | None
    price_out: float | None
    price_file: PathLike | None
    retries: int
    first_token_timeout: Duration
    idle_timeout: Duration
    timeout: Duration
    min_speed: float
    runaway: Literal["cut", "keep"]
    keep_alive: str
    grace: Duration
    max_duration: Duration | None
    max_errors: int | str | MaxErrors | None
    max_cost: float | None
    raw: bool
    fail_on: Iterable[str]


class FileOptions(TypedDict, total=False):
    """What is about files of results, and inputs that can be read twice."""

    sample: int | None
    dedupe: bool | None
    estimate: int | None
    metrics_file: PathLike | None
    errors: PathLike | None
    overwrite: bool
    on_change: Literal["error", "rerun", "keep"]
    skip_failed: bool
    durability: Literal["off", "batch", "each"]
    disk_wait: Duration
    wait_lock: Duration
    ordered: bool
    atomic: bool
    keep: Iterable[str] | None
    table: str
    formula_guard: bool
    embedding_format: Literal["float", "base64"]


class ClientOptions(ServerOptions, AskOptions, FileOptions, total=False):
    """The options of a client."""


class StreamOptions(ServerOptions, KeyOptions, AskOptions, total=False):
    """The options of what keeps no file."""


class MapOptions(StreamOptions, FileOptions, total=False):
    """The options of what may keep one."""


class RunOptions(MapOptions, total=False):
    """The options of a run over files."""

    prompt: str | None
    schema: Any
    input_format: str | None
    encoding: str | None
    sql: str | None
    chunk: str | None
    overlap: str | None
    vectors: PathLike | None
    vectors_dtype: Literal["float32", "float16"]


SERVER: Final = frozenset({*ServerOptions.__annotations__, *KeyOptions.__annotations__})
NOT_STREAMED: Final = frozenset(
    {*FileOptions.__annotations__, "input_format", "encoding", "sql", "chunk", "overlap", "vectors", "vectors_dtype"}
)
_KEY: Final = "api_key"


@dataclass(frozen=True, slots=True)
class Chosen:
    """Options, and the environment with the keys that were given in it. It shows no key."""

    options: Options
    environ: Mapping[str, str] = field(repr=False)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Chosen:
        """Read keywords. Raises UsageError, and UnknownOptionError (a TypeError too) for a name that is none."""
        values = dict(values)
        known = [*(one.name for one in fields(Options)), *KeyOptions.__annotations__, "schema", "output", "progress"]
        for name in values:
            if name not in known:
                raise UnknownOptionError(f"no option is called {name!r}{nearest(name, known)}")
        environ: dict[str, str] = dict(os.environ)
        key, headers = values.pop(_KEY, None), values.pop("headers", None) or {}
        if key is not None:
            if values.get("api_key_env") is not None or values.get("api_key_file") is not None:
                raise UsageError("api_key, api_key_env and api_key_file all name a key; give one of them")
            environ[_KEY] = _said(key, _KEY)
            values["api_key_env"] = _KEY
        if headers:
            if not isinstance(headers, Mapping):
                raise UsageError("headers must be a mapping of names to texts")
            names = {str(name): f"headers[{str(name)!r}]" for name in headers}
            environ |= {names[str(name)]: _said(value, names[str(name)]) for name, value in headers.items()}
            values["header_env"] = {**dict(values.get("header_env") or {}), **names}
        return cls(Options.of(values), environ)


def streamed(values: Mapping[str, Any], what: str) -> Chosen:
    """As `Chosen.of`, of options that mean something without a file. Raises UsageError for another."""
    chosen = Chosen.of(values)
    instead = "give it an output, or use run" if what == "map" else "use run"
    for name in sorted(NOT_STREAMED & values.keys()):
        if getattr(chosen.options, name) != getattr(Options(), name):
            raise UsageError(f"{name} is about files, and {what} keeps none: {instead}")
    return chosen


def _said(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise UsageError(f"{name} must be text, not {type(value).__name__}")
    if not value.strip():
        raise UsageError(f"{name} is empty")
    return value
