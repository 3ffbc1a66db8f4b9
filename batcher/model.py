"""What is asked: a job becomes a call, and goes to an endpoint. What comes back of it is in `outcome`."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION = "0.1.0"
"""Of this program; the package takes it from here. Its metadata would take 10 ms to read."""
Json: TypeAlias = Any
"""Whatever orjson reads or writes: the only place where `Any` is the honest type."""
END: Final[Json] = object()
"""What comes behind the last of some JSON values, none of which it is."""


class Fits(Protocol):
    """What an answer has to fit: a schema, or less."""

    @property
    def words(self) -> str:
        """What it is, for a model; "" if there is nothing more to say than that it is JSON."""

    @property
    def example(self) -> str:
        """JSON that fits, to show the form; "" if there is none."""

    def fault(self, value: Json) -> str | None:
        """Say what about a value does not fit, the first thing; `None` if all does."""


class Kind(StrEnum):
    """What a job asks for, whichever API carries it."""

    CHAT = "chat"
    GENERATE = "generate"
    EMBED = "embed"
    RESPONSES = "responses"
    IMAGE = "image"


EMBED: Final = Kind.EMBED
"""What is asked by the million: before Python 3.12 to look up a member costs as much as to call a function."""


ENDPOINTS: Final[dict[str, Kind]] = {
    "/api/generate": Kind.GENERATE,
    "/api/chat": Kind.CHAT,
    "/api/embed": Kind.EMBED,
    "/v1/chat/completions": Kind.CHAT,
    "/v1/completions": Kind.GENERATE,
    "/v1/responses": Kind.RESPONSES,
    "/v1/embeddings": Kind.EMBED,
    "/v1/images/generations": Kind.IMAGE,
}
"""The paths of APIs, and what each is asked for."""


class Api(StrEnum):
    """How a server speaks: Ollama's native API, or the one OpenAI made common."""

    NATIVE = "native"
    OPENAI = "openai"


@dataclass(slots=True)
class Job:
    """One input line with the run's defaults merged in, in names that mean the same on both APIs.

    Nobody changes one: that they are not frozen halves what it costs to make them, and so does giving them their
    fields in order rather than by name.
    `seq` is the line number from 0. `content` is the prompt (str), the messages (list) or the embedding input
    (str or list). `params` holds the common parameters by their common names, `options` what is Ollama's own, `extra`
    what goes into the body as it is. A line that brought a whole `body` (OpenAI batch) keeps it, and the rest is empty.
    Images are base64 text; `hash` is 16 hex digits over the effective request.
    """

    id: str
    seq: int
    kind: Kind
    hash: str = ""
    model: str | None = None
    path: str | None = None
    body: dict[str, Json] | None = None
    content: Json = None
    system: str | None = None
    images: tuple[str, ...] = ()
    tools: list[Json] | None = None
    params: Mapping[str, Json] = field(default_factory=dict)
    options: Mapping[str, Json] = field(default_factory=dict)
    extra: Mapping[str, Json] = field(default_factory=dict)
    keep_alive: str = ""
    """How long Ollama keeps the model after this job, if the line does not say; "" leaves it to the server."""
    turns: tuple[list[Json], ...] = ()
    """Messages that follow, each of these on the answer to what was said before it."""
    fits: Fits | None = field(default=None, compare=False)
    """What the answer has to fit."""
    meta: Json = None
    columns: Json = None
    """The columns of its row, if they are to stand on the line, since the input cannot be read again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """To whom: the URL before the API's own path, how it speaks, and headers that never show in a `repr`.

    `root` has no trailing slash and no `/v1`; `v1` is what the OpenAI paths are joined to in place of `/v1`; `query` is
    what follows every path, such as `?api-version=2024-10-21`.
    """

    root: str
    api: Api
    v1: str = "/v1"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    query: str = ""

    def url(self, path: str) -> str:
        """The full URL of an API path such as `/api/chat` or `/v1/embeddings`."""
        if path.startswith("/v1/"):
            return f"{self.root}{self.v1}{path[3:]}{self.query}"
        return self.root + path + self.query


@dataclass(slots=True, eq=False)
class Call:
    """One HTTP request for one job, or for many embedding jobs; encoded once and sent again as it is.

    Calls of one `group` want the same model loaded in the same way. The last fields are its history: `server` is where
    it was sent last, `beside` how many others were in flight there then, `sent` counts exchanges, `counted` those that
    used up the allowance of retries, `refused` those that said wait while others were served, `waited` is backoff and
    pacing in seconds, `overran` says that an attempt took longer than all of it may. `loads` says that the server may
    have to load its model for it; then it says `keep_alive` as well (Ollama), and only then.
    """

    jobs: tuple[Job, ...]
    path: str
    body: bytes
    stream: bool
    model: str | None = None
    group: str = ""
    keep_alive: Json = None
    sent: int = 0
    server: str = ""
    beside: int = 0
    counted: int = 0
    refused: int = 0
    throttled: int = 0
    waited: float = 0.0
    resent: bool = False
    overran: bool = False
    loads: bool = False
    told: Any = field(default=None, repr=False)
    """For how long it was told to wait (`policy.history.Told`)."""
    binary: bool = False
    """Vectors are wanted as bytes of 32-bit floats, whatever the server gives them as."""
    dialogue: Any = field(default=None, repr=False)
    """What was said so far, where several exchanges make one result (`exchange.dialogue`)."""
    pieces: Any = field(default=None, repr=False)
    """What is sent in the place of a text that was too long (`exchange.overflow`)."""
