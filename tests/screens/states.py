"""The states of a run that people see, one entry each: what is played, and at which moment the screen is looked at."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal

Deed = Literal["kill", "freeze", "interrupt", "ask", "narrow"]
Job = dict[str, Any]


def jobs(count: int, directive: str = "", start: int = 1) -> list[Job]:
    """So many jobs, and what the simulator is to do with each."""
    names = [f"review-{number:03d}" for number in range(start, start + count)]
    return [{"id": name, "prompt": f"[[sim id={name} {directive}]]"} for name in names]


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A command against servers of its own, on a terminal; `{url}` and `{other}` stand for their addresses.

    The screen is looked at when it first shows `at` (a pattern), or after the command has ended.
    """

    words: str
    """What who sees it has to learn from it."""
    args: tuple[str, ...] = ("run", "prompts.jsonl", "-m", "llama3.2", "-o", "answers.jsonl", "-c", "4")
    more: tuple[str, ...] = ()
    """Arguments after `args`."""
    jobs: list[Job] = field(default_factory=lambda: jobs(40, "ttft=0.2 tokens=30"))
    server: dict[str, Any] | None = field(default_factory=dict)
    """Settings of the simulator; `None` for nobody at its address."""
    other: dict[str, Any] | None = None
    """Those of a second server."""
    files: dict[str, str] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    before: tuple[tuple[str, ...], ...] = ()
    """Commands that are over before."""
    beside: tuple[str, ...] = ()
    """A command that goes on meanwhile, from when its screen shows the first answer."""
    at: str = ""
    deeds: tuple[tuple[str, Deed], ...] = ()
    """What happens when the screen first shows a pattern, one after the other."""
    columns: int = 100
    terminal: Literal["stderr", "both", "none"] = "stderr"
    is_fixed: bool = False
    """Whether its words are the same each time, but for times and speeds."""


RUN: Final = ("run", "prompts.jsonl", "-m", "llama3.2", "-o", "answers.jsonl")

LIVE: Final = {
    "Answers come": State(
        words="How far it is, how much is in flight of what may be, how fast, and how long it takes yet.",
        at=r"1\d/40",
    ),
    "Answers come, told one by one": State(
        words="With `-v`: each answer above the display, in the order in which they come.",
        more=("-v",),
        jobs=jobs(12, "ttft=0.4 tokens=20 say=The%20bees%20are%20fine."),
        at=r" [4-9]/12",
        server={"prose": True},
    ),
    "40 columns": State(
        words="What matters least is left out; never how far it is, nor the ETA.",
        columns=40,
        more=("--rpm", "10"),
        jobs=jobs(40),
        at=r"/40.*\n  waiting: ",
    ),
    "A terminal that was made narrower": State(
        words="The next drawing fits; nothing of the old one stays.",
        deeds=((r" [1-9]/40 ", "narrow"),),
        at=r"[23]\d/40",
    ),
    "`NO_COLOR`": State(words="The same words, without colours.", env={"NO_COLOR": "1"}, at=r"1\d/40"),
    "`TERM=dumb`": State(
        words="Where the cursor cannot be moved there is no display: a line each `--stats`, as in a log.",
        env={"TERM": "dumb"},
        more=("--stats", "2s"),
        jobs=jobs(40, "ttft=0.4 tokens=30"),
    ),
    "A rate limit of one's own": State(
        words="How long nothing goes, and why; the ETA has it in it.",
        more=("--rpm", "20"),
        at=r"waiting: ",
    ),
    "A rate limit of the server's": State(
        words="The same, where the server says it (HTTP 429, `Retry-After`).",
        server={"rpm": 20},
        at=r"waiting: ",
    ),
    "A rate limit of tokens": State(
        words="Tokens a minute are another limit, and named as one.",
        more=("--tpm", "3k"),
        at=r"waiting: ",
    ),
    "An outage": State(
        words="What is waited for, when it is tried again, and the words of the system; nobody knows an ETA.",
        deeds=((r"1\d/40", "kill"),),
        at=r"tried again in [3-9]",
    ),
    "Waiting for a server": State(
        words="Nobody has answered yet.",
        server=None,
        at=r"no server has answered yet",
    ),
    "Several servers, one of them away": State(
        words="A row each: what it has done, what it has in flight, what is the matter with it.",
        other={},
        more=("--base-url", "{url}", "--base-url", "{other}"),
        jobs=jobs(60, "ttft=0.3 tokens=30"),
        deeds=((r"1\d/60", "kill"),),
        at=r"3\d/60[^\0]*is away",
    ),
    "Jobs fail": State(
        words="How many, and why the last one did.",
        jobs=[*jobs(3, "do=context_overflow"), *jobs(30, "ttft=0.3", start=4)],
        at=r"[12]\d/33",
    ),
    "A slow stream": State(
        words="Tokens are counted as they come: a slow server is alive.",
        jobs=jobs(4, "tokens=200 delay=0.2"),
        at=r"tok/s.* 4\.\d s",
    ),
    "A frozen stream": State(
        words="For how long nothing has come, while answers are in the making.",
        jobs=jobs(4, "tokens=200 delay=0.2"),
        deeds=((r"tok/s.* 2\.\d s", "freeze"),),
        at=r"nothing has come for [4-9]",
    ),
    "Which input is a pipe": State(
        words="How many there are is not known before all is read: no share, and no ETA.",
        args=("run", "-", "-m", "llama3.2", "-o", "answers.jsonl", "-c", "4"),
        at=r"1\d done",
    ),
    "Taken up again": State(
        words="What had a result counts as done, and not as speed.",
        before=((*RUN, "-n", "25"),),
        more=(),
        at=r"3\d/40",
    ),
    "What it costs": State(
        words="With prices: what the answers so far have cost.",
        more=("--price-in", "0.15", "--price-out", "0.6"),
        jobs=jobs(40, "ttft=0.2 tokens=30 prompt_tokens=9000"),
        at=r"1\d/40",
    ),
    "After Ctrl-C": State(
        words="What is in flight may end; what a second one does.",
        jobs=jobs(40, "ttft=1 tokens=30"),
        deeds=((r" [1-9]/40 ", "interrupt"),),
        at=r"Ctrl-C|SIGINT|interrupt",
    ),
    "Asked by a signal": State(
        words="SIGUSR1 has a run say how it stands, above the display.",
        deeds=((r" [1-9]/40 ", "ask"),),
        at=r"state: .*",
    ),
}

