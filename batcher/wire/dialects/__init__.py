"""How to speak: the table of endpoints, each a module that encodes jobs and reads answers.

To add an endpoint: write a module with the functions of `Dialect` (imitate `completions.py`), add its line to
`DIALECTS`, a default for its kind to `PATHS` if it is one, and recorded answers to `tests/recordings/`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from batcher import codec
from batcher.failures import LineError
from batcher.model import Api, Call, Job, Json, Kind
from batcher.wire.dialects import (
    chat,
    completions,
    embeddings,
    images,
    ollama_chat,
    ollama_embed,
    ollama_generate,
    responses,
)
from batcher.wire.dialects.loading import group_of
from batcher.wire.dialects.parameters import native_defaults, native_fields, openai_fields

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from batcher.outcome import Completion


class Dialect(Protocol):
    """What a module offers to be an endpoint. Nothing in it waits, reads a clock or touches a socket."""

    @property
    def STREAMS(self) -> bool:  # noqa: N802 - a module's constant
        """Whether the endpoint can answer in a stream at all."""
        ...

    def encode(self, jobs: Sequence[Job], *, stream: bool) -> dict[str, Json]:
        """Return the request body. Only embedding endpoints take more than one job."""
        ...

    def decode(self, record: dict[str, Json], completion: Completion) -> bool:
        """Add one streamed record to the completion; true if it brought content. Sets `proof` at the terminal mark."""
        ...

    def whole(self, body: dict[str, Json], completion: Completion, call: Call) -> None:
        """Take an answer that came in one piece. Raises AttemptError if it is not what was asked for."""
        ...

    def missing(self, completion: Completion, *, done: bool) -> str | None:
        """Name the mark whose absence makes the answer incomplete, or return None. `done`: `[DONE]` was read."""
        ...

    def rebuild(self, completion: Completion) -> dict[str, Json]:
        """Return the API's response object as if it had not been streamed."""
        ...


Skim: TypeAlias = "Callable[[Iterable[Json], Completion], Json]"
"""Adds records up to the first that is not what nearly every record is, and returns that; `END` if there is none.

Those that it takes bring content, say nothing else and end nothing; all others are `decode`'s.
"""

DIALECTS: dict[str, Dialect] = {
    "/api/generate": ollama_generate,
    "/api/chat": ollama_chat,
    "/api/embed": ollama_embed,
    "/v1/chat/completions": chat,
    "/v1/completions": completions,
    "/v1/responses": responses,
    "/v1/embeddings": embeddings,
    "/v1/images/generations": images,
}

SKIMS: dict[str, Skim] = {
    "/api/generate": ollama_generate.skim,
    "/api/chat": ollama_chat.skim,
    "/v1/chat/completions": chat.skim,
    "/v1/completions": completions.skim,
}
"""The short way through a stream, where there is one."""

PATHS: dict[tuple[Kind, Api], str] = {
    (Kind.CHAT, Api.NATIVE): "/api/chat",
    (Kind.CHAT, Api.OPENAI): "/v1/chat/completions",
    (Kind.GENERATE, Api.NATIVE): "/api/generate",
    (Kind.GENERATE, Api.OPENAI): "/v1/chat/completions",
    (Kind.EMBED, Api.NATIVE): "/api/embed",
    (Kind.EMBED, Api.OPENAI): "/v1/embeddings",
    (Kind.RESPONSES, Api.NATIVE): "/v1/responses",
    (Kind.RESPONSES, Api.OPENAI): "/v1/responses",
    (Kind.IMAGE, Api.NATIVE): "/v1/images/generations",
    (Kind.IMAGE, Api.OPENAI): "/v1/images/generations",
}


_DIGITS: Final = frozenset("123456789")


def path_for(job: Job, api: Api) -> str:
    """The path a job goes to: its own if it names one, else the default of its kind."""
    if job.path is not None:
        return job.path
    if job.tools and job.kind is Kind.GENERATE:
        return PATHS[Kind.CHAT, api]  # Ollama's /api/generate takes no tools
    return PATHS[job.kind, api]


def call_for(jobs: Sequence[Job], api: Api, *, stream: bool, base64: bool = False) -> Call:
    """Encode one job, or a pack of embedding jobs, as the request that is sent and sent again as it is.

    How long a model is to stay is kept apart, for `body_of`; not at all, which holds up nobody, is said each time.
    `base64` asks for vectors in that form where it can be asked for, and the job says nothing of it; they are wanted as
    bytes in any case. Raises LineError for what cannot be said there.
    """
    job = jobs[0]
    path = path_for(job, api)
    dialect = DIALECTS[path]
    streamed = stream and dialect.STREAMS
    body = dialect.encode(jobs, stream=streamed) if job.body is None else _own_body(job, path, stream=streamed)
    streamed = dialect.STREAMS and bool(body.get("stream", path.startswith("/api/")))
    stay = body.pop("keep_alive") if path.startswith("/api/") and _stays(body.get("keep_alive")) else None
    try:
        data = codec.dumps(body)
    except TypeError:
        raise LineError("input_invalid", f"it nests deeper than {codec.DEPTH} levels") from None
    if base64 and path == embeddings.PATH and job.body is None and "encoding_format" not in body:
        data = data[:-1] + embeddings.BASE64
    return Call(tuple(jobs), path, data, streamed, job.model, group_of(job, path), stay, binary=base64)


def _stays(value: Json) -> bool:
    """Whether a `keep_alive` keeps a model at all: `0s` does not."""
    return not _DIGITS.isdisjoint(value) if type(value) is str else bool(value)


def body_of(call: Call) -> bytes:
    """The body to send. Only a call that may have to load its model says how long that is to stay.

    Ollama keeps what such a request was about for so long even while another client waits for the place
    (`useLoadedRunner` in server/sched.go); when a model is loaded for it, it makes way for others all the same.
    """
    if not call.loads or call.keep_alive is None:
        return call.body
    return b'{"keep_alive":' + codec.dumps(call.keep_alive) + b"," + call.body[1:]


def _own_body(job: Job, path: str, *, stream: bool) -> dict[str, Json]:
    """Return the line's own body with the model after aliases and, where it is silent, what a run says of delivery."""
    body = dict(job.body or {})
    if job.params:  # what a run asks for with a schema; the line's own body says nothing of it
        fields = native_fields(job, path) if path.startswith("/api/") else openai_fields(job, path)
        text = {**fields.get("text", {}), **body.get("text", {})}
        body = {**fields, **body, **({"text": text} if text else {})}
    if job.model is not None:
        body["model"] = job.model
    if DIALECTS[path].STREAMS:
        body.setdefault("stream", stream)
        if body["stream"] and path in ("/v1/chat/completions", "/v1/completions"):
            body.setdefault("stream_options", {"include_usage": True})
    if path.startswith("/api/"):
        body = native_defaults(job) | body
    return body
