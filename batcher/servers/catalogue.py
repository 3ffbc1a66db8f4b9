"""What a server offers, in one shape whichever API told of it: kind, version, models. `probe` does the asking."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from batcher.model import Api
from batcher.servers.modelnames import same_model

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from batcher.model import Json

OLLAMA = "Ollama"
LLAMA_CPP = "llama.cpp"
VLLM = "vLLM"
SGLANG = "SGLang"
LM_STUDIO = "LM Studio"
HOSTED_OPENAI = "OpenAI"
OPENAI_COMPATIBLE = "OpenAI-compatible"
OLLAMA_COMPATIBLE = "Ollama-compatible"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """One model. `size` is in bytes, `context` and `loaded_context` in tokens; what a server does not tell is `None`.

    `context` is what the model can take, `loaded_context` what a request has room for as the model is loaded now.
    `modified` is the server's own ISO 8601 text.
    """

    name: str
    size: int | None = None
    context: int | None = None
    loaded_context: int | None = None
    capabilities: tuple[str, ...] = ()
    parameters: str | None = None
    quantization: str | None = None
    loaded: bool = False
    modified: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a server says of itself. `slots` is how many requests it works on at once, where it tells."""

    api: Api
    kind: str
    version: str | None = None
    models: tuple[ModelInfo, ...] = ()
    slots: int | None = None

    def find(self, name: str) -> ModelInfo | None:
        """Give the model that the server would use for this name."""
        for model in self.models:
            if model.name == name or self._are_one(model.name, name):
                return model
        # llama.cpp with one model answers by any name.
        return self.models[0] if self.kind == LLAMA_CPP and len(self.models) == 1 else None

    def _are_one(self, one: str, other: str) -> bool:
        """Whether two names mean one model here: by Ollama's rules, or but for `:latest` (a proxy of an Ollama)."""
        if self.api is Api.NATIVE or self.kind == OLLAMA:
            return same_model(one, other)
        return one.removesuffix(":latest") == other.removesuffix(":latest")


def missing(wanted: Iterable[str], about: About) -> list[tuple[str, str | None]]:
    """Name the wanted models that the server does not have, each with the most similar one that it has."""
    return [
        (name, _nearest(name, [model.name for model in about.models]))
        for name in wanted
        if about.find(name) is None and not (about.kind == OLLAMA and _is_remote(name))
    ]


def lacking(needs: Mapping[str, Mapping[str, int]], about: About) -> list[tuple[str, str, int]]:
    """Name what models cannot do and jobs ask of them: (model, capability, jobs).

    Only Ollama's own words are taken for the whole truth; elsewhere `capabilities` means many things.
    """
    if about.kind not in (OLLAMA, OLLAMA_COMPATIBLE):
        return []
    return [
        (name, capability, jobs)
        for name, wanted in needs.items()
        if (model := about.find(name)) is not None and model.capabilities
        for capability, jobs in wanted.items()
        if capability not in model.capabilities
    ]


def _is_remote(name: str) -> bool:
    """Whether Ollama passes the name on to its cloud: such models work without being listed."""
    tag = name.rpartition(":")[2].lower()
    return ":" in name and (tag == "cloud" or tag.endswith("-cloud"))


def _nearest(name: str, names: Sequence[str]) -> str | None:
    plain = {other.lower().removesuffix(":latest"): other for other in reversed(names)}
    close = difflib.get_close_matches(name.lower().removesuffix(":latest"), plain, n=1, cutoff=0.5)
    return plain[close[0]] if close else None


def from_tags(tags: Json, running: Json) -> tuple[ModelInfo, ...]:
    """Read Ollama's `/api/tags`, with the loaded models of `/api/ps`.

    What it says of capabilities is left out: 0.33.0 calls an embedding model `completion` there. `/api/show` is right.
    """
    loaded = {text(item, "name"): item for item in objects(running, "models")}
    return tuple(
        ModelInfo(
            name=name,
            size=count(item, "size"),
            context=count(details, "context_length"),
            loaded_context=count(loaded.get(name, {}), "context_length"),
            parameters=text(details, "parameter_size"),
            quantization=text(details, "quantization_level"),
            loaded=name in loaded,
            modified=text(item, "modified_at"),
        )
        for item in objects(tags, "models")
        if (name := text(item, "name") or text(item, "model")) is not None
        for details in [mapping(item, "details")]
    )


