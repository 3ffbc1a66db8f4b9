"""Feeds command lines by lot to the commands themselves, for so many minutes: options that fit and values that do not.

Each runs in this process, on small files of every kind, against a simulator. No traceback, no code that is not in
docs/exit-codes.md, no key in what is said or written; a usage error says what it is about. The same seed makes the same
command lines.
"""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

sys.path.insert(0, str(Path(__file__).absolute().parents[1]))  # so that it runs as a script, as `make fuzz` does

import click
from fuzz.hunt import called, hunt, shown_or_leaked
from support.commandline import Desk, prompts

from batcher.simulator import simulator_thread

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from fuzz.hunt import Found

COMMANDS: Final = (
    "run",
    "embed",
    *["check", "verify", "merge", "export", "stats", "report", "bench", "compare", "models", "status"],
)
"""`embed` is a run of the kind that makes vectors: options by themselves seldom come to one."""
SKIPPED: Final = frozenset(
    {"--local", "--engine", "--ray-address", "--base-url", "--help", "--config", "--worker-resource", "--trust-env"}
)
"""What starts a model or a cluster, reaches beyond this machine, or is said on each line anyway."""
NUMBERS: Final = (
    "0",
    "1",
    "2",
    "3",
    "7",
    "-1",
    "0.5",
    "1e3",
    "nan",
    "inf",
    "-inf",
    "1e999",
    "9" * 30,
    "x",
    "",
    " 1",
    "\u0661",
)
DURATIONS: Final = ("0s", "1s", "50ms", "2", "0", "-1s", "1h", "9" * 20 + "h", "nan", "infs", "1e5s", "s", "", "1 s")
PAIRS: Final = (
    *("temperature=0", "seed=1", "num_ctx=64", "x", "=1", "a=", "a={}", "a=[1,", "model=m", "stream=false", "n=2"),
    *("stop=[]", "options={}", "messages=[]", "keep_alive=0", "encoding_format=base64", "X-A=KEY", "input=x", "é=1"),
    *("max_tokens=0", 'response_format={"type":"json_object"}', "logprobs=true", "temperature=null", "a=1e999"),
)
TEXTS: Final = (
    *("", "x", "id", "prompt", "text", "m", "simulator", "{{ text }}", "{{ prompt }}", "{{", "{% for", "{{ 1/0 }}"),
    *(
        "@tmpl.txt",
        "@missing",
        "@",
        "@folder",
        "{{ nothing }}",
        "answers",
        "a,b",
        "jsonl",
        "csv",
        "openai-batch",
        "chats",
    ),
    *(
        "400t",
        "20c",
        "0t",
        "10",
        "-1c",
        "5t",
        "utf-8",
        "latin-1",
        "nonsense",
        "utf-16",
        "select 1",
        "schema.json",
        "{}",
    ),
    *(
        '{"type":"object"}',
        '{"type":1}',
        "/v1/chat/completions",
        "/api/embed",
        "v1/embeddings",
        "/nowhere",
        "KEY",
        "NO",
    ),
    *(
        "empty_answer",
        "truncated",
        "*",
        "5m",
        "0",
        "-1",
        "1h",
        "model",
        "\udcff",
        "a\nb",
        "\x1b[0m",
        "1/2",
        "2/2",
        "3/2",
    ),
    *(
        "auto",
        "1-8",
        "8-1",
        "0-0",
        "10%",
        "101%",
        "100/m",
        "1/s",
        "k",
        "1k",
        "ttft<1s",
        "p99<1",
        "ok>1",
        "1,2,4",
        "id=1",
    ),
)
PATHS: Final = (
    *(
        "jobs.jsonl",
        "texts.jsonl",
        "table.csv",
        "notes/*.md",
        "notes",
        "results.jsonl",
        "results.errors.jsonl",
        "v.npy",
    ),
    *(
        "v.npy.results.jsonl",
        "v.npy.vectors",
        "other.jsonl",
        "part-1-of-2.jsonl",
        "part-2-of-2.jsonl",
        "part-{shard}.jsonl",
    ),
    *(
        "empty",
        "empty.jsonl",
        "garbage.bin",
        "garbage.jsonl",
        "price.json",
        "tmpl.txt",
        "schema.json",
        "folder",
        "dangling",
    ),
    *("missing.jsonl", "missing/x.jsonl", "-", "", "new.jsonl", "new.csv", "new.parquet", "new.xlsx", "sqlite:new.db"),
    *("new.npy", "new.html", "new.zip", "x" * 300, "*.jsonl", "results.state.json", "a.parquet", "a.db", "sqlite:a.db"),
    *("openai.jsonl", "array.json", "/dev/null", "new.jsonl.gz", "packed.jsonl.gz", ".", "..", "~", "\udcff"),
)


