"""Servers that repeat the key, in every place an answer has: it is in no file and in nothing that is shown."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import orjson
import pytest
from support.commandline import Desk
from support.wildcases import STOCK, chunk, play

if TYPE_CHECKING:
    from pathlib import Path

KEY = 'canary-7f3+Qz9w/Lm2"xTt8&0123456789'
FORMS = [
    KEY,
    json.dumps(KEY)[1:-1],
    json.dumps(json.dumps(KEY)[1:-1])[1:-1],
    quote(KEY),
    quote(KEY, safe=""),
    base64.b64encode(KEY.encode()).decode()[:-4],
    KEY[:16],
    "canary",
    "0123456789",
]
GO = json.dumps(KEY)[1:-1].replace("&", "\\u0026")
HALF = len(KEY) // 2


def pieces(text: str, size: int = 3) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size)]


def logprobs(text: str) -> dict[str, Any]:
    return {
        "content": [
            {"token": piece, "logprob": -0.1, "bytes": list(piece.encode()), "top_logprobs": []}
            for piece in pieces(text)
        ]
    }


def streamed(*chunks: dict[str, Any], usage: Any = None) -> dict[str, Any]:
    return {"events": [*chunks, chunk(reason="stop"), *([usage] if usage else []), "[DONE]"]}


def spelt(**delta: Any) -> dict[str, Any]:
    record = chunk(KEY[:HALF])
    record["choices"][0].update(delta)
    rest = chunk(KEY[HALF:])
    rest["choices"][0].update(delta)
    return streamed(record, rest)


def call(arguments: str) -> dict[str, Any]:
    return {"index": 0, "id": KEY, "type": "function", "function": {"name": KEY, "arguments": arguments}}


def refused(status: str, body: Any, **headers: str) -> dict[str, Any]:
    return {"status": status, "json": body, "headers": headers}


def whole(**fields: Any) -> dict[str, Any]:
    answer = orjson.loads(orjson.dumps(STOCK["good whole"]["json"]))
    answer["choices"][0]["message"].update(fields)
    return {"json": answer | {"system_fingerprint": KEY, "model": f"m-{KEY}", KEY: {KEY: [KEY]}}}


ANSWERS: dict[str, dict[str, Any]] = {
    "text": streamed(chunk(f"It is {KEY}.")),
    "text in two records": streamed(chunk(f"It is {KEY[:HALF]}"), chunk(f"{KEY[HALF:]}.")),
    "text letter by letter": streamed(*map(chunk, f"It is {KEY}.")),
    "text as JSON": streamed(chunk(json.dumps({"key": KEY}))),
    "text as Go's JSON": streamed(chunk(f'{{"key": "{GO}"}}')),
    "text in base64": streamed(chunk(base64.b64encode(f"user:{KEY}".encode()).decode())),
    "text as a URL": streamed(chunk(f"https://host/?q={quote(KEY, safe='')}")),
    "thinking": streamed(chunk(None, reasoning_content=f"Hm, {KEY}"), chunk("ok")),
    "thinking in two records": streamed(
        chunk(None, reasoning_content=KEY[:HALF]), chunk(None, reasoning_content=KEY[HALF:]), chunk("ok")
    ),
    "tool arguments": streamed(chunk(None, tool_calls=[call(json.dumps({KEY: [KEY, {"k": KEY}]}))])),
    "tool arguments that are no JSON": streamed(chunk(None, tool_calls=[call(f"key={KEY}")])),
    "logprobs": spelt(logprobs=logprobs(KEY)),
    "refusal": streamed(chunk(None, refusal=f"No {KEY}."), chunk("x")),
    "whole": whole(content=f"It is {KEY}.", reasoning_content=KEY, tool_calls=[call("{}")]),
    "model and finish reason": {"events": [{**chunk("x"), "model": KEY}, chunk("x", KEY), "[DONE]"]},
    "error words": refused("400 Bad", {"error": {"message": f"Bad key {KEY}", "type": KEY, "code": KEY}}),
    "error words that are cut": refused("400 Bad", {"error": {"message": "x" * 2030 + KEY}}),
    "error in plain words": {"status": "500 Oops", "text": f"Traceback: Authorization: Bearer {KEY}"},
    "a page": {"status": "502 Bad", "type": "text/html", "text": f"<title>{KEY}</title>{KEY}"},
    "no quota": refused("401 No", {"error": {"message": f"{KEY} is not valid"}}),
    "redirect": {
        "status": "307 There",
        "text": "",
        "headers": {"Location": f"https://host/?key={quote(KEY, safe='')}"},
    },
    "headers": {**STOCK["good"], "headers": {"X-Request-Id": KEY, "Set-Cookie": f"k={KEY}", "Server": KEY}},
    "error in the stream": {"events": [chunk(KEY[:HALF]), {"error": {"message": KEY}}]},
    "a cut stream": {"events": [chunk(f"It is {KEY}"), chunk(" so")], "end": "close"},
    "a stream that is cut within the key": {"events": [chunk(f"It is {KEY[:20]}")], "end": "close"},
}


@pytest.mark.slow
@pytest.mark.parametrize("more", [(), ("--raw",)], ids=["", "raw"])
@pytest.mark.parametrize("name", ANSWERS)
def test_a_server_that_repeats_the_key(tmp_path: Path, name: str, more: tuple[str, ...]) -> None:
    """Whatever it does with it: results, errors, state, summary and the screen are without it, and can be read."""
    desk = Desk(tmp_path)
    desk.env["OPENAI_API_KEY"] = KEY
    case: dict[str, Any] = {
        "lines": [{"id": "a", "prompt": "Say hello.", "meta": {"row": 1}}],
        "args": ["-vv", "--retries", "0", "--summary-json", "sums.json", "--param", "logprobs=true", *more],
        "answers": [ANSWERS[name]],
        "right": {"any!~": FORMS},
    }
    if name == "whole":
        case["args"].append("--no-stream")
    assert not play(case, desk)
    told = [line for file in ("results.jsonl", "results.errors.jsonl") for line in desk.lines(file)]
    assert told or name in ("no quota", "redirect", "a page"), name
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"sums.json", *(["results.state.json"] if told else [])} <= {path.name for path in files}
    for path in files:
        content = path.read_text()
        assert [form for form in FORMS if form in content] == [], path
    assert not any(str(list(KEY.encode())[3:6])[1:-1] in json.dumps(line) for line in told)


@pytest.mark.slow
def test_a_key_of_digits_doubles_nothing(tmp_path: Path) -> None:
    """Ids, hashes and numbers with the digits of a key in them stay, so that no line is asked for again."""
    desk = Desk(tmp_path)
    key = "12345678"
    desk.env |= {"OPENAI_API_KEY": key, "TEAM": "true,null"}
    case = {
        "lines": [{"id": f"job-{key}", "prompt": "x", "meta": {"order": key, "n": int(key)}}],
        "args": ["--header-env", "X-Team=TEAM"],
        "answers": [streamed(chunk(f"No {key}. true,null"), usage={**chunk("x"), "choices": [], "usage": {
            "prompt_tokens": int(key), "completion_tokens": 2, "total_tokens": int(key) + 2}})],
        "right": {
            "exit": 0, "posts": 1, "results": 1, "ok.id": f"job-{key}", "ok.text": "No ***. ***",
            "ok.usage.prompt_tokens": int(key), "ok.meta": {"order": key, "n": int(key)},
        },
    }  # fmt: skip
    assert not play(case, desk)
    case["right"] = {"exit": 0, "posts": 0, "results": 1}
    assert not play(case, desk)


@pytest.mark.slow
def test_results_that_were_saved_with_a_mark(tmp_path: Path) -> None:
    """An editor's byte order mark before the results costs nothing: they are taken up, and it goes."""
    desk = Desk(tmp_path)
    case = {
        "lines": [{"id": str(number), "prompt": f"x{number}"} for number in range(3)],
        "answers": ["good"],
        "right": {"exit": 0, "posts": 3, "results": 3},
    }
    assert not play(case, desk)
    for path in tmp_path.glob("results*"):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert not play(case | {"right": {"exit": 0, "posts": 0, "results": 3}}, desk)
    assert not any(path.read_bytes().startswith(b"\xef") for path in tmp_path.iterdir())


