"""Asks a server which API it speaks, what it is and which models it has; sends no generation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

import anyio
import orjson

from batcher.failures import AttemptError, ConfigError
from batcher.model import Api
from batcher.servers import catalogue, diagnosis
from batcher.servers.catalogue import About, ModelInfo
from batcher.wire.rules import SILENT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping

    from batcher.model import Endpoint, Json
    from batcher.servers.diagnosis import Answer

MOST_SHOWN = 20
"""Ollama tells what a model can do one request at a time; so many are asked when none is wanted in particular."""


class Requester(Protocol):
    """Whoever can make a small request. Raises `AttemptError` when no answer comes within `timeout` seconds."""

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes = b"",
        timeout: float = 10.0,
    ) -> Answer: ...


async def identify(requester: Requester, root: str, headers: Mapping[str, str] | None = None) -> Api | None:
    """Let one `GET /api/version` decide: a version means Ollama's own API, any other answer an OpenAI-compatible one.

    None where it wants a key first, or another one: that may be either. Raises `AttemptError` if nobody answers, or
    only a proxy that says so: that decides nothing.
    """
    url = f"{root}/api/version"
    answer = await requester.request("GET", url, headers=headers or {})
    if answer.status in diagnosis.AWAY:
        raise diagnosis.away(url, answer)
    if answer.status in diagnosis.GUARDED:
        return None
    return Api.NATIVE if catalogue.text(_json(answer), "version") else Api.OPENAI


async def describe(requester: Requester, endpoint: Endpoint, *, wanted: Collection[str] = ()) -> About:
    """Ask a server for its kind, version and models; details that cost a request each come for `wanted` models first.

    Raises `AttemptError` if nobody answers, `AccountError` if the key is missing or refused, and `ConfigError` if what
    answers is no such API. The server's words in these errors are fit for a terminal, and not redacted.
    """
    probe = _Probe(requester, endpoint)
    if endpoint.api is Api.NATIVE:
        return await _describe_native(probe, wanted)
    return await _describe_openai(probe, wanted)


async def greets_as_ollama(requester: Requester, endpoint: Endpoint, *, timeout: float = 10.0) -> bool:
    """Whether the page at the root of a server is Ollama's. Raises `AttemptError` if nobody answers."""
    # llama.cpp refuses `GET /` with 415 to clients that take no gzip.
    headers = {**endpoint.headers, "Accept-Encoding": "gzip"}
    answer = await requester.request("GET", endpoint.url("/"), headers=headers, timeout=timeout)
    return answer.status == 200 and answer.body.startswith(b"Ollama is running")


@dataclass(frozen=True, slots=True)
class _Probe:
    requester: Requester
    endpoint: Endpoint

    async def need(self, path: str) -> Answer:
        """GET what the API cannot do without."""
        url = self.endpoint.url(path)
        answer = await self.requester.request("GET", url, headers=self.endpoint.headers)
        if answer.status == 403 and not answer.body.strip() and self.endpoint.api is Api.NATIVE:
            raise ConfigError(f"{url}: {SILENT['host_refused']}")
        if answer.status in diagnosis.GUARDED:
            raise diagnosis.refused(self.endpoint, answer)
        if answer.status in diagnosis.AWAY or answer.status >= 500:
            raise diagnosis.away(url, answer)
        if answer.status != 200 or _json(answer) is None:
            raise diagnosis.not_an_api(self.endpoint, url, answer)
        return answer

    async def ask(self, path: str, body: Json = None) -> Json:
        """GET (or POST a body) where an answer is welcome and not needed; `None` if there is none."""
        headers = dict(self.endpoint.headers)
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            answer = await self.requester.request(
                "GET" if body is None else "POST",
                self.endpoint.url(path),
                headers=headers,
                body=b"" if body is None else orjson.dumps(body),
            )
        except AttemptError:
            return None
        return _json(answer)


