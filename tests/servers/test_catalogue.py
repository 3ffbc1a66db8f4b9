"""What a server offers is read from what real servers send, each in its own way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.scripted import REFUSED, Reply, Script, described, reply

from batcher.model import Api, Json
from batcher.servers.catalogue import About, ModelInfo, missing
from batcher.servers.probe import MOST_SHOWN

if TYPE_CHECKING:
    from batcher.failures import Failure

NATIVE, OPENAI = Api.NATIVE, Api.OPENAI

LLAMA_32 = {
    "name": "llama3.2:latest",
    "model": "llama3.2:latest",
    "modified_at": "2025-05-04T17:37:44.706015396-07:00",
    "size": 2019393189,
    "digest": "a80c4f17",
    "details": {
        "parent_model": "",
        "format": "gguf",
        "family": "llama",
        "families": ["llama"],
        "parameter_size": "3.2B",
        "quantization_level": "Q4_K_M",
        "context_length": 131072,
        "embedding_length": 3072,
    },
    "capabilities": ["completion", "tools"],
}
OLD_MISTRAL = {
    "name": "mistral:latest",
    "model": "mistral:latest",
    "size": 4109865159,
    "details": {"parameter_size": "7B", "quantization_level": "Q4_0"},
}
MISTRAL_RUNNING = {"name": "mistral:latest", "size": 5137025024, "size_vram": 5137025024, "context_length": 4096}
MISTRAL_SHOWN = {
    "model_info": {"general.architecture": "llama", "llama.context_length": 32768},
    "capabilities": ["completion"],
}
OLLAMA: dict[str, Reply | Failure] = {
    "/": Reply(200, b"Ollama is running", {"content-type": "text/plain; charset=utf-8"}),
    "/api/version": reply({"version": "0.33.0"}),
    "/api/tags": reply({"models": [LLAMA_32, OLD_MISTRAL]}),
    "/api/ps": reply({"models": [MISTRAL_RUNNING]}),
    "/api/show": reply(MISTRAL_SHOWN),
    "/v1/models": reply(
        {"object": "list", "data": [{"id": "llama3.2:latest", "object": "model", "owned_by": "library"}]}
    ),
}
LLAMA_MODEL = ModelInfo(
    name="llama3.2:latest",
    size=2019393189,
    context=131072,
    capabilities=("completion",),  # as `/api/show` says, whatever the list does
    parameters="3.2B",
    quantization="Q4_K_M",
    modified="2025-05-04T17:37:44.706015396-07:00",
)
MISTRAL_MODEL = ModelInfo(
    name="mistral:latest",
    size=4109865159,
    context=32768,
    loaded_context=4096,
    capabilities=("completion",),
    parameters="7B",
    quantization="Q4_0",
    loaded=True,
)


def test_ollama_tells_of_its_models() -> None:
    """Ollama's list, its loaded models and `/api/show`, which knows what each can do, make one picture."""
    script = Script(OLLAMA)
    about = described(script, NATIVE)
    assert about == About(api=NATIVE, kind="Ollama", version="0.33.0", models=(LLAMA_MODEL, MISTRAL_MODEL))
    assert sorted((method, body) for method, path, _, body in script.asked if path == "/api/show") == [
        ("POST", b'{"model":"llama3.2:latest"}'),
        ("POST", b'{"model":"mistral:latest"}'),
    ]


def test_key_goes_with_every_request() -> None:
    """All that is asked carries the endpoint's headers."""
    script = Script(OLLAMA)
    described(script, NATIVE, key=True)
    assert {headers["Authorization"] for _, _, headers, _ in script.asked} == {"Bearer canary-0123456789"}


def test_ollama_behind_v1_tells_as_much() -> None:
    """An Ollama spoken to through `/v1` is recognised, and its own API asked for the rest."""
    about = described(Script(OLLAMA), OPENAI)
    assert about == About(api=OPENAI, kind="Ollama", version="0.33.0", models=(LLAMA_MODEL, MISTRAL_MODEL))


def test_ollama_without_models() -> None:
    """`"data": null` and an empty list mean no models, and are no errors."""
    bare = OLLAMA | {"/api/tags": reply({"models": []}), "/v1/models": reply({"object": "list", "data": None})}
    assert described(Script(bare), NATIVE).models == ()
    assert described(Script(bare), OPENAI).models == ()
    assert described(Script({"/v1/models": reply({"object": "list", "data": None})}), OPENAI).models == ()


