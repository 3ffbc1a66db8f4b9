"""Holds the docs to what they say of cron and systemd: their lines work as written, in silence or with one line."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.commandline import PROJECT, Ran, ended, prompts, running, until

from batcher.commands import run
from batcher.commands.conversion import options_from
from batcher.failures import Exit
from batcher.simulator import simulator_thread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.commandline import Desk

    from batcher.simulator import BackgroundSimulator

DOCS = (PROJECT / "docs/unattended.md").read_text()
PROGRAM = "/opt/batcher/bin/batcher"
CONFIG = "/etc/batcher/nightly.toml"
CRON = {"PATH": "/usr/bin:/bin", "SHELL": "/bin/sh", "LANG": "C"}
"""What cron gives to a command, apart from HOME and LOGNAME."""


def block(kind: str, number: int = 0) -> str:
    """A fenced block of the docs."""
    found: list[str] = re.findall(rf"```{kind}\n(.*?)```", DOCS, re.DOTALL)
    return found[number]


def cron_command() -> str:
    """The command of the crontab line: what follows its five fields."""
    return block("crontab").strip().split(maxsplit=5)[5]


class Machine:
    """A machine as cron sees it: the program at one path, its config at another, a directory that cannot be written."""

    def __init__(self, desk: Desk, url: str) -> None:
        self.desk = desk
        self.url = url
        self.where = desk.path / "read only"
        self.where.mkdir()
        self.where.chmod(0o555)
        if os.geteuid() == 0 and Path("/proc").is_dir():  # whom no mode stops
            self.where = Path("/proc")
        self.program = desk.path / "batcher"
        self.program.write_text(f'#!/bin/sh\nexec {shlex.join(desk.command())} "$@"\n')
        self.program.chmod(0o755)
        self.config = desk.path / "nightly.toml"
        self.configure()

    def configure(self, more: str = "") -> None:
        self.config.write_text(
            f'input = "jobs.jsonl"\noutput = "results.jsonl"\nmodel = "simulator"\nbase-url = "{self.url}"\n{more}'
        )

    def start(self, command: str, *, umask: int = 0o022, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        command = command.replace(PROGRAM, str(self.program)).replace(CONFIG, str(self.config))
        return subprocess.Popen(
            ["/bin/sh", "-c", f"{command} <&-"],
            cwd=self.where,
            env=CRON | (env or {}),
            umask=umask,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, command: str, *, umask: int = 0o022, env: dict[str, str] | None = None) -> Ran:
        return ended(self.start(command, umask=umask, env=env))


@pytest.fixture
def sim() -> Iterator[BackgroundSimulator]:
    with simulator_thread() as server:
        yield server


@pytest.fixture
def machine(desk: Desk, sim: BackgroundSimulator) -> Machine:
    return Machine(desk, sim.url)


def test_the_crontab_line_is_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Five fields and a command without %, which cron would cut at, whose options all exist."""
    line = block("crontab").strip()
    assert "\n" not in line
    assert "%" not in line
    assert re.fullmatch(r"(?:[\d*/,-]+ ){5}", " ".join(line.split(maxsplit=5)[:5]) + " ")
    program, verb, *args = shlex.split(cron_command())
    assert (program, verb) == (PROGRAM, "run")
    config = tmp_path / "nightly.toml"
    config.write_text('input = "jobs.jsonl"')
    params = run.command.make_context("run", [arg.replace(CONFIG, str(config)) for arg in args]).params
    assert params["quiet"]
    assert params["max_duration"] == 5 * 3600


@pytest.mark.parametrize("number", [0, 1])
def test_the_exit_codes_are_all_explained(number: int) -> None:
    """Every code of the program has its row, and systemd's lists agree with what the rows advise."""
    rows = dict(re.findall(r"^\| ([\d, ]+) \| [^|]+ \| ([^|]+) \|$", DOCS, re.MULTILINE))
    advice = {int(code): text for codes, text in rows.items() for code in codes.split(",")}
    assert set(Exit) - {Exit.BUG, Exit.PIPE} <= set(advice)
    unit = block("ini")
    [prevented] = re.findall(r"^RestartPreventExitStatus=(.*)$", unit, re.MULTILINE)
    [fine] = re.findall(r"^SuccessExitStatus=(.*)$", unit, re.MULTILINE)
    if number:
        dont = {code for code, text in advice.items() if text.startswith("don't")}
        assert dont == {int(code) for code in prevented.split()}
    else:
        assert fine.split() == ["4", "75", "SIGTERM"]
        assert all("come back later" in advice[code] for code in (4, 75, 69))


