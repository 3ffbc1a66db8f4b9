"""Records what the real llama.cpp server answers, byte by byte, into tests/recordings/. Run by hand after `make demo`:

    cd tests && ../.venv/bin/python -m support.record_wire [NAME-PREFIX …]

Each request below goes to a server with a slot of 512 tokens, and its answer becomes `tests/recordings/NAME.http`, in
the format of `wirefiles.py`. Sampling is greedy, so a recording changes with llama.cpp and the model, not from run to
run (but for ids and times). The tests only read the files.
"""

from __future__ import annotations

import http.client
import json
import sys
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any
from urllib.parse import urlsplit

import xllamacpp
from support.wirefiles import FOLDER, SUFFIX, WireFile

from batcher.servers.llamacpp import parameters
from batcher.servers.local import default_model

SOURCE = f"llama.cpp (xllamacpp {xllamacpp.__version__}), SmolLM2-135M-Instruct"

# SmolLM2's own template knows neither tools nor thoughts, so these requests meet ChatML with one of them added.
TOOLS_TEMPLATE = """\
{%- if tools %}
{{- '<|im_start|>system\\nYou may call functions. They are:\\n<tools>' }}
{%- for tool in tools %}{{- '\\n' + (tool | tojson) }}{%- endfor %}
{{- '\\n</tools>\\nTo call one, answer with its name and arguments as JSON:\\n' }}
{{- '<tool_call>\\n{"name": <name>, "arguments": <arguments>}\\n</tool_call><|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' + (message.content or '') }}
{%- for call in message.tool_calls or [] %}
{{- '\\n<tool_call>\\n{"name": "' + call.function.name + '", "arguments": ' }}
{{- (call.function.arguments | tojson) + '}\\n</tool_call>' }}
{%- endfor %}
{{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""

THINKING_TEMPLATE = """\
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' }}
{%- if message.reasoning_content %}{{- '<think>\\n' + message.reasoning_content + '\\n</think>\\n\\n' }}{%- endif %}
{{- (message.content or '') + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n<think>\\n' }}{%- endif %}
"""


@dataclass(frozen=True, slots=True)
class Recording:
    """One request to record; `template` replaces the model's own."""

    name: str
    path: str
    body: dict[str, Any]
    template: str = field(default="", repr=False)


def question(city: str) -> dict[str, Any]:
    """A message that both tools are needed to answer."""
    return {"role": "user", "content": f"Weather and time in {city}?"}


def exchange(city: str) -> list[dict[str, Any]]:
    """The question, answered with a call of either tool."""
    arguments = json.dumps({"city": city})
    calls = [
        {"id": f"call_{word}", "type": "function", "function": {"name": f"get_{word}", "arguments": arguments}}
        for word in ("weather", "time")
    ]
    return [question(city), {"role": "assistant", "content": None, "tool_calls": calls}]


def tool(word: str) -> dict[str, Any]:
    """A tool with one required argument."""
    return {
        "type": "function",
        "function": {
            "name": f"get_{word}",
            "description": f"The {word} of a city",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }


ASK = [{"role": "user", "content": "Name three colours of the rainbow, with an emoji for each."}]
CHAT = {"model": "smollm2", "messages": ASK, "temperature": 0, "seed": 1, "max_tokens": 48}
PROMPT = {"model": "smollm2", "prompt": "Once upon a time", "temperature": 0, "seed": 1, "max_tokens": 24}
RESPONSE = {"model": "smollm2", "input": "Say hello in French.", "temperature": 0, "max_output_tokens": 64}
INPUTS = {"model": "smollm2", "input": ["red", "deep blue sea"]}
SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "colours",
        "schema": {
            "type": "object",
            "properties": {"colours": {"type": "array", "items": {"type": "string", "maxLength": 12}, "maxItems": 3}},
            "required": ["colours"],
            "additionalProperties": False,
        },
    },
}
# So small a model calls a function only if it has seen it done.
TOOLS = CHAT | {
    "messages": [*exchange("Rome"), *exchange("Oslo"), question("Paris")],
    "tools": [tool("weather"), tool("time")],
    "tool_choice": "required",
    "max_tokens": 96,
}
# The grammar makes so small a model end its thoughts.
THINKING = CHAT | {"grammar": 'root ::= [a-zA-Z ,.\\n]{20,60} "\\n</think>\\n\\n" [a-zA-Z ,.]{5,40}', "max_tokens": 64}
TOO_LONG = CHAT | {"messages": [{"role": "user", "content": "word " * 600}]}
UNICODE = CHAT | {"grammar": 'root ::= "🎉 Grüße, 世界! " [a-z]{3,9}'}
STREAM = {"stream": True}
USAGE = {"stream": True, "stream_options": {"include_usage": True}}
LOGPROBS = {"logprobs": True, "top_logprobs": 2, "max_tokens": 4}

CHAT_PATH, COMPLETIONS_PATH = "/v1/chat/completions", "/v1/completions"
RESPONSES_PATH, EMBEDDINGS_PATH = "/v1/responses", "/v1/embeddings"

RECORDINGS = [
    Recording("chat-stream", CHAT_PATH, CHAT | STREAM),
    Recording("chat-stream-usage", CHAT_PATH, CHAT | USAGE),
    Recording("chat-stream-length", CHAT_PATH, CHAT | STREAM | {"max_tokens": 5}),
    Recording("chat-stream-n2", CHAT_PATH, CHAT | USAGE | {"n": 2, "temperature": 1, "max_tokens": 12}),
    Recording("chat-stream-logprobs", CHAT_PATH, CHAT | STREAM | LOGPROBS),
    Recording("chat-stream-schema", CHAT_PATH, CHAT | STREAM | {"response_format": SCHEMA}),
    Recording("chat-stream-unicode", CHAT_PATH, UNICODE | STREAM),
    Recording("chat-whole", CHAT_PATH, CHAT),
    Recording("chat-whole-length", CHAT_PATH, CHAT | {"max_tokens": 5}),
    Recording("chat-whole-n2", CHAT_PATH, CHAT | {"n": 2, "temperature": 1, "max_tokens": 12}),
    Recording("chat-whole-logprobs", CHAT_PATH, CHAT | LOGPROBS),
    Recording("chat-whole-schema", CHAT_PATH, CHAT | {"response_format": SCHEMA}),
    Recording("completions-stream", COMPLETIONS_PATH, PROMPT | STREAM),
    Recording("completions-stream-usage", COMPLETIONS_PATH, PROMPT | USAGE),
    Recording("completions-stream-logprobs", COMPLETIONS_PATH, PROMPT | STREAM | {"logprobs": 2, "max_tokens": 4}),
    Recording("completions-whole", COMPLETIONS_PATH, PROMPT),
    Recording("completions-whole-logprobs", COMPLETIONS_PATH, PROMPT | {"logprobs": 2, "max_tokens": 4}),
    Recording("responses-stream", RESPONSES_PATH, RESPONSE | STREAM),
    Recording("responses-stream-length", RESPONSES_PATH, RESPONSE | STREAM | {"max_output_tokens": 4}),
    Recording("responses-whole", RESPONSES_PATH, RESPONSE),
    Recording("responses-whole-length", RESPONSES_PATH, RESPONSE | {"max_output_tokens": 4}),
    Recording("embeddings-float", EMBEDDINGS_PATH, INPUTS),
    Recording("embeddings-base64", EMBEDDINGS_PATH, INPUTS | {"encoding_format": "base64"}),
    Recording("error-bad-messages", CHAT_PATH, CHAT | {"messages": "hello"}),
    Recording("error-no-messages", CHAT_PATH, {"model": "smollm2"}),
    Recording("error-context-whole", CHAT_PATH, TOO_LONG),
    Recording("error-context-stream", CHAT_PATH, TOO_LONG | STREAM),
    Recording("error-context-embeddings", EMBEDDINGS_PATH, INPUTS | {"input": ["word " * 600]}),
    Recording("error-not-found", "/v1/nowhere", CHAT),
    Recording("error-not-supported", "/v1/rerank", {"model": "smollm2", "query": "a", "documents": ["b"]}),
    Recording("tools-stream", CHAT_PATH, TOOLS | STREAM, TOOLS_TEMPLATE),
    Recording("tools-stream-length", CHAT_PATH, TOOLS | STREAM | {"max_tokens": 20}, TOOLS_TEMPLATE),
    Recording("tools-whole", CHAT_PATH, TOOLS, TOOLS_TEMPLATE),
    Recording("thinking-stream", CHAT_PATH, THINKING | STREAM, THINKING_TEMPLATE),
    Recording("thinking-whole", CHAT_PATH, THINKING, THINKING_TEMPLATE),
]


def serve(template: str) -> xllamacpp.Server:
    """A server of the demo model with a chat template; "" is the model's own."""
    settings = parameters(default_model(), slots=2, context=512, key=None)
    settings.chat_template = template
    return xllamacpp.Server(settings)


def record(address: str, recording: Recording) -> WireFile:
    """Send one request and take the answer as it comes."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=120)
    headers = {"Content-Type": "application/json"}
    try:
        connection.request("POST", recording.path, json.dumps(recording.body), headers)
        response = connection.getresponse()
        return WireFile(
            name=recording.name,
            path=recording.path,
            request=recording.body,
            status=response.status,
            content_type=response.headers["Content-Type"],
            body=response.read(),
            source=SOURCE + (", with a ChatML template of our own" if recording.template else ""),
            captured=True,
        )
    finally:
        connection.close()


def main(prefixes: tuple[str, ...]) -> None:
    """Record what is asked for, one server a template."""
    wanted = [each for each in RECORDINGS if each.name.startswith(prefixes or "")]
    for template, group in groupby(wanted, key=lambda each: each.template):
        server = serve(template)
        for each in group:
            wire = record(server.listening_address, each)
            (FOLDER / f"{each.name}{SUFFIX}").write_bytes(wire.dump())
            print(f"{wire.status} {wire.content_type:40} {len(wire.body):7} bytes  {each.name}")
        del server  # it stops, and its memory goes, before the next one loads


if __name__ == "__main__":
    main(tuple(sys.argv[1:]))
