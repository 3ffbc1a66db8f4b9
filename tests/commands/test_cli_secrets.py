"""A key arrives in its header at the server it is for, and nowhere else."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.commandline import ended, names, prompts, running, until
from support.echoserver import echoing

from batcher.simulator import simulator_thread

if TYPE_CHECKING:
    from support.commandline import Desk, Ran

pytestmark = pytest.mark.slow

KEY = "canary/7f3+Qz9w-Lm2xTt8"
HEADER = "canary-of-the-header-4411"
FORMS = [KEY, HEADER, KEY[7:], base64.b64encode(KEY.encode()).decode().rstrip("="), KEY.replace("/", "%2F")]

WAYS = {
    "OPENAI_API_KEY": ((), {"OPENAI_API_KEY": KEY}, {"authorization": f"Bearer {KEY}"}),
    "--api-key-env": (("--api-key-env", "MINE"), {"MINE": KEY}, {"authorization": f"Bearer {KEY}"}),
    "--api-key-file": (("--api-key-file", "secret/key"), {}, {"authorization": f"Bearer {KEY}"}),
    "--header-env": (("--header-env", "api-key=MINE"), {"MINE": HEADER}, {"api-key": HEADER}),
    "both": (
        ("--header-env", "X-Team=TEAM"),
        {"OPENAI_API_KEY": KEY, "TEAM": HEADER},
        {"authorization": f"Bearer {KEY}", "x-team": HEADER},
    ),
}


def check_silence(desk: Desk, *rans: Ran) -> None:
    """No form of a key in what was said, nor in any file but the key's own."""
    texts = [text for ran in rans for text in (ran.out, ran.err)]
    files = [path for path in desk.path.rglob("*") if path.is_file() and path.name != "key"]
    texts += [path.read_text() for path in files]
    assert files
    for form in FORMS:
        assert not any(form in text for text in texts)


def prepare(desk: Desk) -> None:
    (desk.path / "secret").mkdir()
    key = desk.path / "secret/key"
    key.write_text(f"{KEY}\n")
    key.chmod(0o600)
    desk.write("jobs.jsonl", *prompts(names(3)))


@pytest.mark.parametrize(
    ("way", "status"),
    [("OPENAI_API_KEY", 400), ("--api-key-file", 500), ("both", 200), ("both", 401), ("--header-env", 401)],
)
def test_a_server_that_echoes_the_key_does_not_spread_it(desk: Desk, way: str, status: int) -> None:
    """Not in answers, error lines, stops, summaries, or what -v, check and models show."""
    prepare(desk)
    args, env, headers = WAYS[way]
    with echoing(status) as server:
        server_args = ("--base-url", f"{server.url}/v1", "-m", "m", *args)
        ran = desk.call(
            *("run", "jobs.jsonl", "-o", "results.jsonl", "--summary-json", "sums.json", "-v", "--raw", "--no-stream"),
            *("--retries", "0", "--max-wait", "1s", *server_args),
            env=env,
        )
        looked = [desk.call("check", *server_args, env=env), desk.call("models", *server_args, "--json", env=env)]
        assert ran.code == {200: 0, 401: 77, 500: 69}.get(status, 3), ran.err
        assert looked[1].code == {401: 77, 500: 69}.get(status, 78), looked
        assert all(seen.items() >= headers.items() for seen in server.seen)
    shown = ran.err + (desk.path / "sums.json").read_text() + "".join(looked[0].err)
    assert "you sent:" in shown
    assert "***" in shown
    check_silence(desk, ran, *looked)


@pytest.mark.parametrize("way", list(WAYS))
def test_a_key_arrives_and_is_seen_nowhere_on_the_machine(desk: Desk, way: str) -> None:
    """It is in its header, and in no command line of the process or its children, nor in any file it leaves."""
    prepare(desk)
    args, env, headers = WAYS[way]
    with simulator_thread(look="openai", default="delay=0.02") as sim:
        with running(
            desk.start(
                *("run", "jobs.jsonl", "-o", "results.jsonl", "--base-url", f"{sim.url}/v1", "-m", "simulator"),
                *("-v", *args),
                env=env,
            )
        ) as process:
            until(lambda: sim.counts)
            lines = [
                path.read_bytes()
                for path in Path("/proc").glob("[0-9]*/cmdline")
                if path.parent.name == str(process.pid) or child_of(path.parent, process.pid)
            ]
            ran = ended(process)
        assert ran.code == 0, ran.err
        assert lines
        assert not any(form.encode() in line for form in FORMS for line in lines)
        assert all(seen.headers.items() >= headers.items() for seen in sim.tally.log)
    check_silence(desk, ran)


def child_of(process: Path, parent: int) -> bool:
    try:
        return f"PPid:\t{parent}\n" in (process / "status").read_text()
    except OSError:  # it has ended meanwhile
        return False


def test_a_damaged_results_file_keeps_no_key(desk: Desk) -> None:
    """What repair moves aside was written without keys, and stays without."""
    prepare(desk)
    with echoing(200) as server:
        command = ("run", "jobs.jsonl", "-o", "results.jsonl", "--base-url", f"{server.url}/v1", "-m", "m")
        ran = desk.call(*command, "--no-stream", env={"OPENAI_API_KEY": KEY})
        assert ran.code == 0
        path = desk.path / "results.jsonl"
        path.write_bytes(path.read_bytes()[:-30])
        again = desk.call(*command, "--no-stream", env={"OPENAI_API_KEY": KEY})
        assert again.code == 0
    assert "you sent:" in (desk.path / "results.quarantine").read_text()
    check_silence(desk, ran, again)


