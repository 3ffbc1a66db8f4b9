"""What a real Ollama says of itself (0.33.0-rc2, captured), and what `check` makes of it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from support.scripted import Reply, Script, described
from support.wirefiles import load

from batcher.commands.checkup import Checkup
from batcher.inputs.formats.defaults import Defaults
from batcher.inputs.formats.jsonl import parse_job
from batcher.inputs.formats.lines import Line
from batcher.model import Api
from batcher.servers import catalogue

HI = [{"role": "user", "content": "a"}]
CAPTURED = {"/": "root", "/api/version": "version", "/api/tags": "tags", "/api/ps": "ps", "/v1/models": "v1-models"}


def replies(**other: str) -> dict[str, Any]:
    """The captured answers by path; `/api/show` tells of the embedding model."""
    named = CAPTURED | {"/api/show": "show"} | other
    wires = {path: load(f"captured-ollama-{name}") for path, name in named.items()}
    return {path: Reply(wire.status, wire.body, {"content-type": wire.content_type}) for path, wire in wires.items()}


@pytest.mark.parametrize("api", list(Api))
def test_its_models(api: Api) -> None:
    """Kind, version, and for the model that is wanted what it can do, by `/api/show`: the list is wrong about it."""
    about = described(Script(replies()), api, wanted=["all-minilm"])
    assert (about.kind, about.version) == ("Ollama", "0.33.0-rc2")
    model = about.find("all-minilm")
    assert model is not None
    assert (model.name, model.capabilities, model.context) == ("all-minilm:latest", ("embedding",), 512)
    assert [other.capabilities for other in about.models if other is not model] == [()] * (len(about.models) - 1)
    listed = orjson.loads(load("captured-ollama-tags").body)["models"]
    assert next(item["capabilities"] for item in listed if item["name"] == model.name) == ["completion"]


@pytest.mark.parametrize("api", list(Api))
def test_an_ollama_without_models(api: Api) -> None:
    """Its empty lists are no errors."""
    script = Script({**replies(), **replies(**{"/api/tags": "tags-empty", "/v1/models": "v1-models-empty"})})
    assert described(script, api).models == ()


def needs(*lines: dict[str, Any]) -> Checkup:
    checkup = Checkup()
    checkup.read(
        [Line(number, 0, orjson.dumps(line)) for number, line in enumerate(lines)],
        Api.NATIVE,
        parse=parse_job,
        defaults=Defaults(model="all-minilm"),
    )
    return checkup


@pytest.mark.parametrize(
    ("line", "lacks"),
    [
        ({"input": "a"}, []),
        ({"url": "/api/embed", "body": {"input": "a"}}, []),
        ({"prompt": "a"}, ["completion"]),
        ({"messages": HI}, ["completion"]),
        ({"prompt": "a", "suffix": "b"}, ["completion", "insert"]),
        ({"url": "/api/generate", "body": {"prompt": "a", "suffix": "b"}}, ["completion", "insert"]),
        ({"prompt": "a", "think": True}, ["completion", "thinking"]),
        ({"prompt": "a", "think": False}, ["completion"]),
        (
            {
                "url": "/v1/chat/completions",
                "body": {"messages": HI, "reasoning_effort": "high"},
            },
            ["completion", "thinking"],
        ),
        (
            {
                "url": "/v1/chat/completions",
                "body": {"messages": HI, "reasoning_effort": "none"},
            },
            ["completion"],
        ),
    ],
)
def test_what_an_embedding_model_cannot_do(line: dict[str, Any], lacks: list[str]) -> None:
    """It is fit for what it is, and a prompt, a suffix or thinking is seen before anything is sent."""
    about = described(Script(replies()), Api.NATIVE, wanted=["all-minilm"])
    checkup = needs(line)
    assert not checkup.refused
    assert [what for _, what, _ in catalogue.lacking(checkup.needs, about)] == lacks
