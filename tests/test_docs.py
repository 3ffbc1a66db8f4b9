"""Holds the documents to the program: options, commands, examples, exit codes, fields, links, and no stray paths."""

from __future__ import annotations

import re
import shlex
import subprocess
import tomllib
from importlib import import_module
from itertools import groupby, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import orjson
import pytest
from jsonschema import Draft202012Validator

import batcher
from batcher.cli import COMMANDS, group
from batcher.commands.checkup import Checkup
from batcher.failures import FLAGS, Exit, FailureClass
from batcher.inputs.formats import Line, parse_job
from batcher.inputs.formats.defaults import Defaults
from batcher.inputs.formats.lines import read_lines
from batcher.model import Api
from batcher.view.summary import Summary
from batcher.wire.dialects.endings import BROKEN, MEANINGS, NONE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path(batcher.__file__).parent
README = (ROOT / "README.md").read_text()
DESIGN = (ROOT / "docs" / "design.md").read_text()
SIMULATOR = (ROOT / "docs" / "simulator.md").read_text()
OPTIONS = (ROOT / "docs" / "options.md").read_text()
JOBS = (ROOT / "docs" / "jobs.md").read_text()
EXITS = (ROOT / "docs" / "exit-codes.md").read_text()
RESULTS = (ROOT / "docs" / "results.md").read_text()
SCHEMA = orjson.loads((ROOT / "docs" / "results.schema.json").read_bytes())
DOCUMENTS = {"README.md", "CHANGELOG.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))}
SIGNALS = {129, 130, 143}
JOB_FILES = sorted(path.name for path in (ROOT / "jobs").glob("*.jsonl"))


def command_of(name: str) -> click.Command:
    found: click.Command = import_module(f"batcher.commands.{name}").command
    return found


def long_options(command: click.Command) -> set[str]:
    names = {name for param in command.params for name in (*param.opts, *param.secondary_opts)}
    return {name for name in names if name.startswith("--")} | {"--help"}


def section(text: str, heading: str) -> str:
    """What stands under a heading of the second level."""
    return text.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def mentioned_options(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z]", text))


def command_lines(text: str) -> Iterator[list[str]]:
    """The arguments of each `batcher …` in shell blocks, whatever stands before or after it in a pipe."""
    for line in "".join(blocks(text, "sh")).splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        for is_operator, words in groupby(lexer, lambda word: set(word) <= set("|&;<>()")):
            arguments = list(words)
            if not is_operator and arguments[0] == "batcher":
                yield arguments[1:]


FOR_USERS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMAND_LINES = [line for document in FOR_USERS for line in command_lines(document.read_text())]
"""Each command that a document shows."""


def checked(lines: Iterable[Line | None], api: Api) -> Checkup:
    checkup = Checkup()
    checkup.read(lines, api, parse=parse_job, defaults=Defaults(model="m", files_root=ROOT / "jobs"))
    return checkup


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_in_the_documents(name: str) -> None:
    """Nothing that a command takes is left for the user to find out. The simulator has a document of its own."""
    where = SIMULATOR if name == "simulate" else "".join(document.read_text() for document in FOR_USERS)
    assert long_options(command_of(name)) - mentioned_options(where) == set()


def test_the_table_of_options_is_that_of_run() -> None:
    """The table names each option of `run`, and none that there is not."""
    table = mentioned_options("\n".join(re.findall(r"^\| `-.*?\|", section(OPTIONS, "Options of `run`"), re.MULTILINE)))
    assert table == long_options(command_of("run"))


def test_the_readme_names_no_option_that_there_is_not() -> None:
    """What is not there yet is named under Limits alone."""
    known = {"--version"}.union(*(long_options(command_of(name)) for name in COMMANDS))
    assert mentioned_options(README.replace(section(README, "Limits"), "")) - known == set()
    assert mentioned_options(section(README, "Limits")) & known == set()


def test_defaults_in_the_table_are_those_of_run() -> None:
    """A default that the program shows is the one that the table gives."""
    shown = {
        max(param.opts, key=len): str(param.default)
        for param in command_of("run").params
        if isinstance(param, click.Option) and param.show_default
    }
    rows = re.findall(r"^\| (`-[^|]*) \| ([^|]*) \|", section(OPTIONS, "Options of `run`"), re.MULTILINE)
    table = {name: default.strip("` ") for names, default in rows for name in mentioned_options(names)}
    assert {name: table[name] for name in shown} == shown


def test_there_are_command_lines_to_look_at() -> None:
    """The README's blocks are found and read: the tests of them are not empty."""
    assert {arguments[0] for arguments in COMMAND_LINES} == set(COMMANDS)


@pytest.mark.parametrize("arguments", COMMAND_LINES, ids=" ".join)
def test_command_lines_parse(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever pastes a command from the documents gets no usage error."""
    monkeypatch.chdir(tmp_path)
    for option, value in pairwise(arguments):
        if option in {"--env-file", "--ca-file"}:
            (tmp_path / value).touch()
        elif option == "--config":
            (tmp_path / value).parent.mkdir(exist_ok=True)
            (tmp_path / value).write_bytes((ROOT / value).read_bytes())
    name, *rest = arguments
    context = group.make_context("batcher", list(arguments))
    with command_of(name).make_context(name, rest, parent=context) as made:
        assert made.args == []


@pytest.mark.parametrize("arguments", COMMAND_LINES, ids=" ".join)
def test_job_files_in_command_lines_exist(arguments: list[str]) -> None:
    """A job file of ours that a command names is there."""
    assert [name for name in arguments if name.startswith("jobs/") and not (ROOT / name).is_file()] == []


@pytest.mark.parametrize("api", Api)
@pytest.mark.parametrize("name", sorted(set(JOB_FILES) - {"broken.jsonl"}))
def test_job_files_can_be_sent(name: str, api: Api) -> None:
    """Each sample is a job on either API, line by line."""
    with (ROOT / "jobs" / name).open("rb") as file:
        checkup = checked(read_lines(file), api)
    assert (checkup.refused, checkup.duplicates) == ([], 0)
    assert checkup.jobs > 1


def test_broken_lines_are_as_many_as_the_readme_says() -> None:
    """The file of mistakes has as many as the README promises, and two good lines."""
    stated = re.search(r"has (\d+) lines that are\s+refused", JOBS)
    assert stated is not None
    with (ROOT / "jobs" / "broken.jsonl").open("rb") as file:
        checkup = checked(read_lines(file), Api.NATIVE)
    assert (checkup.refused_count, checkup.jobs) == (int(stated[1]), 2)


@pytest.mark.parametrize("api", Api)
def test_job_lines_in_the_readme_can_be_sent(api: Api) -> None:
    """The examples of job lines are jobs on either API, with no key that is not used."""
    (examples,) = blocks(JOBS, "jsonl")
    defaults = Defaults(model="m")
    checkup = Checkup()
    lines = [Line(seq, 0, line.encode()) for seq, line in enumerate(examples.splitlines())]
    checkup.read(lines, api, parse=parse_job, defaults=defaults)
    assert (checkup.jobs, checkup.refused, dict(defaults.unknown_keys)) == (len(lines), [], {})


@pytest.mark.parametrize("block", blocks(JOBS, "json") + blocks(RESULTS, "json"))
def test_result_lines_in_the_documents_are_such(block: str) -> None:
    """The examples of result and error lines fit the schema."""
    Draft202012Validator(SCHEMA).validate(orjson.loads(block))


@pytest.mark.parametrize("block", blocks(README, "python"))
def test_python_in_the_readme_compiles(block: str) -> None:
    """The examples are Python, and what they take from batcher is there."""
    compile(block, "README.md", "exec")
    names = set(re.findall(r"\bbatcher\.(\w+)", block))
    assert names
    assert names <= set(batcher.__all__)


def test_exit_codes_are_those_of_the_program() -> None:
    """Each exit code stands in the table, and no other."""
    cells = re.findall(r"^\| (\d[\d, ]*) \|", section(EXITS, "Exit codes"), re.MULTILINE)
    listed = {int(number) for cell in cells for number in cell.split(",")}
    assert listed == {int(code) for code in Exit} | SIGNALS


def properties(schema: Any) -> set[str]:
    """The names of all properties, at any depth."""
    if isinstance(schema, list):
        return set().union(*map(properties, schema))
    if not isinstance(schema, dict):
        return set()
    return set(schema.get("properties", ())).union(*map(properties, schema.values()))


def tables_of_fields(text: str) -> list[str]:
    """The rows of each table that explains fields."""
    return re.findall(r"^\| field \|.*\n\|[-|]*\n((?:\|.*\n)+)", text, re.MULTILINE)


def test_fields_of_the_summary_are_explained() -> None:
    """Each field of the summary for programs, and of its servers, has its row, and no other."""
    summary = Summary(started=0.0)
    summary.server("http://127.0.0.1")
    told: Any = summary.to_dict()
    expected = [set(told), set(told["servers"][0])]
    tables = tables_of_fields(section(RESULTS, "The summary"))
    assert [
        set(re.findall(r"`(\w+)`", " ".join(row.split("|")[1] for row in t.splitlines()))) for t in tables
    ] == expected


def test_fields_are_those_of_the_schema() -> None:
    """A field in the tables of docs/results.md is a property of the schema, and the other way round."""
    tables = tables_of_fields(RESULTS.replace(section(RESULTS, "The summary"), ""))
    cells = [row.split("|")[1] for table in tables for row in table.splitlines()]
    nested = set(re.findall(r"`(\w+)`", " ".join(row for table in tables for row in table.splitlines())))
    fields = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
    assert fields - properties(SCHEMA) == set()
    assert properties(SCHEMA) - nested == set()


def test_words_of_the_program_are_explained() -> None:
    """Each flag, class of failure and code of a refused line is explained in docs/results.md."""
    source = "".join(path.read_text() for path in PACKAGE.rglob("*.py") if "simulator" not in path.parts)
    codes = set(re.findall(r'LineError\(\s*"(\w+)"', source))
    flags = set(re.findall(r'\.flag\("(\w+)"\)', source)) | MEANINGS.keys() - {BROKEN, NONE}
    assert len(codes) > 10
    assert flags >= set(FLAGS)
    assert {word for word in codes | flags | set(FailureClass) if f"`{word}`" not in RESULTS} == set()


def test_flags_that_fail_on_takes_are_in_the_readme() -> None:
    """The row of `--fail-on` names the flags that it takes, and no other."""
    (row,) = re.findall(r"^\| `--fail-on.*", OPTIONS, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", row)) == set(FLAGS)


def test_make_help_lists_all_targets() -> None:
    """What can be made says so, and the targets that the README names are among it."""
    targets = set(re.findall(r"^\.PHONY: (\S+)", (ROOT / "Makefile").read_text(), re.MULTILINE))
    shown = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"^  make (\S+) +\S", shown, re.MULTILINE)) == targets
    assert set(re.findall(r"`make ([\w-]+)`", README)) <= targets


def anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
def test_links_lead_somewhere(name: str) -> None:
    """A link inside the project names a file that is there, and a heading in it."""
    document = ROOT / name
    for link in re.findall(r"\]\(([^)]+)\)", document.read_text()):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_files_in_the_design_exist() -> None:
    """A file or directory that the design names is there, by its place in the tree or in the package."""
    names = re.findall(r"`([\w./*-]+(?:\.py|\.md|\.json|\.jsonl|\.http|/))`", DESIGN)
    sources = {"api/types.go", "server/routes.go", "openai/openai.go"}  # Ollama's
    missing = [
        name
        for name in names
        if name not in sources and not any(any(base.glob(name)) for base in (ROOT, PACKAGE, PACKAGE.parent))
    ]
    assert len(names) > 40
    assert missing == []


def test_every_module_stands_in_the_design() -> None:
    """Whoever opens a file can read in which room it is, and whoever seeks one finds the room's row."""
    drawn = section(DESIGN, "The rooms")
    assert {path.name for path in PACKAGE.glob("*.py") if f"`{path.name}`" not in drawn} == set()
    for room in (path for path in PACKAGE.iterdir() if (path / "__init__.py").is_file() and path.name != "simulator"):
        [row] = [line for line in drawn.splitlines() if line.startswith(f"| `{room.name}/`")]
        names = {path.stem for path in room.glob("*.py")} - {"__init__"}
        assert {name for name in names if not re.search(rf"\b{name}\b", row)} == set(), room.name


def test_dependencies_have_a_reason() -> None:
    """Each library that is installed with the package has its row in the design, and no other has one."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    required = [
        *project["dependencies"],
        *(name for extra in project["optional-dependencies"].values() for name in extra if name[:8] != "batcher["),
    ]
    rows = re.findall(r"^\| ([\w-]+)(?: \(extra `\w+`\))? \|", section(DESIGN, "Dependencies"), re.MULTILINE)
    assert {re.split(r"[^\w-]", name)[0] for name in required} == set(rows) - {"library"}


def test_no_file_names_a_place_on_somebodys_machine() -> None:
    """Nothing in the tree points at a directory that only its author has; /home/ada is nobody's."""
    private = re.compile(r"(?<![\w.:)\]}/-])/(?:work|home(?!/ada\b)|root|Users)/[\w.]")
    folders = (PACKAGE, ROOT / "tests", ROOT / "docs", ROOT / "jobs")
    files = [path for folder in folders for path in folder.rglob("*") if "__pycache__" not in path.parts]
    files += [ROOT / name for name in ("README.md", "CHANGELOG.md", "pyproject.toml", "Makefile")]
    found = [
        f"{path.name}: {match[0]}"
        for path in files
        if path.is_file()
        for match in private.finditer(path.read_text(errors="replace"))
    ]
    assert found == []