@pytest.mark.parametrize(
    ("args", "env"),
    [
        (("--api-key-file", "secret/key"), {}),
        (("--api-key-env", "MINE"), {"MINE": KEY}),
        (("--header-env", "api-key=MINE"), {"MINE": HEADER}),
    ],
)
def test_no_key_over_plain_http_to_another_machine(desk: Desk, args: tuple[str, ...], env: dict[str, str]) -> None:
    """Refused by the name of the host alone, before any connection: the host does not even exist."""
    prepare(desk)
    ran = desk.call(
        *("run", "jobs.jsonl", "-o", "results.jsonl", "-m", "m", "--base-url", "http://nowhere.invalid/v1", *args),
        env=env,
    )
    assert ran.code == 78
    assert "plain http" in ran.err
    assert "--allow-insecure" in ran.err
    check_silence(desk, ran)


def test_a_standing_key_goes_to_its_own_kind_of_server_alone(desk: Desk) -> None:
    """OPENAI_API_KEY is for the OpenAI API, OLLAMA_API_KEY for Ollama's own; each run sends one of them."""
    prepare(desk)
    env = {"OPENAI_API_KEY": KEY, "OLLAMA_API_KEY": HEADER}
    with simulator_thread() as sim:
        for place, (suffix, key) in enumerate((("", HEADER), ("/v1", KEY))):
            ran = desk.call(
                *("run", "jobs.jsonl", "-o", f"results{place}.jsonl", "-m", "simulator"),
                *("--base-url", sim.url + suffix),
                env=env,
            )
            assert ran.code == 0, ran.err
            assert {seen.headers["authorization"] for seen in sim.tally.log} == {f"Bearer {key}"}
            sim.tally.log.clear()
            check_silence(desk, ran)


@pytest.mark.parametrize(
    ("args", "env"),
    [
        ((), {"OLLAMA_API_KEY": KEY}),
        ((), {"OLLAMA_API_KEY": KEY, "OPENAI_API_KEY": HEADER}),
        (("--api-key-file", "secret/key"), {}),
        (("--api-key-env", "MINE"), {"MINE": KEY}),
    ],
)
def test_an_ollama_behind_a_key_is_known_by_it(desk: Desk, args: tuple[str, ...], env: dict[str, str]) -> None:
    """Whoever wants a key before he says what he is is asked with one that may be meant for him."""
    prepare(desk)
    with simulator_thread(key=KEY) as sim:
        server = ("--base-url", sim.url, "-m", "simulator", *args)
        ran = desk.call("run", "jobs.jsonl", "-o", "results.jsonl", "-v", *server, env=env)
        looked = desk.call("check", "jobs.jsonl", *server, env=env)
        assert (ran.code, looked.code) == (0, 0), ran.err + looked.err
        assert {seen.path for seen in sim.tally.log} == {"/api/generate"}
    check_silence(desk, ran, looked)


@pytest.mark.parametrize("env", [{}, {"OLLAMA_API_KEY": HEADER}, {"OLLAMA_API_KEY": HEADER, "OPENAI_API_KEY": HEADER}])
def test_what_to_say_of_an_ollama_behind_a_key_that_is_not_there(desk: Desk, env: dict[str, str]) -> None:
    prepare(desk)
    with simulator_thread(key=KEY) as sim:
        ran = desk.call("run", "jobs.jsonl", "-o", "results.jsonl", "--base-url", sim.url, "-m", "simulator", env=env)
    assert ran.code == 77, ran.err
    assert "--dialect native" in ran.err
    assert "OLLAMA_API_KEY" in ran.err
    check_silence(desk, ran)


def test_a_key_that_is_echoed_while_it_is_found_out_what_a_server_speaks_is_not_told(desk: Desk) -> None:
    """Not by one who says that he is loading, neither."""
    prepare(desk)
    with echoing(401) as server:
        server.keyed = 503
        ran = desk.call(
            *(
                "run",
                "jobs.jsonl",
                "-o",
                "results.jsonl",
                "-v",
                "--max-wait",
                "1s",
                "-m",
                "m",
                "--base-url",
                server.url,
            ),
            env={"OLLAMA_API_KEY": KEY},
        )
    assert ran.code == 69, ran.err
    assert "you sent:" in ran.err
    assert "***" in ran.err
    for form in FORMS:
        assert form not in ran.out + ran.err


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(desk: Desk, status: int) -> None:
    """The other server hears nothing; the run stops and says where to go instead (78)."""
    prepare(desk)
    with echoing(200) as other, echoing(status, Location=f"{other.url}/v1/chat/completions") as server:
        ran = desk.call(
            *("run", "jobs.jsonl", "-o", "results.jsonl", "--base-url", f"{server.url}/v1", "-m", "m"),
            env={"OPENAI_API_KEY": KEY},
        )
        assert ran.code == 78, ran.err
        assert "redirect" in ran.err
        assert server.seen
        assert other.seen == []
    assert desk.errors() == {}
    check_silence(desk, ran)


def test_the_environments_proxy_never_gets_what_stays_on_this_machine(desk: Desk) -> None:
    """With --trust-env as well: the key for a server here does not leave, and .netrc's password is told to nobody."""
    prepare(desk)
    (desk.path / ".netrc").write_text(f"machine 127.0.0.1 login me password {HEADER}\n")
    with echoing(400) as proxy, echoing(400) as server:
        env = {"HTTP_PROXY": proxy.url, "http_proxy": proxy.url, "ALL_PROXY": proxy.url}
        args = ("run", "jobs.jsonl", "-o", "results.jsonl", "-m", "m", "--base-url", f"{server.url}/v1", "--trust-env")
        rans = [desk.call(*args, env=env), desk.run(*args, "--api-key-file", "secret/key", env=env)]
        assert proxy.seen == []
        assert server.seen
    (desk.path / ".netrc").unlink()
    check_silence(desk, *rans)