ENDS: Final = {
    "All went well": State(
        words="What was, how fast, how long, and where the results are.",
        args=(*RUN, "-c", "4"),
        jobs=jobs(12, "tokens=30"),
        is_fixed=True,
    ),
    "Some jobs failed": State(
        words="Each cause with its count, the words of the first and the id of that job; what to do (3).",
        jobs=[
            *jobs(3, "do=context_overflow"),
            *jobs(2, "do=bad", start=4),
            *jobs(1, "do=bad message=unknown%20role%20'bee'", start=6),
            *jobs(12, start=7),
        ],
        more=("--retries", "0"),
        is_fixed=True,
    ),
    "Lines that are no jobs": State(
        words="The input is what to mend.",
        jobs=[{"id": "odd", "promt": "Hi"}, {"id": 3, "prompt": 5}, *jobs(4)],
        is_fixed=True,
    ),
    "Nothing was left to do": State(words="And nothing was asked.", before=(RUN,), jobs=jobs(5), is_fixed=True),
    "Stopped by Ctrl-C": State(
        words="How far of the whole it came, and how to go on.",
        jobs=jobs(300, "ttft=0.3 tokens=30"),
        deeds=((r"\d\d/300", "interrupt"),),
    ),
    "Stopped by `--max-errors`": State(
        words="Which rule stopped it (4).",
        jobs=[*jobs(2), *jobs(20, "do=bad", start=3)],
        more=("--max-errors", "3", "-c", "1"),
        is_fixed=True,
    ),
    "A quota that is used up for today": State(
        words="It does not wait longer than `--max-wait` says, and names when to come back (4).",
        jobs=[*jobs(2), *jobs(20, "do=throttled retry_after=7200", start=3)],
        more=("--max-wait", "10m"),
    ),
    "Several servers": State(
        words="What each did.",
        other={},
        more=("--base-url", "{url}", "--base-url", "{other}"),
        jobs=jobs(30, "tokens=20"),
    ),
    "Held up": State(
        words="What took most of the time, and the setting that would help.",
        server={"slots": 2, "speed": 50.0},
        jobs=jobs(24, "tokens=20"),
        args=(*RUN, "-c", "16"),
    ),
    "The server did not come back": State(
        words="It was waited for as long as `--max-wait` says (69).",
        jobs=jobs(40, "ttft=0.2"),
        deeds=((r"1\d/40", "kill"),),
        more=("--max-wait", "3s"),
    ),
}

UNSEEN: Final = {
    "A log": State(
        words="No terminal: a line at the start, one each `--stats`, the sums.",
        terminal="none",
        more=("--stats", "1s"),
        jobs=jobs(40, "ttft=0.3"),
    ),
    "A log for programs": State(
        words="`--log-format json`: an object a line.",
        terminal="none",
        more=("--stats", "2s", "--log-format", "json"),
        jobs=jobs(30, "ttft=0.3"),
    ),
    "Quiet, all well": State(words="Nothing.", terminal="none", more=("-q",), jobs=jobs(3), is_fixed=True),
    "Quiet, with failures": State(
        words="One line, for cron's mail.",
        terminal="none",
        more=("-q",),
        jobs=[*jobs(3), *jobs(2, "do=bad", start=4)],
        is_fixed=True,
    ),
    "Results on the terminal": State(
        words="`-o -` where nothing is redirected: they have it to themselves, without a display.",
        args=("run", "prompts.jsonl", "-m", "llama3.2", "-o", "-"),
        jobs=jobs(2, "tokens=4"),
        terminal="both",
        columns=160,
    ),
}

