"""Holds what programs are told to names that they can write: no flag of the command is left in errors and sums."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.commandline import names, prompts

import batcher
from batcher.api.wording import in_python
from batcher.failures import BatcherError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(batcher.__file__).parent
EDGES = ("commands", "simulator", "cli.py", "wording.py", "servers/local.py", "view/curve.py")
"""Where texts are those of the command (`bench` has no function) or of the embedded server, or tell of this."""
FLAG = re.compile(r"(?<![\w/-])(?:--[a-z]+(?:-[a-z]+)*|-[cmo](?![\w-]))")
OTHER = {"--no-deps", "--input", "--parallel", "--max-num-seqs"}
"""What pip and servers are told, and `batcher export`, which has no function."""


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("with --on-change rerun, or --on-change keep,", 'with on_change="rerun", or on_change="keep",'),
        ("--on-change rerun compares", 'on_change="rerun" compares'),
        ("name another -o, or say --overwrite", "name another output, or say overwrite"),
        ("name one with -o FILE", "name one with output"),
        ("name a file with -o FILE, or write to a pipe with -o -", "name a file with output"),
        ("name a file in it: -o /data/results.jsonl", 'name a file in it: output="/data/results.jsonl"'),
        ("-c 4000 needs 4032 open files: lower -c or raise ulimit -n", None),
        ("-c 2-16 needs", 'concurrency="2-16" needs'),
        ("--limit-new 3: there is more", "limit_new=3: there is more"),
        ("--max-errors 5%: 6 of 100", 'max_errors="5%": 6 of 100'),
        ("--shard auto is part 2/8; say --shard 1/8", 'shard="auto" is part 2/8; say shard="1/8"'),
        ("say --encoding utf-16-le, or", 'say encoding="utf-16-le", or'),
        ("say --input-format text, and", 'say input_format="text", and'),
        ("choose another with --local MODEL.gguf.", 'choose another with local="MODEL.gguf".'),
        ("say with --prompt '{{ text }}' what", "say with prompt='{{ text }}' what"),
        ("see -m and --alias, or: ollama pull m", "see model and aliases, or: ollama pull m"),
        ("--param: seed is no integer", "params: seed is no integer"),
        ("stream: --stream or --no-stream", "stream: stream or stream=False"),
        ("run `pip install --no-deps x`", "run `pip install --no-deps x`"),
        ("the model (see -m); it says: use --timeout, -m", "the model (see model); it says: use --timeout, -m"),
    ],
)
def test_options_are_named_as_programs_write_them(words: str, told: str | None) -> None:
    """Values too, where they are known to be such; what a server says, or what is for a shell, stays."""
    assert in_python(words) == (told or words.replace("-c 4000", "concurrency=4000").replace("-c or", "concurrency or"))
    assert in_python(in_python(words)) == in_python(words)


def texts() -> Iterator[tuple[str, str]]:
    """Every text of the package that may reach a program, docstrings aside, as far as it is written down."""
    for file in sorted(ROOT.rglob("*.py")):
        name = str(file.relative_to(ROOT))
        if name.startswith(EDGES):
            continue
        tree = ast.parse(file.read_text())
        said = {id(one.value) for one in ast.walk(tree) if isinstance(one, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said:
                yield name, node.value


def test_no_message_names_a_flag_that_programs_do_not_have() -> None:
    """Also the next one that is written."""
    found = [(name, text) for name, text in texts() if FLAG.search(text)]
    assert len(found) > 80
    left = {(name, flag) for name, text in found for flag in FLAG.findall(in_python(text)) if flag not in OTHER}
    assert left == set()


def _changed(tmp_path: Path) -> None:
    batcher.map([{"id": 1, "prompt": "one"}], output=tmp_path / "kept.jsonl")
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"id": 1, "prompt": "two"}\n')
    batcher.run(rows, tmp_path / "kept.jsonl")


def _no_output(_: Path) -> None:
    batcher.map(["a"], prompt="{% if %}")


def _client(_: Path) -> None:
    batcher.Client(prompt="{% if %}", api_key="a", api_key_env="b")  # type: ignore[call-arg]  # what is wrong is what is tried


@pytest.mark.usefixtures("sim")
@pytest.mark.parametrize(
    "call",
    [
        _changed,
        _no_output,
        lambda tmp: batcher.run(tmp / "none.jsonl", tmp / "none" / "out.jsonl"),
        lambda tmp: batcher.run(tmp, tmp),
        lambda _: batcher.map(["a"], base_url="http://127.0.0.1:9"),
        lambda _: batcher.map(["a"], base_url="http://127.0.0.1:9", max_wait=0),
        lambda _: batcher.map(["a"], base_url="http://example.com/v1", api_key="sk-0123456789"),
        lambda _: batcher.map(["a"], ca_file="/nowhere.pem", base_url="https://127.0.0.1:9/v1"),
        lambda _: batcher.map(["a"] * 3, params={"temperature": "hot"}),
        lambda _: batcher.map(["a"], local="/nowhere.gguf"),
    ],
)
def test_errors_name_what_the_caller_can_write(call: Callable[[Path], Any], tmp_path: Path) -> None:
    """From whichever function they come."""
    with pytest.raises(BatcherError) as found:
        call(tmp_path)
    assert str(found.value)
    assert not FLAG.search(str(found.value)), str(found.value)


@pytest.mark.anyio
@pytest.mark.usefixtures("sim")
async def test_a_stream_and_its_sums_name_what_the_caller_can_write() -> None:
    """What ended it, and what became of a row."""
    results = batcher.stream(prompts(names(30), "do=silent"), max_duration=0.2, grace=0.1, concurrency=2)
    with pytest.raises(BatcherError, match=r"^max_duration \(0\.2 s\) is over$"):
        await anext(results)
    assert results.summary.stop is not None
    assert results.summary.stop.message == "max_duration (0.2 s) is over"
    failed = [result async for result in batcher.stream(prompts(["a"], "do=silent"), timeout=0.2, retries=0)]
    assert failed[0].failure is not None
    assert failed[0].failure.message.endswith("(timeout)")


@pytest.mark.usefixtures("sim")
def test_sums_of_a_run_name_what_the_caller_can_write(tmp_path: Path) -> None:
    """Why it ended early, and how jobs failed."""
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(f'{{"id": "{n}", "prompt": "[[sim id={n} do=silent]]"}}\n' for n in range(9)))
    summary = batcher.run(rows, tmp_path / "out.jsonl", timeout=0.2, retries=0, max_errors=2, concurrency=2)
    assert summary.stop is not None
    assert summary.stop.message.startswith("max_errors=2: 3 of ")
    assert [words.endswith("(timeout)") for words in summary.samples.values()] == [True]