def test_systemd_waits_longer_than_the_grace() -> None:
    """The sample's grace, and the default, end before systemd kills."""
    [limit] = re.findall(r"^TimeoutStopSec=(\d+)$", block("ini"), re.MULTILINE)
    sample = options_from(run.command.make_context("run", ["--config", str(PROJECT / "jobs/nightly.toml")]).params)
    default = options_from(run.command.make_context("run", ["in"]).params)
    assert int(limit) >= max(sample.grace, default.grace) + 10


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not here")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    """`systemd-analyze verify` has nothing to say against the service and its timer."""
    program = tmp_path / "batcher"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for name, number in (("service", 0), ("timer", 1)):
        (tmp_path / f"batcher-nightly.{name}").write_text(block("ini", number).replace(PROGRAM, str(program)))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *tmp_path.glob("batcher-nightly.*")],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.slow
@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_the_crontab_line_is_silent_on_success(machine: Machine, sim: BackgroundSimulator, umask: int) -> None:
    """No HOME, LANG=C, stdin closed, a directory that cannot be written: the answers are there and nothing was said."""
    machine.desk.write("jobs.jsonl", *prompts(["ä", "b"]))
    for _ in range(2):  # the second has nothing to do
        assert machine.run(cron_command(), umask=umask) == (0, "", "")
    assert machine.desk.ids() == ["b", "ä"]
    assert stat.S_IMODE((machine.desk.path / "results.jsonl").stat().st_mode) == 0o600
    assert set(sim.counts.values()) == {1}


@pytest.mark.slow
def test_the_crontab_line_goes_home_when_another_run_is_at_it(machine: Machine, sim: BackgroundSimulator) -> None:
    """The second of two says nothing, sends nothing and ends with 0; the first is not disturbed."""
    machine.desk.write("jobs.jsonl", *prompts(["long"], "ttft=1.5"))
    with running(machine.start(cron_command())) as first:
        until(lambda: sim.counts["long"])
        assert machine.run(cron_command()) == (0, "", "")
        assert ended(first) == (0, "", "")
    assert sim.counts == {"long": 1}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lines", "more", "code", "said"),
    [
        (prompts(["ok"]) + prompts(["bad"], "status=400"), "", 3, "1 of 2 jobs done · 1 failed"),
        ([*prompts(["ok"]), {"id": "none"}], "", 3, "mend the 1 line of the input"),
        (prompts(["stuck"], "do=silent"), "grace = 0\nmax-duration = '1s'", 4, "run the same command again"),
        (prompts(["ok"], "do=unauthorized"), "", 77, "Incorrect API key"),
        (prompts(["ok"]), "modle = 'x'", 78, "did you mean 'model'"),
        (prompts(["ok"]), "api-key-file = 'none'", 78, "cannot read"),
    ],
)
def test_trouble_is_one_line_and_a_code(
    machine: Machine, lines: list[dict[str, object]], more: str, code: int, said: str
) -> None:
    """Whatever goes wrong: nothing on stdout, one line on stderr that says what, and the code of its cause."""
    machine.desk.write("jobs.jsonl", *lines)
    machine.configure(more)
    command = cron_command()
    ran = machine.run(command.replace("--max-duration 5h ", "") if "duration" in more else command)
    assert (ran.code, ran.out) == (code, "")
    assert ran.err.startswith("batcher: ")
    assert ran.err.count("\n") == 1, ran.err
    assert said in ran.err


@pytest.mark.slow
def test_no_server_is_one_line_and_69(machine: Machine) -> None:
    """The line says whom it asked."""
    machine.desk.write("jobs.jsonl", *prompts(["q"]))
    machine.url = "http://127.0.0.1:9"
    machine.configure("max-wait = '0.2s'")
    ran = machine.run(cron_command())
    assert (ran.code, ran.out, ran.err.count("\n")) == (69, "", 1)
    assert "127.0.0.1:9" in ran.err


@pytest.mark.slow
def test_the_command_of_the_service_works(desk: Desk) -> None:
    """ExecStart, with the directories that systemd names, sends the key of its credential and writes to its state."""
    [command] = re.findall(r"^ExecStart=(.*)$", block("ini"), re.MULTILINE)
    state, credentials = desk.path / "state", desk.path / "credentials"
    state.mkdir()
    credentials.mkdir(mode=0o700)
    (credentials / "key").write_text("sk-test\n")
    (credentials / "key").chmod(0o400)
    desk.write("jobs.jsonl", *prompts(["a"]))
    with simulator_thread(key="sk-test") as sim:
        machine = Machine(desk, f"{sim.url}/v1")
        env = {"STATE_DIRECTORY": str(state), "CREDENTIALS_DIRECTORY": str(credentials)}
        assert machine.run(command, env=env) == (0, "", "")
        assert sim.counts == {"a": 1}
    assert desk.ids("state/nightly.results.jsonl") == ["a"]


@pytest.mark.slow
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_descriptors_cost_nothing(machine: Machine, closed: str) -> None:
    """With any of stdin, stdout and stderr closed from the start, what is said does not end up among the results."""
    machine.desk.write("jobs.jsonl", *prompts(["a", "b"]))
    command = f"{PROGRAM} run --config {CONFIG} -v {closed}"
    assert machine.run(command).code == 0
    assert machine.desk.ids() == ["a", "b"]


@pytest.mark.slow
def test_the_sums_of_a_silent_run_are_left_for_a_monitor(machine: Machine) -> None:
    """--summary-json is written on success too, whole."""
    import json

    machine.desk.write("jobs.jsonl", *prompts(["a"]))
    machine.configure('summary-json = "sums.json"')
    assert machine.run(cron_command()) == (0, "", "")
    sums = json.loads((machine.desk.path / "sums.json").read_text())
    assert (sums["exit_code"], sums["jobs"]["ok"]) == (0, 1)
