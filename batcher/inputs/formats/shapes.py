"""Shapes of lines that other programs write, known by their keys: what is made of each, and which are not spoken.

    instruction, input        Alpaca (https://github.com/tatsu-lab/stanford_alpaca): one prompt of both
    conversations             ShareGPT, as Vicuna and axolotl have it: turns with from and value, or role and content
    question                  a prompt
    custom_id, body           batch lines of Mistral, Together and Fireworks: the body says what is asked

What a line holds as the answer that was once given (`output`, the last turns) is left out: it is asked anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from batcher.failures import LineError
from batcher.inputs.formats.parameters import wrong

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from batcher.model import Json

ALPACA: Final = "Alpaca instructions"
SHAREGPT: Final = "ShareGPT conversations"
QUESTION: Final = "questions"
"""What the shapes are called where a run says for what it takes the lines."""

OWN_RESULT: Final = "own_result"
"""The code of a line that holds an answer of ours, or OpenAI's, and asks nothing."""

_ROLES: Final = {
    "human": "user",
    "user": "user",
    "prompter": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "model": "assistant",
    "system": "system",
    "tool": "tool",
    "function_response": "tool",
    "observation": "tool",
}
"""Who speaks in a ShareGPT turn, by the names in use."""

_KEYS: Final[Mapping[str, frozenset[str]]] = {
    ALPACA: frozenset({"instruction", "input", "output", "text"}),
    SHAREGPT: frozenset({"conversations"}),
    QUESTION: frozenset({"question", "answer", "answers"}),
}
"""What each shape has, with the answers: it is read here or left out."""


class Foreign(NamedTuple):
    """A line of an API that is not spoken: what it is known by, and what it is."""

    keys: Collection[str]
    inside: str
    """The key under which an object has to have one of `any_of`; "" for none."""
    any_of: Collection[str]
    what: str


_FOREIGN: Final = (
    # https://docs.anthropic.com/en/api/creating-message-batches
    Foreign({"custom_id", "params"}, "params", {"messages", "max_tokens"}, "an Anthropic message batch line"),
    # https://cloud.google.com/vertex-ai/generative-ai/docs/partner-models/claude/batch
    Foreign(
        {"custom_id", "request"}, "request", {"messages", "anthropic_version"}, "a Vertex AI batch line for Claude"
    ),
    # https://ai.google.dev/gemini-api/docs/batch-api
    Foreign({"key", "request"}, "request", {"contents", "content", "requests"}, "a Gemini batch line"),
    # https://cloud.google.com/vertex-ai/generative-ai/docs/multimodal/batch-prediction-gemini
    Foreign({"request"}, "request", {"contents", "content"}, "a Vertex AI batch line"),
    Foreign({"contents"}, "", (), "a Gemini request"),
    Foreign({"instances"}, "", (), "a Vertex AI request"),
    # https://docs.aws.amazon.com/bedrock/latest/userguide/batch-inference-data.html
    Foreign({"recordId", "modelInput"}, "", (), "a Bedrock batch line"),
    Foreign({"modelInput"}, "", (), "a Bedrock batch line"),
    # https://docs.cohere.com/reference/rerank, and the same of Jina and vLLM
    Foreign({"query", "documents"}, "", (), "a rerank request"),
    Foreign({"text_1", "text_2"}, "", (), "a score request"),
)
"""In this order: the first that fits."""

_UNSPOKEN: Final = (
    ("/rerank", "rerank"),
    ("/score", "score"),
    ("/moderations", "moderations"),
    ("/classify", "classification"),
    ("/pooling", "pooling"),
    ("/audio/", "audio"),
    ("/videos", "video"),
    ("/images/edits", "image edits"),
    ("/images/variations", "image variations"),
    ("/messages", "Anthropic's messages"),
    (":generateContent", "Gemini's API"),
    (":batchEmbedContents", "Gemini's API"),
    (":predict", "Vertex AI's API"),
    ("/invoke", "Bedrock's API"),
    ("/fim/completions", "Mistral's fill-in-the-middle"),
    ("/ocr", "OCR"),
    ("/assistants", "assistants"),
    ("/threads", "threads"),
    ("/fine_tuning", "fine-tuning"),
)
"""What stands in the path of an API that is not spoken, and its name."""