def test_context_is_asked_for_a_bounded_number_of_models() -> None:
    """Details that cost a request each are asked for the wanted models, or for the first few."""
    many = [OLD_MISTRAL | {"name": f"m{number}:latest"} for number in range(MOST_SHOWN + 5)]
    replies = OLLAMA | {"/api/tags": reply({"models": many})}
    script = Script(replies)
    about = described(script, NATIVE)
    assert script.paths.count("/api/show") == MOST_SHOWN
    assert [model.context for model in about.models] == [32768] * MOST_SHOWN + [None] * 5
    script = Script(replies)
    about = described(script, NATIVE, wanted=["m24", "M3:latest", "not-there"])
    assert [model.name for model in about.models if model.context] == ["m3:latest", "m24:latest"]
    assert script.paths.count("/api/show") == 2


def test_optional_answers_may_be_missing() -> None:
    """A server that has only the version and the list is described as far as it goes."""
    bare: dict[str, Reply | Failure] = {
        "/": REFUSED,
        "/api/version": OLLAMA["/api/version"],
        "/api/tags": OLLAMA["/api/tags"],
        "/api/ps": REFUSED,
        "/api/show": Reply(500, b"{}"),
    }
    about = described(Script(bare), NATIVE)
    assert about.kind == "Ollama-compatible"
    assert [(model.context, model.loaded) for model in about.models] == [(131072, False), (None, False)]


LLAMA_CPP_MODEL = {
    "id": "/models/SmolLM2-135M-Instruct.Q4_1.gguf",
    "object": "model",
    "owned_by": "llamacpp",
    "meta": {"n_ctx": 512, "n_ctx_train": 8192, "n_params": 134515008, "size": 96576768, "ftype": "Q4_1"},
}
LLAMA_CPP: dict[str, Reply | Failure] = {
    "/": Reply(415, b"Error: gzip is not supported by this browser"),
    "/v1/models": reply({"object": "list", "data": [LLAMA_CPP_MODEL]}, server="llama.cpp"),
    "/props": reply({"default_generation_settings": {"n_ctx": 512}, "total_slots": 2, "build_info": "b7000-abc"}),
}


def test_llama_cpp_tells_of_its_slots() -> None:
    """llama.cpp tells its slots, its build and the room that one slot has."""
    about = described(Script(LLAMA_CPP), OPENAI)
    assert about == About(
        api=OPENAI,
        kind="llama.cpp",
        version="b7000-abc",
        slots=2,
        models=(
            ModelInfo(
                name="/models/SmolLM2-135M-Instruct.Q4_1.gguf",
                size=96576768,
                context=8192,
                loaded_context=512,
                parameters="135M",
                quantization="Q4_1",
                loaded=True,
            ),
        ),
    )


def test_older_llama_cpp_tells_the_context_in_its_properties() -> None:
    """Where the list does not tell the room of a slot, the properties do; without them it is not known."""
    old = LLAMA_CPP_MODEL | {"meta": {"n_ctx_train": 8192, "n_params": 7000000000}}
    listing = {"/v1/models": reply({"data": [old]}, server="llama.cpp")}
    (model,) = described(Script(LLAMA_CPP | listing), OPENAI).models
    assert (model.loaded_context, model.parameters) == (512, "7.0B")
    locked = {"/props": Reply(401, b'{"error":{"message":"Invalid API Key"}}')}
    about = described(Script(LLAMA_CPP | listing | locked), OPENAI)
    assert (about.slots, about.models[0].loaded_context) == (None, None)


def test_vllm() -> None:
    """vLLM tells the longest context it serves, and its version at a path of its own."""
    entry = {"id": "Qwen/Qwen3-8B", "object": "model", "owned_by": "vllm", "max_model_len": 40960}
    script = Script({"/v1/models": reply({"data": [entry]}), "/version": reply({"version": "0.33.0"})})
    about = described(script, OPENAI)
    assert (about.kind, about.version) == ("vLLM", "0.33.0")
    assert about.models == (ModelInfo(name="Qwen/Qwen3-8B", context=40960, loaded_context=40960, loaded=True),)