class Lines:
    """Draws command lines by its own random numbers: the same seed, the same lines."""

    def __init__(self, rng: random.Random, url: str) -> None:
        self._rng = rng
        self._url = url

    def draw(self) -> list[str]:
        rng = self._rng
        verb = rng.choice(COMMANDS)
        name = "run" if verb == "embed" else verb
        command = import_module(f"batcher.commands.{name}").command
        words = [name]
        for argument in (param for param in command.params if isinstance(param, click.Argument)):
            count = argument.nargs if argument.nargs > 0 else rng.choice((0, 1, 1, 1, 1, 2))
            words += [self._argument(verb, argument.name or "") for _ in range(count)]
        options = [one for one in command.params if isinstance(one, click.Option) and one.opts[-1] not in SKIPPED]
        for option in rng.sample(options, min(len(options), rng.choice((0, 1, 1, 2, 2, 3, 4, 6)))):
            words += self._option(option)
        there = {name for option in options for name in option.opts}
        if verb == "embed":
            words += rng.choice(
                (["--vectors", "v.npy"], ["--vectors", "new.npy"], ["--embed", "{{ text }}"], ["-o", "new.parquet"])
            )
        for flag, value in (("--max-wait", "1s"), ("--disk-wait", "0s"), ("--max-duration", "5s"), ("--retries", "1")):
            if flag in there and flag not in words:
                words += [flag, value]
        if "--seconds" in there:
            words += ["--seconds", "0.2s", "--up-to", "2"] if "--seconds" not in words else []
        if any("--base-url" in param.opts for param in command.params):
            words += ["--base-url", self._url]
            if "-m" not in words and "--model" not in words and rng.random() < 0.8:
                words += ["-m", "simulator"]
        if name == "run" and "-o" not in words and "--output" not in words and rng.random() < 0.8:
            words += ["-o", rng.choice(("results.jsonl", "new.jsonl", "new.csv", "other.jsonl"))]
        return words

    def _argument(self, verb: str, name: str) -> str:
        rng = self._rng
        if rng.random() < 0.3:
            return rng.choice(PATHS)
        if verb == "embed":
            return rng.choice(("texts.jsonl", "notes/*.md", "table.csv"))
        if name == "parts":
            return rng.choice(("part-1-of-2.jsonl", "part-2-of-2.jsonl", "part-{shard}.jsonl"))
        if name == "input":
            return rng.choice(("jobs.jsonl", "texts.jsonl", "table.csv", "notes", "a.parquet", "array.json"))
        return rng.choice(("results.jsonl", "other.jsonl", "v.npy.results.jsonl"))

    def _option(self, option: click.Option) -> list[str]:
        rng = self._rng
        name = rng.choice([*option.opts, *option.secondary_opts])
        if option.is_flag:
            return [name]
        kind = option.type
        pool: Sequence[str] = TEXTS
        if isinstance(kind, click.Choice):
            pool = (*map(str, kind.choices), *map(str, kind.choices), "x")
        elif isinstance(kind, click.Path | click.File):
            pool = PATHS
        elif kind.name == "duration":
            pool = DURATIONS
        elif kind.name == "key=value":
            pool = PAIRS
        elif "integer" in kind.name or "float" in kind.name:
            pool = NUMBERS
        elif kind.name not in ("text", "name", "text|@file"):
            pool = (*TEXTS, *NUMBERS)
        if rng.random() < 0.1:
            pool = (*TEXTS, *NUMBERS, *PATHS, *PAIRS, *DURATIONS)
        times = rng.choice((1, 1, 2)) if option.multiple else 1
        return [word for _ in range(times) for word in (name, rng.choice(pool))]