DIAGNOSES: Final = {
    "A model that is not there": State(
        words="What the server has, and what may have been meant (78).",
        args=("run", "prompts.jsonl", "-m", "lama3.2", "-o", "answers.jsonl"),
        jobs=jobs(5),
        server={"models": ("llama3.2", "qwen3:8b")},
        is_fixed=True,
    ),
    "The same, asked of `check`": State(
        words="In the same words.",
        args=("check", "prompts.jsonl", "-m", "lama3.2"),
        jobs=jobs(5),
        server={"models": ("llama3.2", "qwen3:8b")},
        is_fixed=True,
    ),
    "No key": State(
        words="None was sent, and where to say it (77).",
        args=("run", "prompts.jsonl", "-m", "llama3.2", "-o", "answers.jsonl"),
        jobs=jobs(5),
        server={"key": "k", "look": "openai"},
        env={"BATCHER_BASE_URL": "{url}/v1"},
        is_fixed=True,
    ),
    "A wrong key": State(
        words="Which one was refused, by its name (77).",
        args=("run", "prompts.jsonl", "-m", "llama3.2", "-o", "answers.jsonl"),
        jobs=jobs(5),
        server={"key": "k", "look": "openai"},
        env={"BATCHER_BASE_URL": "{url}/v1", "OPENAI_API_KEY": "sk-another"},
        is_fixed=True,
    ),
    "No server": State(
        words="Where it was looked for, and how one is started or named (69).",
        args=("run", "prompts.jsonl", "-m", "llama3.2", "-o", "answers.jsonl", "--max-wait", "0s"),
        jobs=jobs(5),
        server=None,
        is_fixed=True,
    ),
    "No server, asked of `models`": State(
        words="In the same words.", args=("models",), server=None, env={"BATCHER_MAX_WAIT": "0s"}, is_fixed=True
    ),
    "Not a server of models": State(
        words="What answered there, and what the URL should look like (78).",
        args=("run", "prompts.jsonl", "-m", "llama3.2", "-o", "answers.jsonl"),
        jobs=jobs(5),
        server={"faults": (("html200", 1.0),)},
        env={"BATCHER_BASE_URL": "{page}"},
        is_fixed=True,
    ),
    "Held by another run": State(
        words="Who has the file, and since when (75).",
        beside=(*RUN, "-c", "1"),
        args=RUN,
        jobs=jobs(40, "ttft=0.4"),
    ),
    "An option that there is not": State(words="The nearest one (2).", args=(*RUN, "--concurency", "4"), is_fixed=True),
    "A command that there is not": State(words="The nearest one (2).", args=("rn", "prompts.jsonl"), is_fixed=True),
    "No command": State(words="What was meant (2).", args=("prompts.jsonl",), is_fixed=True),
    "A parameter that nobody knows": State(
        words="It is sent, and told, with the nearest one that is known.",
        args=(*RUN, "--param", "temprature=0"),
        jobs=jobs(3, "tokens=4"),
        is_fixed=True,
    ),
    "A variable that nobody reads": State(
        words="The nearest one.",
        args=RUN,
        env={"BATCHER_RETRYS": "3"},
        jobs=jobs(3, "tokens=4"),
        is_fixed=True,
    ),
    "An alias that nobody asks for": State(
        words="It may be misspelt.",
        args=(*RUN, "--alias", "llama3=llama3.2"),
        jobs=jobs(3, "tokens=4"),
        is_fixed=True,
    ),
    "A key of a config file": State(
        words="Where it stands, and the nearest one (78).",
        args=("run", "prompts.jsonl", "--config", "nightly.toml"),
        files={"nightly.toml": 'modle = "llama3.2"\n'},
        is_fixed=True,
    ),
    "No model for `--local`": State(
        words="Where one is found.",
        args=("run", "prompts.jsonl", "--local", "none.gguf", "-o", "answers.jsonl"),
        env={"BATCHER_BASE_URL": ""},
        is_fixed=True,
    ),
}

ASKED: Final = {
    "`status` of a run that goes on": State(
        words="From another terminal: who has the file, since when, how far, what is waited for.",
        beside=(*RUN, "-c", "1", "--rpm", "30"),
        args=("status", "answers.jsonl"),
        jobs=jobs(40, "ttft=0.1"),
    ),
    "`status` of the last one": State(
        words="How it ended, and what was waited for.",
        before=((*RUN, "--max-errors", "1", "-c", "1"),),
        args=("status", "answers.jsonl"),
        jobs=[*jobs(5), *jobs(5, "do=bad", start=6)],
    ),
    "`run --print-config`": State(
        words="Each value, and who said so; secrets hidden.",
        args=("run", "--print-config", "--config", "nightly.toml", "-c", "4"),
        files={"nightly.toml": 'input = "prompts.jsonl"\nmodel = "llama3.2"\nmax-wait = "4h"\n'},
        env={"OPENAI_API_KEY": "sk-another", "BATCHER_RETRIES": "2"},
        server=None,
        is_fixed=True,
    ),
}

CHAPTERS: Final = {
    "While it runs": LIVE,
    "At the end": ENDS,
    "Without a terminal": UNSEEN,
    "What is wrong": DIAGNOSES,
    "When asked": ASKED,
}
