"""Cases of servers that behave as no document says: bytes in, and what must come out of `batcher run`.

`tests/wild/*.jsonl` holds one case a line; a line that begins with `#` is for people. Keys of a case:

    case       its name
    happens    what the server does, and what must come of it
    source     where it was met, or what it follows from; `met` says it for a case that is a neighbour of such
    api        `v1` (default) or `native`: which API the server speaks, and what its base URL looks like
    lines      the job lines, objects or text; default: one prompt under the id `a`
    args       options of `batcher run` beside those of `OPTIONS`
    files      name → text of files that are there before
    answers    what the server sends, request by request; the last one again and again
    right      what must come out

An answer is the name of one in `STOCK`, a list of parts (`support.wildserver`), or an object with

    status, headers, type    of the head: `"503 Busy"`, name → value, the content type; defaults fit the body
    events                   server-sent events: objects as JSON, text as it is, each a `data:` line and a blank one
    records                  lines of JSON: objects as JSON, text as it is
    json                     one JSON value in one piece
    text                     a body as it is (Latin-1)
    pause_s                  silence after the body, before the end
    end                      `close` or `reset` without the end of the body; `silent`: no end, the connection stays

A key of `right` is `exit`, `posts` (requests), `results` or `errors` (lines); `ok.…` or `err.…`, a dotted path in the
first result or error line; `sent.N.…`, one in the body of the n-th request from 0; or `any`, all that was told, with a
`~`. `null` is for what is absent. A `~` at the end of a key asks whether the value (each of a list) is contained in
what is there, `!~` whether none of it is.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from support.faultcells import short_waits
from support.wildserver import MODEL, wild_server

if TYPE_CHECKING:
    from support.commandline import Desk

FOLDER: Final = Path(__file__).parents[1] / "wild"
OPTIONS: Final = ("-m", MODEL, "-c", "1", "--retries", "2")
KEYS: Final = frozenset({"case", "happens", "source", "met", "api", "lines", "args", "files", "answers", "right"})


def chunk(content: str | None = None, reason: Any = None, **delta: Any) -> dict[str, Any]:
    """A record of a streamed chat completion."""
    said = delta if content is None else {"content": content, **delta}
    choice = {"index": 0, "delta": said, "finish_reason": reason}
    return {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": MODEL, "choices": [choice]}


STOCK: Final[dict[str, dict[str, Any]]] = {
    "good": {"events": [chunk("", role="assistant"), chunk("Hello"), chunk(" there"), chunk(reason="stop"), "[DONE]"]},
    "good whole": {
        "json": {
            "id": "c1",
            "object": "chat.completion",
            "created": 1,
            "model": MODEL,
            "choices": [
                {"index": 0, "message": {"role": "assistant", "content": "Hello there"}, "finish_reason": "stop"}
            ],
            "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
        }
    },
    "good native": {
        "records": [
            {"model": MODEL, "created_at": "2026-01-01T00:00:00Z", "response": "Hello", "done": False},
            {"model": MODEL, "created_at": "2026-01-01T00:00:00Z", "response": " there", "done": False},
            {
                "model": MODEL,
                "created_at": "2026-01-01T00:00:00Z",
                "response": "",
                "done": True,
                "done_reason": "stop",
                "prompt_eval_count": 3,
                "eval_count": 2,
            },
        ]
    },
}
"""Answers without a fault: `Hello there`."""


def cases(*files: str) -> dict[str, dict[str, Any]]:
    """Name → case, of all files of tests/wild/ or of these. Raises ValueError for a case that is not as above."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(FOLDER.glob("*.jsonl")):
        if files and path.stem not in files:
            continue
        for line in path.read_text().split("\n"):
            if line and not line.startswith("#"):
                case = json.loads(line)
                if case.keys() - KEYS or not case.keys() & {"source", "met"} or case["case"] in found:
                    raise ValueError(f"{path.name}: a case with other keys, without its source or there twice: {case}")
                found[case["case"]] = case
    return found


