"""Every command that a document for users shows is run, one after the other, as who pastes them does."""

from __future__ import annotations

import re
import shlex
import shutil
import sqlite3
from itertools import groupby
from typing import TYPE_CHECKING, Final

import pytest
from support.commandline import PROJECT, prompts

from batcher.simulator import simulator_thread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.commandline import Desk, Ran

pytestmark = pytest.mark.slow

PAGES: Final = (
    *("README.md", "docs/options.md", "docs/exit-codes.md", "docs/jobs.md", "docs/servers.md", "docs/outages.md"),
    *("docs/rate-limits.md", "docs/going-wrong.md", "docs/outputs.md", "docs/statistics.md", "docs/vectors.md"),
)
WAITING: Final = ("simulate",)
"""Commands that go on until they are ended, and have tests of their own."""
SWEEP: Final = ("-c", "1,2", "--rows", "4", "--seconds", "1m")
"""What makes a sweep short; of its numbers no test can say anything."""
CHOOSING: Final = "docs/choosing.md"
MODELS: Final = ("llama3.2", "qwen2.5:7b")
"""Those between which that page chooses."""
SERVERS: Final = ("--base-url", "--local", "-m", "--model", "--api-key-file", "--dialect")
ASKING: Final = ("run", "check", "models", "bench")
NIGHTLY: Final = "jobs/nightly.toml"


def commands(page: str) -> Iterator[list[str]]:
    """The words of each `batcher …` in the shell blocks of a page."""
    text = (PROJECT / page).read_text()
    for line in "".join(re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)).splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        for is_operator, words in groupby(lexer, lambda word: set(word) <= set("|&;<>()")):
            found = list(words)
            if not is_operator and found[0] == "batcher":
                yield found[1:]


def here(words: list[str], url: str) -> list[str]:
    """A command on the simulator, whatever server and model it names."""
    name, *rest = words
    if name not in ASKING:
        return words
    kept: list[str] = []
    while rest:
        word = rest.pop(0)
        if word not in SERVERS:
            kept.append(word)
        elif rest and not rest[0].startswith("-") and (word != "--local" or rest[0].endswith(".gguf")):
            rest.pop(0)
    if "--alias" in kept:
        place = kept.index("--alias")
        del kept[place : place + 2]
    models = [] if name == "models" else ["-m", "simulator", "--alias", "*=simulator"]
    return [name, *kept, "--base-url", url, *models]


def furnish(desk: Desk) -> None:
    """What the documents take for granted: files of one's own beside those of the project."""
    shutil.copytree(PROJECT / "jobs", desk.path / "jobs")
    (desk.path / "parts").mkdir()
    for folder in ("docs", "notes"):
        (desk.path / folder).mkdir()
        (desk.path / folder / "bees.md").write_text("# Bees\n\nThey live together.\n")
    (desk.path / "reviews.csv").write_text("id,text,stars\n1,Great!,5\n2,Never again.,1\n")
    desk.write("reviews.jsonl", {"id": "1", "prompt": "Good or bad? Great!"})
    (desk.path / "verdict.json").write_text('{"type": "object"}')
    desk.write("prompts.jsonl", {"id": "a", "prompt": "Hi"}, {"id": "b", "prompt": "Ho"})
    for name in (".env.development", ".env.production"):
        (desk.path / name).write_text("MODEL=simulator\n")
    with sqlite3.connect(desk.path / "notes.db") as database:
        database.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, body TEXT)")
        database.executemany("INSERT INTO notes (body) VALUES (?)", [("one",), ("two",)])
    database.close()


def of_two(words: list[str], url: str) -> list[str]:
    """A command of the page on two models: they are there, on a server of the test's."""
    return [*words, "--base-url", url, *(SWEEP if words[0] == "bench" else ())] if words[0] in ASKING else words


def ran(desk: Desk, words: list[str], url: str) -> Ran:
    if NIGHTLY in words:  # its server is its own
        words = [*words, "--print-config"]
    if words[0] == "bench":
        return desk.call(*here(words, url), *SWEEP)
    if words[:2] == ["run", "-"]:
        return desk.run(*here(words, url), stdin=(PROJECT / "jobs" / "hello.jsonl").read_text())
    return desk.call(*here(words, url))


@pytest.mark.parametrize("page", PAGES)
def test_each_command_runs(page: str, desk: Desk) -> None:
    """In the order in which they stand; what needs results of an earlier page finds those of the README."""
    pytest.importorskip("pyarrow")
    furnish(desk)
    found = [words for words in commands(page) if words[0] not in WAITING]
    assert found or page in {"docs/exit-codes.md", "docs/options.md"}
    with simulator_thread() as sim:
        first = ("run", "jobs/hello.jsonl", "-m", "simulator", "--base-url", sim.url, "-o", "answers.jsonl")
        assert desk.call(*first).code == 0
        for name in ("llama3.2", "qwen2.5-7b"):  # here there is one model, and a run of several has tests of its own
            shutil.copy(desk.path / "answers.jsonl", desk.path / f"answers.{name}.jsonl")
        for words in found:
            done = ran(desk, words, sim.url)
            if words[0] == "merge":  # of the parts one was made here
                assert done.code == 3, done.err
                continue
            assert done.code in (0, 4), f"{' '.join(words)}: {done.err}"
            assert done.code == 0 or "--limit-new" in words or "--max-errors" in words


def test_the_walk_of_who_chooses_between_two_models(desk: Desk) -> None:
    """Each command of the page goes on from the files of those before it: no row is asked of a model twice."""
    rows = [f"r{number:02d}" for number in range(40)]
    desk.write("reviews.jsonl", *prompts(rows))
    said: dict[str, str] = {}
    with simulator_thread(models=MODELS) as sim:
        for words in commands(CHOOSING):
            done = desk.call(*of_two(words, sim.url))
            assert done.code == 0, f"{' '.join(words)}: {done.err}"
            said[words[0]] = done.out + done.err
        assert sim.counts == dict.fromkeys(rows, len(MODELS))
    assert "concurrency = " in said["bench"]
    assert "batcher compare answers.llama3.2.jsonl answers.qwen2.5-7b.jsonl" in said["run"]
    assert "40 answered in both" in said["compare"]
    assert "answers   40" in said["stats"]
    assert (desk.path / "report.html").stat().st_size > 0