def with_show(model: ModelInfo, shown: Json) -> ModelInfo:
    """Add what `/api/show` tells; the context stands there under the name of the architecture."""
    info = mapping(shown, "model_info")
    context = count(info, f"{text(info, 'general.architecture')}.context_length")
    return replace(
        model,
        context=model.context or context,
        capabilities=texts(shown, "capabilities"),
    )


def from_list(listing: Json) -> tuple[ModelInfo, ...]:
    """Read `/v1/models`; llama.cpp (`meta`), vLLM (`max_model_len`) and OpenRouter (`context_length`) tell more."""
    return tuple(
        ModelInfo(
            name=name,
            size=count(meta, "size"),
            context=count(meta, "n_ctx_train") or count(item, "max_model_len") or count(item, "context_length"),
            loaded_context=count(meta, "n_ctx") or count(item, "max_model_len"),
            capabilities=texts(item, "capabilities"),
            parameters=_rounded(count(meta, "n_params")),
            quantization=text(meta, "ftype"),
            loaded=text(item, "owned_by") in {"llamacpp", "vllm", "sglang"},
        )
        for item in items_of(listing)
        if (name := text(item, "id")) is not None
        for meta in [mapping(item, "meta")]
    )


def with_lm_studio(models: Iterable[ModelInfo], listing: Json) -> tuple[ModelInfo, ...]:
    """Add what LM Studio's own `/api/v0/models` tells."""
    told = {text(item, "id"): item for item in items_of(listing)}
    return tuple(_of_lm_studio(model, told.get(model.name, {})) for model in models)


LM_STUDIO_TYPES = {"llm": ("completion",), "vlm": ("completion", "vision"), "embeddings": ("embedding",)}


def _of_lm_studio(model: ModelInfo, item: Mapping[str, Json]) -> ModelInfo:
    return replace(
        model,
        context=count(item, "max_context_length"),
        loaded_context=count(item, "loaded_context_length"),
        capabilities=LM_STUDIO_TYPES.get(text(item, "type") or "", ()) + texts(item, "capabilities"),
        quantization=text(item, "quantization"),
        loaded=text(item, "state") == "loaded",
    )


OWNERS = {"llamacpp": LLAMA_CPP, "vllm": VLLM, "sglang": SGLANG, "organization_owner": LM_STUDIO}


def kind_of(listing: Json, headers: Mapping[str, str]) -> str:
    """Tell which server wrote `/v1/models`, by its `Server` header and by whom it says the models are owned."""
    if headers.get("server", "").startswith("llama.cpp"):
        return LLAMA_CPP
    owners = {text(item, "owned_by") for item in items_of(listing)}
    return next((kind for owner, kind in OWNERS.items() if owner in owners), OPENAI_COMPATIBLE)


def items_of(listing: Json) -> list[dict[str, Json]]:
    """Give the models of a list; `data` is null on an Ollama without models, and some servers send a bare array."""
    return objects({"data": listing}, "data") if isinstance(listing, list) else objects(listing, "data")


def is_list(listing: Json) -> bool:
    return isinstance(listing, list) or (isinstance(listing, dict) and "data" in listing)


MOST_SLOTS = 256
"""More than this many at once no llama.cpp serves: a number beyond is nonsense, and would cost a connection each."""


def slots(props: Json) -> int | None:
    """How many requests a llama.cpp works on at once, of its `/props`."""
    number = count(props, "total_slots")
    return number if number is not None and number <= MOST_SLOTS else None


def text(source: Json, name: str) -> str | None:
    value = source.get(name) if isinstance(source, dict) else None
    return value if isinstance(value, str) and value else None


def count(source: Json, name: str) -> int | None:
    value = source.get(name) if isinstance(source, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def mapping(source: Json, name: str) -> dict[str, Json]:
    value = source.get(name) if isinstance(source, dict) else None
    return value if isinstance(value, dict) else {}


def objects(source: Json, name: str) -> list[dict[str, Json]]:
    value = source.get(name) if isinstance(source, dict) else None
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def texts(source: Json, name: str) -> tuple[str, ...]:
    value = source.get(name) if isinstance(source, dict) else None
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()


def _rounded(number: int | None) -> str | None:
    if number is None:
        return None
    return f"{number / 1e9:.1f}B" if number >= 1e9 else f"{number / 1e6:.0f}M"
