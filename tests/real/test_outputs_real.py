"""Tables, schemas and turns on the real llama.cpp server: extract, a second step, chats to train on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest
from pyarrow import parquet
from support.commandline import Desk
from support.realserver import serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.commandline import Ran

pytestmark = [pytest.mark.slow, pytest.mark.real, pytest.mark.timeout(180)]

SCHEMA = {
    "type": "object",
    "properties": {"label": {"enum": ["good", "bad"]}, "score": {"type": "integer", "minimum": 1, "maximum": 5}},
    "required": ["label", "score"],
    "additionalProperties": False,
}
REVIEWS = ["Lovely.", "=cmd|' /C calc'!A0", "Broken on arrival.", "It works, mostly."]
FEW = ("--param", "max_tokens=24", "--param", "temperature=0", "--param", "cache_prompt=false")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving() as address:
        yield address


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    made = Desk(tmp_path)
    (tmp_path / "verdict.json").write_bytes(orjson.dumps(SCHEMA))
    made.write("reviews.jsonl", *({"id": n, "review": text} for n, text in enumerate(REVIEWS)))
    return made


def run(desk: Desk, url: str, source: str, *args: str) -> Ran:
    command = ("run", source, "--base-url", url, "-m", "demo", "-c", "2", *FEW, *args)
    return desk.run(*command, patience=120)  # the model's speed is that of the machine


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_a_grammar_makes_every_answer_fit(desk: Desk, url: str, path: str) -> None:
    """Extract: rows in, a table with the fields of the schema out, in the input's order and with its types."""
    prompt = ("--prompt", "Judge this review as JSON: {{ review }}", "--schema", "verdict.json")
    ran = run(
        desk, url, "reviews.jsonl", "-o", "verdicts.parquet", *prompt, "--endpoint", path, "--schema-retries", "0"
    )
    assert ran.code == 0, ran.err
    rows = parquet.read_table(desk.path / "verdicts.parquet").to_pylist()
    assert [(row["id"], row["review"], row["error"]) for row in rows] == [(n, t, None) for n, t in enumerate(REVIEWS)]
    assert all(row["label"] in ("good", "bad") and 1 <= row["score"] <= 5 for row in rows)


def test_a_second_step_and_chats_to_train_on(desk: Desk, url: str) -> None:
    """Results with a template are rows of the next run; prompt and answer make a chat."""
    assert run(desk, url, "reviews.jsonl", "-o", "first.jsonl", "--prompt", "Judge: {{ review }}").code in (0, 3)
    first = desk.lines("first.jsonl")
    ran = run(
        desk, url, "first.jsonl", "-o", "judged.csv", "--prompt", "Is this right? {{ text }}", "--keep", "id,text"
    )
    assert ran.code == 0, ran.err
    judged = (desk.path / "judged.csv").read_text()
    assert judged.startswith("id,text,answer_text,")
    assert len(desk.lines("judged.csv.results.jsonl")) == len(first)
    done = desk.run("export", "judged.csv.results.jsonl", "-o", "chats.jsonl", "--format", "messages")
    assert done.code == 0, done.err
    chats = [orjson.loads(line) for line in (desk.path / "chats.jsonl").read_bytes().splitlines()]
    sound = [line for line in desk.lines("judged.csv.results.jsonl") if "flags" not in line]
    assert len(chats) == len(sound)
    assert all([message["role"] for message in chat["messages"]] == ["user", "assistant"] for chat in chats)


def test_a_server_that_ignores_the_schema_is_asked_again(desk: Desk, url: str) -> None:
    """llama.cpp does on /v1/responses: each answer fits, or says why not, after three questions at most."""
    prompt = ("--prompt", "Judge this review: {{ review }}", "--schema", "verdict.json")
    ran = run(desk, url, "reviews.jsonl", "-o", "answers.jsonl", *prompt, "--endpoint", "/v1/responses", "-n", "2")
    assert ran.code == 0, ran.err
    for line in desk.lines("answers.jsonl"):
        if "parsed" in line:
            assert line["parsed"]["label"] in ("good", "bad")
        else:
            assert (line["asked_again"], "schema_mismatch" in line["flags"]) == (2, True)
            assert line["mismatch"]


@pytest.mark.parametrize("stream", ["--stream", "--no-stream"])
@pytest.mark.parametrize("where", [{}, {"url": "/v1/responses"}], ids=str)
def test_turns_are_one_conversation(desk: Desk, url: str, where: dict[str, Any], stream: str) -> None:
    """The server counts a longer prompt each time: the answers before are in it."""
    desk.write("talk.jsonl", {"id": "a", "turns": ["Say a word.", "Another one.", "One more."], **where})
    assert run(desk, url, "talk.jsonl", "-o", "talk.results.jsonl", stream).code == 0
    (line,) = desk.lines("talk.results.jsonl")
    read = [turn["usage"]["prompt_tokens"] for turn in line["turns"]]
    made = [turn["usage"]["completion_tokens"] for turn in line["turns"]]
    assert len(read) == 3
    assert read[1] >= read[0] + made[0]
    assert read[2] >= read[1] + made[1]
    assert line["usage"] == {"prompt_tokens": sum(read), "completion_tokens": sum(made)} | {
        name: count for name, count in line["usage"].items() if name not in ("prompt_tokens", "completion_tokens")
    }