WORD = "Canary7Secret9Qz5word"
AWAY = "http://127.0.0.1:9/v1"
"""Nobody is there."""
MISPLACED: dict[str, tuple[list[str], dict[str, str], dict[str, str]]] = {
    "a URL's password": (["--base-url", f"http://me:{WORD}@127.0.0.1:9/v1"], {}, {}),
    "a URL's name": (["--base-url", f"http://{WORD}@127.0.0.1:9/v1"], {}, {}),
    "a URL's query": (["--base-url", f"{AWAY}?api-key={WORD}"], {}, {}),
    "a URL that is none": (["--base-url", f"http://me:{WORD}@127.0.0.1:x/v1"], {}, {}),
    "no URL": (["--base-url", f"me:{WORD}@127.0.0.1:9/v1"], {}, {}),
    "OPENAI_BASE_URL": ([], {"OPENAI_BASE_URL": f"http://me:{WORD}@127.0.0.1:9/v1"}, {}),
    "OLLAMA_HOST": ([], {"OLLAMA_HOST": f"http://me:{WORD}@127.0.0.1:9"}, {}),
    "--api-key": (["--api-key", WORD], {}, {}),
    "--header": (["--header", f"Authorization: Bearer {WORD}"], {}, {}),
    "--api-key-env": (["--api-key-env", WORD], {}, {}),
    "--api-key-file": (["--api-key-file", WORD], {}, {}),
    "--api-key-file with a dot": (["--api-key-file", f"{WORD}.{WORD}"], {}, {}),
    "--header-env without a name": (["--header-env", WORD], {}, {}),
    "--header-env": (["--header-env", f"X-Key={WORD}"], {}, {}),
    "BATCHER_API_KEY_ENV": ([], {"BATCHER_API_KEY_ENV": WORD}, {}),
    "BATCHER_HEADER_ENV": ([], {"BATCHER_HEADER_ENV": f"X-Key={WORD}"}, {}),
    "a key in quotes": (["--api-key-env", "MINE"], {"MINE": f'"{WORD}"'}, {}),
    "a key file of two lines": (["--api-key-file", "secret"], {}, {"secret": f"{WORD}\n{WORD}\n"}),
    "an env file": (["--env-file", "secret"], {}, {"secret": f'OPENAI_API_KEY {WORD}\n"\n'}),
    "a config file": (["--config", "secret"], {}, {"secret": f'api-key = "{WORD}"\n'}),
    "a config file's table": (["--config", "secret"], {}, {"secret": f'[headers]\nAuthorization = "{WORD}"\n'}),
    "a config file that is broken": (["--config", "secret"], {}, {"secret": f'api-key-env = "{WORD}\n'}),
    "a .netrc that is broken": (
        ["--trust-env"],
        {"NETRC": "secret"},
        {"secret": f"machine h password {WORD} x {WORD}"},
    ),
    "a proxy": (
        ["--trust-env", "--base-url", "http://h.invalid/v1"],
        {"HTTP_PROXY": f"http://u:{WORD}@127.0.0.1:9"},
        {},
    ),
    "a proxy that is none": (
        ["--trust-env", "--base-url", "http://h.invalid/v1"],
        {"HTTP_PROXY": f"http://{WORD}@h:x"},
        {},
    ),
    "--done-from a URL": (["--done-from", f"s3://me:{WORD}@bucket/x.jsonl"], {}, {}),
    "--done-from a signed URL": (["--done-from", f"https://h/x.jsonl?X-Amz-Signature={WORD}"], {}, {}),
    "-o a URL": (["-o", f"s3://me:{WORD}@bucket/x.jsonl"], {}, {}),
    "an input's URL": ([f"https://me:{WORD}@127.0.0.1:9/x.jsonl"], {}, {}),
    "an input's signed URL": ([f"https://127.0.0.1:9/x.jsonl?X-Amz-Security-Token={WORD}"], {}, {}),
}
"""Ways in which people give a key where it does not belong: arguments, variables, and files with what they hold."""


@pytest.mark.parametrize("more", [(), ("--print-config",)], ids=["", "print-config"])
@pytest.mark.parametrize("way", MISPLACED)
def test_a_key_in_the_wrong_place_is_not_repeated(desk: Desk, way: str, more: tuple[str, ...]) -> None:
    """What is wrong is told without it: a screen is copied into a report, and a cron job's words are mailed."""
    args, env, files = MISPLACED[way]
    for name, content in files.items():
        (desk.path / name).write_text(content)
    desk.write("jobs.jsonl", {"id": "a", "prompt": "x"})
    out = [] if "-o" in args else ["-o", "results.jsonl"]
    where = [] if "--base-url" in args or "BASE_URL" in way or "HOST" in way else ["--base-url", AWAY]
    ran = desk.call("run", "jobs.jsonl", "-m", "m", "-v", "--max-wait", "0", *out, *where, *args, *more, env=env)
    assert ran.code in (2, 65, 69, 73, 78) or (more and not ran.code), ran.err
    assert WORD not in ran.err + ran.out
    for path in desk.path.rglob("*"):
        if path.is_file() and path.name not in files:
            assert WORD not in path.read_text()