async def _describe_native(probe: _Probe, wanted: Collection[str]) -> About:
    answer = await probe.need("/api/version")
    version = catalogue.text(_json(answer), "version")
    if version is None:
        raise diagnosis.not_an_api(probe.endpoint, probe.endpoint.url("/api/version"), answer)
    tags = _json(await probe.need("/api/tags"))
    is_ollama = urlsplit(probe.endpoint.root).hostname == "ollama.com" or await _greets(probe)
    return About(
        api=Api.NATIVE,
        kind=catalogue.OLLAMA if is_ollama else catalogue.OLLAMA_COMPATIBLE,
        version=version,
        models=await _native_models(probe, tags, wanted),
    )


async def _greets(probe: _Probe) -> bool:
    try:
        return await greets_as_ollama(probe.requester, probe.endpoint)
    except AttemptError:
        return False


async def _native_models(probe: _Probe, tags: Json, wanted: Collection[str]) -> tuple[ModelInfo, ...]:
    about = About(api=Api.NATIVE, kind=catalogue.OLLAMA, models=catalogue.from_tags(tags, await probe.ask("/api/ps")))
    named = [about.find(name) for name in wanted] if wanted else about.models[:MOST_SHOWN]
    shown: dict[str, Json] = {model.name: None for model in named if model is not None}

    async def show(name: str) -> None:
        shown[name] = await probe.ask("/api/show", {"model": name})

    async with anyio.create_task_group() as group:
        for name in shown:
            group.start_soon(show, name)
    return tuple(catalogue.with_show(model, shown.get(model.name)) for model in about.models)


async def _describe_openai(probe: _Probe, wanted: Collection[str]) -> About:
    answer = await probe.need("/v1/models")
    listing = _json(answer)
    if not catalogue.is_list(listing):
        raise diagnosis.not_an_api(probe.endpoint, probe.endpoint.url("/v1/models"), answer)
    about = About(api=Api.OPENAI, kind=catalogue.kind_of(listing, answer.headers), models=catalogue.from_list(listing))
    if urlsplit(probe.endpoint.root).hostname == "api.openai.com":
        return replace(about, kind=catalogue.HOSTED_OPENAI)
    if probe.endpoint.v1 != "/v1":  # the root is the base of the API itself; nothing else stands below it
        return about
    return await FURTHER.get(about.kind, _ask_ollama)(probe, about, wanted)


async def _ask_llama_cpp(probe: _Probe, about: About, _wanted: Collection[str]) -> About:
    props = await probe.ask("/props")
    context = catalogue.count(catalogue.mapping(props, "default_generation_settings"), "n_ctx")
    models = about.models
    if len(models) == 1 and models[0].loaded_context is None:  # builds before `meta.n_ctx` tell it here alone
        models = (replace(models[0], loaded_context=context),)
    return replace(
        about,
        version=catalogue.text(props, "build_info"),
        slots=catalogue.slots(props),
        models=models,
    )


async def _ask_vllm(probe: _Probe, about: About, _wanted: Collection[str]) -> About:
    return replace(about, version=catalogue.text(await probe.ask("/version"), "version"))


async def _ask_lm_studio(probe: _Probe, about: About, _wanted: Collection[str]) -> About:
    listing = await probe.ask("/api/v0/models")
    if not catalogue.items_of(listing):
        return about
    return replace(about, models=catalogue.with_lm_studio(about.models, listing))


async def _ask_ollama(probe: _Probe, about: About, wanted: Collection[str]) -> About:
    """See whether it is an Ollama behind `/v1`, which tells more in its own API."""
    version = catalogue.text(await probe.ask("/api/version"), "version")
    if version is None:
        return about
    tags = await probe.ask("/api/tags")
    models = await _native_models(probe, tags, wanted) if tags is not None else about.models
    return replace(about, kind=catalogue.OLLAMA, version=version, models=models)


async def _ask_nothing(_probe: _Probe, about: About, _wanted: Collection[str]) -> About:
    return about


FURTHER: dict[str, Callable[[_Probe, About, Collection[str]], Awaitable[About]]] = {
    catalogue.LLAMA_CPP: _ask_llama_cpp,
    catalogue.VLLM: _ask_vllm,
    catalogue.LM_STUDIO: _ask_lm_studio,
    catalogue.SGLANG: _ask_nothing,
}
"""Where each kind of server tells more; a kind that is not known may be an Ollama."""


def _json(answer: Answer) -> Json:
    if answer.status != 200:
        return None
    try:
        return orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return None