FOREIGN_KEYS: Final = frozenset(
    {"instruction", "conversations", "question", "seq", "response"}.union(*(foreign.keys for foreign in _FOREIGN))
) - {"custom_id", "key"}
"""A line without any of these is none of other programs."""


def unspoken(path: str) -> str | None:
    """What a path is for, if that is known and nothing that batcher does."""
    return next((what for part, what in _UNSPOKEN if part in path), None)


def familiar(record: dict[str, Json]) -> tuple[dict[str, Json], str] | None:
    """The line as ours, and the name of its shape; `None` if it is none of them.

    Raises LineError for a line that is known to be something else than a request, or a request of another API.
    """
    if "body" in record or "url" in record:
        return None
    if "instruction" in record:
        return _without(record, ALPACA, {"prompt": _alpaca(record)}), ALPACA
    if "conversations" in record:
        return _without(record, SHAREGPT, {"messages": _turns(record["conversations"])}), SHAREGPT
    if "question" in record:
        return _without(record, QUESTION, {"prompt": record["question"]}), QUESTION
    return None


def refuse_others(record: Mapping[str, Json]) -> None:
    """Raise LineError for an answer where a request should be, and for a request of an API that is not spoken."""
    keys = record.keys()
    if keys >= {"id", "seq", "hash"} or keys >= {"id", "seq", "error"}:
        raise LineError(
            OWN_RESULT,
            "the line is a result of batcher's, which asks nothing; say with --prompt what to ask about it, as in "
            "--prompt 'Is this right? {{ text }}'",
        )
    if keys >= {"custom_id", "response"} and "body" not in keys:
        raise LineError(
            OWN_RESULT,
            "the line is the answer of an OpenAI batch, which asks nothing; say with --prompt what to ask about it",
        )
    if "text" in keys or "input" in keys or "body" in keys:
        return  # an embedding, or a batch line, whatever else stands beside it
    for foreign in _FOREIGN:
        inner = record.get(foreign.inside) if foreign.inside else None
        fits = not foreign.inside or (type(inner) is dict and not inner.keys().isdisjoint(foreign.any_of))
        if keys >= set(foreign.keys) and fits:
            raise LineError(
                "foreign_line",
                f"this is {foreign.what}, which batcher does not speak; write it as one of OpenAI's (custom_id, url, "
                "body), or say with --prompt or --messages what to ask",
            )


def path_of_body(body: Json) -> str | None:
    """Where a batch line without a url belongs, by what its body has."""
    if type(body) is not dict:
        return None
    places = {"messages": "/v1/chat/completions", "prompt": "/v1/completions", "input": "/v1/embeddings"}
    return next((path for key, path in places.items() if body.get(key) is not None), None)


def _alpaca(record: Mapping[str, Json]) -> Json:
    instruction, context = record["instruction"], record.get("input")
    if type(instruction) is not str:
        raise wrong("instruction", "text", instruction)
    if context is None or context == "":
        return instruction
    if type(context) is not str:
        raise wrong("input", "text", context)
    return f"{instruction}\n\n{context}" if context.strip() else instruction


def _turns(turns: Json) -> list[Json]:
    """The messages of a conversation, up to the last that is not the model's."""
    if type(turns) is not list or not turns:
        raise wrong("conversations", "a list of turns with from and value", turns)
    messages = [_turn(turn, place) for place, turn in enumerate(turns)]
    while messages and messages[-1]["role"] == "assistant":
        messages.pop()
    if not messages:
        raise LineError("empty_prompt", '"conversations" has no turn that the model could answer')
    return messages


def _turn(turn: Json, place: int) -> dict[str, Json]:
    if type(turn) is not dict:
        raise wrong(f"conversations[{place}]", "an object with from and value", turn)
    who = turn.get("from", turn.get("role"))
    role = _ROLES.get(who.lower()) if type(who) is str else None
    if role is None:
        raise wrong(f"conversations[{place}].from", "human, gpt or system", who)
    return {"role": role, "content": turn.get("value", turn.get("content"))}


def _without(record: Mapping[str, Json], shape: str, asked: dict[str, Json]) -> dict[str, Json]:
    return {**{key: value for key, value in record.items() if key not in _KEYS[shape]}, **asked}