def prepared(place: Path, url: str) -> Path:
    """A directory with a file of every kind that commands read and write."""
    place.mkdir()
    desk = Desk(place)
    desk.write("jobs.jsonl", *prompts(["a", "b"]), *prompts(["bad"], "do=400"), {"id": "no", "x": 1})
    desk.write(
        "texts.jsonl",
        *({"id": f"t{n}", "input": f"text {n} " * 9} for n in range(4)),
        {"id": "list", "input": ["x", "y"]},
    )
    (place / "table.csv").write_text('id,text,n\n1,"a, b",2\n2,=x,\n,,\n')
    (place / "array.json").write_text('[{"id":"a","prompt":"x"},{"id":"b","prompt":"y","meta":{"k":[1,null]}}]')
    desk.write(
        "openai.jsonl", {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {"messages": []}}
    )
    for folder in ("notes", "folder"):
        (place / folder).mkdir()
    (place / "notes/a.md").write_text("# A\n\nOne. Two.\n" * 4)
    (place / "notes/b.md").write_text("")
    (place / "empty").touch()
    (place / "empty.jsonl").touch()
    (place / "garbage.bin").write_bytes(bytes(range(256)) * 9)
    (place / "garbage.jsonl").write_bytes(
        b'{"id":"a"\n\xff\0\n[1]\n{"id":"a","seq":0,"hash":"0123456789abcdef","text":5}\n'
    )
    (place / "price.json").write_text('{"simulator":{"in":1,"out":2}}')
    (place / "tmpl.txt").write_text("Say {{ text }}{{ prompt }}")
    (place / "schema.json").write_text('{"type":"object","properties":{"a":{"type":"string"}}}')
    (place / "dangling").symlink_to("nowhere")
    common = ("--base-url", url, "-m", "simulator", "-q", "--retries", "0")
    for words in (
        ("run", "jobs.jsonl", "-o", "results.jsonl", *common),
        ("run", "jobs.jsonl", "-o", "other.jsonl", "--param", "seed=2", *common),
        ("run", "jobs.jsonl", "-o", "part-{shard}.jsonl", "--shard", "1/2", *common),
        ("run", "jobs.jsonl", "-o", "part-{shard}.jsonl", "--shard", "2/2", *common),
        ("run", "texts.jsonl", "--vectors", "v.npy", *common),
        ("export", "results.jsonl", "-o", "a.parquet"),
        ("export", "results.jsonl", "-o", "sqlite:a.db"),
    ):
        ran = desk.call(*words)
        assert ran.code in (0, 3), (words, ran)
    return place


def wrong(desk: Desk, words: Sequence[str]) -> Found:
    """What of a command line came otherwise than it must."""
    found, ran = called(desk, *words)
    if ran is None:
        return found, 1
    if found := shown_or_leaked(desk, ran):
        return found, ran.code
    if ran.code and not (ran.out + ran.err).strip():
        return f"ended with {ran.code} and says nothing", ran.code
    if ran.code == 2 and not _named(words, ran.err):
        return f"a usage error that names nothing: {ran.err[-300:]}", ran.code
    return "", ran.code


def _named(words: Sequence[str], said: str) -> bool:
    """Whether a usage error names an option, an argument, or a word of the command line."""
    return bool(re.search(r"(?<!\w)-{1,2}\w|[A-Z]{3,}|stdin", said.replace("--help", ""))) or any(
        len(word) > 1 and word in said for word in words[1:]
    )


def main() -> int:
    with simulator_thread() as sim:

        def player(rng: random.Random, home: Path) -> Callable[[Path], tuple[Found, str]]:
            usual, lines = prepared(home / "usual", sim.url), Lines(rng, sim.url)

            def play(place: Path) -> tuple[Found, str]:
                shutil.copytree(usual, place, symlinks=True)
                words = lines.draw()
                return wrong(Desk(place), words), f"batcher {shlex.join(words)!a}"

            return play

        return hunt(__doc__ or "", "command lines", player)


if __name__ == "__main__":
    sys.exit(main())
