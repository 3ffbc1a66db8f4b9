"""Help that can be used: options in groups, examples that can be pasted, settings with who said them, completion."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from importlib import import_module
from typing import TYPE_CHECKING

import click
import pytest

from batcher.cli import COMMANDS, group
from batcher.commands.grouped import GROUPS

if TYPE_CHECKING:
    from support.commandline import Desk


def command_of(name: str) -> click.Command:
    found: click.Command = import_module(f"batcher.commands.{name}").command
    return found


def test_each_option_of_run_is_in_one_group() -> None:
    """And no group names one that there is not."""
    grouped = [name for names in GROUPS.values() for name in names]
    options = {param.name for name in COMMANDS if name != "simulate" for param in command_of(name).params}
    assert len(grouped) == len(set(grouped))
    assert {param.name for param in command_of("run").params if isinstance(param, click.Option)} - set(grouped) == set()
    assert set(grouped) - options - {"config", "env_file"} == set()


def test_groups_are_shown(desk: Desk) -> None:
    """Each has its heading, and each option one row below one of them."""
    shown = desk.call("run", "--help").out
    assert [heading for heading in GROUPS if f"\n{heading}:\n" not in shown] == []
    assert len(re.findall(r"^  -o, --output ", shown, re.MULTILINE)) == 1


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_can_be_pasted(name: str, desk: Desk) -> None:
    """Each command shows some, and the words of each are what it takes."""
    shown = desk.call(name, "--help").out
    examples = [line.strip() for line in shown.partition("Examples:")[2].partition("\n\n")[0].splitlines() if line]
    found = [part for line in examples for part in re.findall(r"batcher [^|>)]*", line.partition("#")[0]) if part]
    assert found
    for line in found:
        _, command, *args = shlex.split(line.rstrip('"'))
        if "--config" in args:
            continue
        context = group.make_context("batcher", [command, *args])
        with command_of(command).make_context(command, list(args), parent=context) as made:
            assert made.args == []


def test_settings_and_who_said_them(desk: Desk) -> None:
    """A value each with its origin; what may be secret is not shown, in URLs, parameters and variables."""
    (desk.path / "c.toml").write_text("retries = 7\n")
    (desk.path / ".env").write_text("BATCHER_GRACE=5s\nMODEL=llama3.2\n")
    secrets = ("hunter2", "sk-verysecret", "s3cr3t")
    ran = desk.call(
        *("run", "--print-config", "--config", "c.toml", "--env-file", ".env", "-c", "3"),
        *("--base-url", "http://ada:hunter2@localhost:1/v1", "--param", "api_key=s3cr3t", "--param", "max_tokens=5"),
        env={"BATCHER_RPM": "30", "OPENAI_API_KEY": "sk-verysecret"},
    )
    assert ran.code == 0
    for line in (
        'concurrency = "3"  # flag',
        "rpm = 30.0  # BATCHER_RPM",
        "grace = 5.0  # BATCHER_GRACE in the env file",
        "retries = 7  # config file",
        "schema-retries = 2  # default",
        'base-url = ["http://(hidden)@localhost:1/v1"]  # flag',
        'param = { "api_key" = "(hidden)", "max_tokens" = 5 }  # flag',
        '# model = "llama3.2"  # MODEL',
        '# pack = "auto"  # default',
        "# OPENAI_API_KEY is set: (hidden)",
    ):
        assert line in ran.out.splitlines()
    assert [secret for secret in secrets if secret in ran.out + ran.err] == []
    assert ran.out.splitlines()[0] == "# input =  # default"
    (desk.path / "c.toml").write_text('input = "jobs.jsonl"\n')
    named = [
        desk.call("run", *args, "--print-config", "--config", "c.toml").out.partition("\n")[0] for args in ((), ("a",))
    ]
    assert named[0].endswith('jobs.jsonl"  # config file')
    assert named[1] == 'input = "a"  # argument'


def test_settings_can_be_kept_as_a_config_file(desk: Desk) -> None:
    """What is printed is TOML, and a run that reads it has the same settings."""
    args = ("-m", "x", "-c", "2-8", "--param", "stop=[1]", "--max-errors", "5%", "--shard", "1/3", "--rpm", "3k")
    first = desk.call("run", "--print-config", *args)
    tomllib.loads(first.out)
    (desk.path / "kept.toml").write_text(first.out)
    second = desk.call("run", "--print-config", "--config", "kept.toml")
    assert second.code == 0, second.err
    strip = re.compile(r"  # (?:flag|config file|default)$", re.MULTILINE)
    assert strip.sub("", second.out) == strip.sub("", first.out)


@pytest.mark.parametrize(
    ("shell", "words"),
    [("bash", "complete -o nosort -F _batcher_completion batcher"), ("zsh", "#compdef batcher"), ("fish", "complete ")],
)
def test_completion_scripts(shell: str, words: str, desk: Desk) -> None:
    """For each of three shells, as click makes them."""
    ran = desk.run("completion", shell)
    assert (ran.code, ran.err) == (0, "")
    assert words in ran.out


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("batcher st", {"stats", "status"}),
        ("batcher run --on-ch", {"--on-change"}),
        ("batcher run --on-change k", {"keep"}),
    ],
)
def test_completed_words(line: str, wanted: set[str], desk: Desk) -> None:
    """Commands, options and their values."""
    env = {"_BATCHER_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1)}
    program = [sys.executable, "-c", "from batcher.cli import main; main()"]
    done = subprocess.run(program, env=desk.env | env, capture_output=True, text=True, check=True)
    assert {row.partition(",")[2] for row in done.stdout.splitlines()} == wanted