def parts_of(answer: Any) -> list[dict[str, Any]]:
    """An answer as the server plays it."""
    if isinstance(answer, list):
        return answer
    if isinstance(answer, str):
        answer = STOCK[answer]
    body, kind = body_of(answer)
    streamed = "events" in answer or "records" in answer
    headers = {"Content-Type": answer.get("type", kind), **answer.get("headers", {})}
    cut = answer.get("end")
    headers |= {"Transfer-Encoding": "chunked"} if streamed or cut else {"Content-Length": str(len(body))}
    head = [f"HTTP/1.1 {answer.get('status', '200 OK')}", *(f"{name}: {value}" for name, value in headers.items())]
    framed = f"{len(body):x}\r\n{body}\r\n" if body and (streamed or cut) else body
    parts: list[dict[str, Any]] = [{"bytes": "\r\n".join(head) + "\r\n\r\n" + framed}]
    if "pause_s" in answer:
        parts.append({"pause_s": answer["pause_s"]})
    if streamed and not cut:
        parts.append({"bytes": "0\r\n\r\n"})
    if cut in ("close", "reset"):
        parts.append({"then": cut})
    return parts


def body_of(answer: dict[str, Any]) -> tuple[str, str]:
    """The body of an answer as Latin-1 text, and its usual content type."""
    if "events" in answer:
        return "".join(f"data: {_dumped(event)}\n\n" for event in answer["events"]), "text/event-stream"
    if "records" in answer:
        return "".join(f"{_dumped(record)}\n" for record in answer["records"]), "application/x-ndjson"
    if "json" in answer:
        return _dumped(answer["json"]), "application/json"
    return answer.get("text", ""), "text/plain"


def play(case: dict[str, Any], desk: Desk, *, process: bool = False) -> list[str]:
    """Run the command against the case's server; return what came out otherwise than it must. `process`: in its own."""
    lines = case.get("lines", [{"id": "a", "prompt": "Say hello."}])
    (desk.path / "jobs.jsonl").write_text("".join(f"{_dumped(line)}\n" for line in lines))
    for name, text in case.get("files", {}).items():
        (desk.path / name).write_text(text)
    with wild_server([parts_of(answer) for answer in case["answers"]], case.get("api", "v1")) as server, short_waits():
        args = ("run", "jobs.jsonl", "-o", "results.jsonl", "--base-url", server.url, *OPTIONS, *case.get("args", ()))
        ran = desk.run(*args) if process else desk.call(*args)
    results, errors = desk.lines(), desk.lines("results.errors.jsonl")
    there: dict[str, Any] = {
        "exit": ran.code,
        "posts": len(server.posts),
        "results": len(results),
        "errors": len(errors),
        "ok": results[0] if results else {},
        "err": errors[0] if errors else {},
        "any": "\n".join([ran.out, ran.err, *(json.dumps(line, ensure_ascii=False) for line in results + errors)]),
        "sent": [json.loads(body) for body in server.posts],
    }
    wrong = [what for key, value in case["right"].items() if (what := _difference(there, key, value))]
    return [*wrong, there["any"]] if wrong else []


def _difference(there: dict[str, Any], key: str, value: Any) -> str:
    """What is wrong with one key of `right`; "" if nothing is."""
    found: Any = there
    for step in key.rstrip("!~").split("."):
        if isinstance(found, list):
            found = found[int(step)] if int(step) < len(found) else None
        else:
            found = found.get(step) if isinstance(found, dict) else None
    if key.endswith("~"):
        wanted = value if isinstance(value, list) else [value]
        held = [item in (found or ()) for item in wanted]
        if not any(held) if key.endswith("!~") else all(held):
            return ""
    elif found == value and type(found) is type(value):
        return ""
    return f"{key} must be {value!r} and is {found!r:.300}"


def _dumped(value: Any) -> str:
    """JSON in ASCII, so that it is the same text in Latin-1; a text as it is."""
    return value if isinstance(value, str) else json.dumps(value)