def test_lm_studio() -> None:
    """LM Studio's own list adds what its OpenAI list leaves out."""
    listing = {"data": [{"id": name, "object": "model", "owned_by": "organization_owner"} for name in ("qwen", "new")]}
    own = {
        "id": "qwen",
        "type": "vlm",
        "quantization": "4bit",
        "state": "loaded",
        "max_context_length": 32768,
        "loaded_context_length": 4096,
    }
    about = described(Script({"/v1/models": reply(listing), "/api/v0/models": reply({"data": [own]})}), OPENAI)
    assert about.kind == "LM Studio"
    assert about.models == (
        ModelInfo(
            name="qwen",
            context=32768,
            loaded_context=4096,
            capabilities=("completion", "vision"),
            quantization="4bit",
            loaded=True,
        ),
        ModelInfo(name="new"),
    )
    older = described(Script({"/v1/models": reply(listing)}), OPENAI)
    assert [model.name for model in older.models] == ["qwen", "new"]


@pytest.mark.parametrize(
    "listing",
    [
        {"object": "list", "data": [{"id": "a", "context_length": 8192}, {"no": "id"}, None, {"id": 7}]},
        [{"id": "a", "context_length": 8192, "size": "large", "capabilities": {}}],
    ],
    ids=["with oddities", "bare array"],
)
def test_other_servers(listing: Json) -> None:
    """A server of no known kind tells its models, and what makes no sense in its list is left out."""
    about = described(Script({"/v1/models": reply(listing)}), OPENAI)
    assert about == About(api=OPENAI, kind="OpenAI-compatible", models=(ModelInfo(name="a", context=8192),))


def test_nothing_else_is_asked_of_hosted_servers() -> None:
    """Where the base URL is the API itself, nothing is asked beside it."""
    script = Script({"/v1beta/openai/models": reply({"data": [{"id": "gemini"}]})})
    assert [model.name for model in described(script, OPENAI, v1="", root="https://h/v1beta/openai").models] == [
        "gemini"
    ]
    assert script.paths == ["/v1beta/openai/models"]
    script = Script({"/v1/models": reply({"data": [{"id": "gpt-4o-mini", "owned_by": "system"}]})})
    assert described(script, OPENAI, root="https://api.openai.com").kind == "OpenAI"
    assert script.paths == ["/v1/models"]


def test_sglang() -> None:
    """SGLang tells all it has to tell in its list."""
    script = Script({"/v1/models": reply({"data": [{"id": "m", "owned_by": "sglang", "max_model_len": 4096}]})})
    about = described(script, OPENAI)
    assert (about.kind, about.models[0].loaded_context) == ("SGLang", 4096)
    assert script.paths == ["/v1/models"]


def about_with(kind: str, *names: str, api: Api = OPENAI) -> About:
    return About(api=api, kind=kind, models=tuple(ModelInfo(name=name) for name in names))


@pytest.mark.parametrize(
    ("about", "wanted", "expected"),
    [
        (about_with("Ollama", "llama3.2:latest", api=NATIVE), ["llama3.2", "Llama3.2:latest"], []),
        (about_with("Ollama", "llama3.2:latest"), ["library/llama3.2"], []),
        (about_with("Ollama", "llama3.2:latest", "qwen3:8b", api=NATIVE), ["llama3"], [("llama3", "llama3.2:latest")]),
        (about_with("Ollama", "llama3.2:latest", api=NATIVE), ["gpt-oss:120b-cloud", "glm:cloud"], []),
        (about_with("Ollama", "llama3.2:latest", api=NATIVE), ["zzz"], [("zzz", None)]),
        (about_with("Ollama", api=NATIVE), ["llama3.2"], [("llama3.2", None)]),
        (about_with("vLLM", "Qwen/Qwen3-8B"), ["Qwen/Qwen3-8B"], []),
        (about_with("vLLM", "Qwen/Qwen3-8B"), ["qwen/qwen3-8b"], [("qwen/qwen3-8b", "Qwen/Qwen3-8B")]),
        (about_with("llama.cpp", "model.gguf"), ["anything"], []),
        (about_with("llama.cpp", "alpha", "beta"), ["alfa"], [("alfa", "alpha")]),
    ],
)
def test_missing_models_come_with_the_nearest(
    about: About, wanted: list[str], expected: list[tuple[str, str | None]]
) -> None:
    """A model that is not there is named with the one that was probably meant; names compare as the server does it."""
    assert missing(wanted, about) == expected


@pytest.mark.parametrize(
    ("said", "slots"),
    [(1, 1), (256, 256), (257, None), (1_000_000, None), (1e30, None), (0, None), (-4, None), ("4", None)],
)
def test_slots_are_what_a_server_can_have(said: Json, slots: int | None) -> None:
    """A number that no server has is no reason to open as many connections, nor to end."""
    assert described(Script(LLAMA_CPP | {"/props": reply({"total_slots": said})}), OPENAI).slots == slots
