"""The ten programs of docs/python.md run as they stand there, and print what they should."""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from support.commandline import PROJECT
from support.talkserver import talking

import batcher
from batcher.simulator import simulator_thread

if TYPE_CHECKING:
    from pathlib import Path

    from batcher.simulator import BackgroundSimulator

pytestmark = pytest.mark.usefixtures("sim")

PAGE = (PROJECT / "docs" / "python.md").read_text()
PROGRAMS = dict(re.findall(r"^### (.+?)\n\n```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
PRINTED = {
    "A notebook": r"\[True, True\]\n(Oslo True\nLima True|Lima True\nOslo True)\n",
    "A script": r"2 done, 0 failed\n",
    "A task with a deadline": r"True\n",
    "Embeddings": r"3 True\n",
    "Answers beside a frame's columns": r"True \[3, 1, 2\]\n",
    "Trying the failed again": r"\[\('empty', True\), \('good', True\)\]\n",
    "Structured answers": r"((True|\['schema_mismatch'.*\]|\[.*\])\n){2}",
    "A progress display of one's own": r"(?s).*\r20/20, 0 in flight  \n20 answers\n",
    "Several servers": r"6 6 2\n",
}


def test_there_are_ten() -> None:
    """Each has its test: one for the web handler, which prints nothing, and one for the others."""
    assert len(PROGRAMS) == 10
    assert PROGRAMS.keys() == {*PRINTED, "A web handler"}


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", PRINTED)
def test_a_program_prints_what_it_should(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a whole script; the notebook's cells in a loop that runs, as its kernel does it."""
    with simulator_thread() as other:
        monkeypatch.setenv("OTHER_HOST", other.url)
        code = compile(PROGRAMS[name], name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        if code.co_flags & inspect.CO_COROUTINE:
            asyncio.run(eval(code, {"__name__": "__main__"}))
        else:
            exec(code, {"__name__": "__main__"})
    printed = capsys.readouterr().out
    assert re.fullmatch(PRINTED[name], printed), printed


def test_structured_answers_are_objects(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a server that answers what the class asks for, the second time at the latest."""
    right, wrong = '{"name": "Oslo", "people": 7}', '{"name": "Oslo"}'
    monkeypatch.delenv("OLLAMA_HOST")
    with talking(lambda said: right if "cannot be used" in said.words[-1] else wrong) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/v1")
        exec(PROGRAMS["Structured answers"], {"__name__": "__main__"})
        assert len(server.said) == 4
    assert capsys.readouterr().out == "True\nTrue\n"


@pytest.mark.anyio
async def test_the_web_handler(sim: BackgroundSimulator) -> None:
    """Visitors share one limit, get their lines, and one who leaves breaks off what was asked for him."""
    space: dict[str, Any] = {"__name__": "handler"}
    exec(PROGRAMS["A web handler"], space)
    async with TestClient(TestServer(space["app"])) as client:
        texts = [await (await client.post("/", data="one\ntwo")).text() for _ in range(2)]
        assert [sorted(text.splitlines()) for text in texts] == [["0 ok", "1 ok"]] * 2
        bodies = await asyncio.gather(*(client.post("/", data="[[sim ttft=0.05]]\n" * 4) for _ in range(4)))
        assert [len((await body.text()).splitlines()) for body in bodies] == [4] * 4
    assert sim.peak_in_flight <= 4


def test_several_models_are_a_loop(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As docs/choosing.md has it: a file for each, with every row, also one that names another model itself."""
    [program] = re.findall(r"(?ms)^```python\n(.*?)^```", (PROJECT / "docs" / "choosing.md").read_text())
    (tmp_path / "reviews.jsonl").write_text('{"id":"a","prompt":"x"}\n{"id":"b","prompt":"y","model":"another"}\n')
    names = ("llama3.2", "qwen2.5:7b")
    with simulator_thread(models=names) as server:
        monkeypatch.setenv("OLLAMA_HOST", server.url)
        exec(program, {"batcher": batcher})
    assert capsys.readouterr().out == "".join(f"{name} 2 done, 0 failed\n" for name in names)
    for name in ("llama3.2", "qwen2.5-7b"):
        lines = (tmp_path / f"answers.{name}.jsonl").read_text().splitlines()
        assert sorted(json.loads(line)["id"] for line in lines) == ["a", "b"]
