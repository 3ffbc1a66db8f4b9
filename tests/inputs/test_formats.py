"""Jobs out of input lines: what is recognised, what comes from the run, and what the sample jobs hold."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from support.job_lines import USER, job_of, refusal

from batcher.exchange.answers import asks_many, judge
from batcher.failures import LineError, UsageError
from batcher.inputs.formats import FORMATS, by_extension, by_look, named
from batcher.inputs.formats.defaults import Defaults
from batcher.inputs.formats.endpoints import endpoint_of
from batcher.inputs.formats.jsonl import parse_job
from batcher.inputs.formats.lines import read_lines
from batcher.inputs.formats.parameters import unknown_keys_warning
from batcher.inputs.identity import Ids
from batcher.model import ENDPOINTS, Job, Kind
from batcher.outcome import Choice, Completion

JOBS = Path(__file__).parents[2] / "jobs"


@pytest.mark.parametrize(
    ("record", "path", "kind", "content"),
    [
        ({"prompt": "hi"}, None, Kind.GENERATE, "hi"),
        ({"messages": [USER]}, None, Kind.CHAT, [USER]),
        ({"input": "hi"}, None, Kind.EMBED, "hi"),
        ({"input": ["a", "b"]}, None, Kind.EMBED, ["a", "b"]),
        ({"input": [1, 2]}, None, Kind.EMBED, [1, 2]),
        ({"text": "hi"}, None, Kind.EMBED, "hi"),
        ({"prompt": "hi", "messages": [USER], "text": "x"}, None, Kind.CHAT, [USER]),
        ({"prompt": None, "text": "x"}, None, Kind.EMBED, "x"),
        ({"prompt": "hi", "text": "x"}, None, Kind.GENERATE, "hi"),
        ({"prompt": "hi"}, "/api/generate", Kind.GENERATE, "hi"),
        ({"prompt": "hi"}, "/v1/completions", Kind.GENERATE, "hi"),
        ({"prompt": "hi"}, "/api/chat", Kind.CHAT, [USER]),
        ({"prompt": "hi"}, "/v1/chat/completions", Kind.CHAT, [USER]),
        ({"prompt": "hi"}, "/v1/responses", Kind.RESPONSES, "hi"),
        ({"input": "hi"}, "/v1/responses", Kind.RESPONSES, "hi"),
        ({"input": [{"type": "message"}]}, "/v1/responses", Kind.RESPONSES, [{"type": "message"}]),
        ({"messages": [USER]}, "/v1/responses", Kind.RESPONSES, [USER]),
        ({"input": "hi", "prompt": "x"}, "/v1/embeddings", Kind.EMBED, "hi"),
        ({"prompt": "hi"}, "/api/embed", Kind.EMBED, "hi"),
        ({"prompt": "hi"}, "/v1/images/generations", Kind.IMAGE, "hi"),
    ],
)
def test_recognition(record: dict[str, Any], path: str | None, kind: Kind, content: Any) -> None:
    """What a line holds says what it is, unless an endpoint is named, on the line or for the run."""
    job = job_of(**record, defaults=Defaults(path=path))
    assert (job.kind, job.path, job.content) == (kind, path, content)
    if path is not None:
        on_line = job_of(**record, url=path, defaults=Defaults(path="/api/embed"))
        assert (on_line.kind, on_line.path, on_line.content) == (kind, path, content)


@pytest.mark.parametrize("path", ENDPOINTS)
def test_body_lines(path: str) -> None:
    """An OpenAI batch line is that endpoint and that body, for every endpoint, native ones too."""
    content = {"messages": [USER]} if ENDPOINTS[path] is Kind.CHAT else {"prompt": "hi", "input": "hi"}
    body = {"model": "m", "stream": True, "options": {"seed": 1}, **content}
    job = job_of(
        custom_id="c", id="other", method="POST", url=path, body=body, meta=[1], defaults=Defaults(params={"seed": 2})
    )
    assert (job.id, job.kind, job.path, job.model, job.body, job.meta) == ("c", ENDPOINTS[path], path, "m", body, [1])
    assert job.params == {}


def test_body_gets_the_runs_model() -> None:
    """A body without a model gets the run's, one with an alias what it stands for."""
    defaults = Defaults(model="m", aliases={"gpt": "llama"})
    bare = job_of(url="/v1/completions", body={"prompt": "hi"}, defaults=defaults)
    assert (bare.model, bare.body) == ("m", {"prompt": "hi", "model": "m"})
    aliased = job_of(
        body={"prompt": ["a", "b"], "model": "gpt"}, defaults=Defaults(aliases={"gpt": "l"}, path="/v1/completions")
    )
    assert (aliased.model, aliased.body) == ("l", {"prompt": ["a", "b"], "model": "l"})


@pytest.mark.parametrize(
    ("model", "wanted"),
    [("a", "x"), ("a:latest", "x"), ("b", "y"), ("b:latest", "y"), ("a:7b", "a:7b"), (None, "z"), ("", "z")],
)
def test_aliases(model: str | None, wanted: str) -> None:
    """An alias stands for a model; `name` and `name:latest` are one; no model means the run's."""
    defaults = Defaults(model="c", aliases={"a": "x", "b:latest": "y", "c": "z"})
    assert job_of(prompt="hi", model=model, defaults=defaults).model == wanted


def test_no_model_is_no_error() -> None:
    """A line and a run without a model leave it open: the server may have but one."""
    assert job_of(prompt="hi").model is None


def test_ids() -> None:
    """An id is taken as text from `id` or `custom_id`; without one it comes from the bytes."""
    assert job_of(prompt="hi", id=7).id == job_of(prompt="hi", custom_id="7").id == "7"
    name = job_of(prompt="hi").id
    assert parse_job(b'{"prompt":"hi"}', 1, Defaults(), Ids({name}.__contains__)).id == f"{name}#2"


URLS = {
    # Azure's batch lines: https://github.com/mozilla-ai/any-llm/pull/1348
    "/chat/completions": "/v1/chat/completions",
    "/embeddings": "/v1/embeddings",
    "/responses": "/v1/responses",
    "/completions": "/v1/completions",
    "/images/generations": "/v1/images/generations",
    "/v1/chat/completions/": "/v1/chat/completions",
    "/api/chat/": "/api/chat",
    "v1/embeddings": "/v1/embeddings",
    "https://api.openai.com/v1/chat/completions": "/v1/chat/completions",
    "https://api.openai.com/v1/responses/": "/v1/responses",
    "HTTPS://API.OPENAI.COM/v1/embeddings": "/v1/embeddings",
    "http://localhost:11434/api/generate": "/api/generate",
    "http://[::1]:11434/api/embed": "/api/embed",
    "https://openrouter.ai/api/v1/chat/completions": "/v1/chat/completions",
    "https://api.groq.com/openai/v1/chat/completions": "/v1/chat/completions",
    "https://open.bigmodel.cn/api/paas/v4/chat/completions": "/v1/chat/completions",
    "https://r.openai.azure.com/openai/deployments/d/chat/completions?api-version=2024-10-21": "/v1/chat/completions",
    "/openai/deployments/d/embeddings?api-version=2024-10-21": "/v1/embeddings",
    "https://generativelanguage.googleapis.com/v1beta/openai/embeddings": "/v1/embeddings",
    "/v1/completions#top": "/v1/completions",
}


@pytest.mark.parametrize("url", URLS)
def test_the_path_counts_of_a_url(url: str) -> None:
    """Whatever its author's server is called; the job is that of the plain path."""
    path = URLS[url]
    body: dict[str, Any] = {"messages": [USER], "prompt": "hi", "input": "hi"}
    job, plain = job_of(id="a", body=dict(body), url=url), job_of(id="a", body=dict(body), url=path)
    assert job == plain
    assert job.path == path
    assert job_of(id="a", url=url, **body).path == path


@pytest.mark.parametrize(
    ("path", "nearest"),
    [
        ("/v1/chat/completion", "/v1/chat/completions"),
        ("/api/embeddings", "/api/embed"),
        ("/v1/chats/completions", "/v1/chat/completions"),
        ("/chat", "/api/chat"),
        ("/v1/messages", "Anthropic"),
        ("https://api.openai.com/v1", "known are"),
        ("https://completions", "did you mean"),
        ("zzz", "known are"),
        ("/" * 9000 + "v1/chat/completions", "there is no endpoint"),
        (5, "as text"),
    ],
)
def test_unknown_endpoints(path: Any, nearest: str) -> None:
    """An endpoint that is none is refused with the nearest one."""
    error = refusal(id="a", prompt="hi", url=path)
    assert (error.code, error.id) == ("unknown_endpoint", "a")
    assert nearest in error.message
    assert refusal(id="a", body={}, url=path).code == "unknown_endpoint"


def test_run_wide_endpoint_is_checked_once() -> None:
    """A run's endpoint that is none is a mistake of the command line, not of each line."""
    with pytest.raises(UsageError, match="/api/chat"):
        Defaults(path="/api/chatt")
    assert endpoint_of("/api/chat")[1] is Kind.CHAT


def test_unknown_keys_are_counted() -> None:
    """Keys that nothing reads are no error; they are counted for one warning that names near misses."""
    defaults = Defaults()
    for _ in range(2):
        job_of(prompt="hi", temperatur=1, label="x", defaults=defaults)
    assert defaults.unknown_keys == Counter(temperatur=2, label=2)
    warning = unknown_keys_warning(defaults.unknown_keys)
    assert warning is not None
    assert '"label", "temperatur" (did you mean "temperature"?)' in warning
    assert unknown_keys_warning([]) is None
    assert "and 5 more" in (unknown_keys_warning(map(str, range(15))) or "")


def test_unknown_keys_are_bounded() -> None:
    """A file with a new key on each line does not fill the memory."""
    defaults = Defaults()
    defaults.note_unknown(str(number) for number in range(5000))
    assert len(defaults.unknown_keys) == 1000


@pytest.mark.parametrize(
    ("record", "system"),
    [
        ({"prompt": "hi"}, "run"),
        ({"prompt": "hi", "system": "own"}, "own"),
        ({"prompt": "hi", "system": None}, None),
        ({"prompt": "hi", "system": ""}, None),
        ({"messages": [USER]}, "run"),
        ({"messages": [{"role": "system", "content": "x"}, USER]}, None),
        ({"messages": [{"role": "system", "content": "x"}, USER], "system": "own"}, "own"),
        ({"input": "hi", "url": "/v1/responses", "instructions": "own"}, "own"),
        ({"input": "hi"}, None),
    ],
)
def test_system(record: dict[str, Any], system: str | None) -> None:
    """The line's system prompt wins over the run's, which also stands back for a system message."""
    assert job_of(**record, defaults=Defaults(system="run")).system == system


def test_formats() -> None:
    """A format is found by its name, by the extension, and by how a file begins."""
    jsonl = FORMATS["jsonl"]
    assert by_extension("a.NDJSON") is named("jsonl") is by_look(b"") is by_look(b' \n{"prompt"') is jsonl
    assert by_extension("a.dat") is None
    with pytest.raises(UsageError, match="jsonl"):
        named("yaml")


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_reads_its_lines(name: str) -> None:
    """A format's reader and parser fit together."""
    assert name == FORMATS[name].name
    assert FORMATS[name].extensions


def outcomes(name: str) -> tuple[list[Job], dict[int, str], Defaults]:
    """(jobs, error code by line number, what the run saw) of a sample file."""
    defaults, jobs, errors = Defaults(files_root=JOBS), [], {}
    with (JOBS / name).open("rb") as file:
        for line in read_lines(file):
            assert line.data is not None
            try:
                jobs.append(parse_job(line.data, line.seq, defaults))
            except LineError as error:
                errors[line.seq + 1] = error.code
    return jobs, errors, defaults


@pytest.mark.parametrize("name", ["hello.jsonl", "chat.jsonl", "embed.jsonl", "tools.jsonl", "openai-batch.jsonl"])
def test_sample_jobs(name: str) -> None:
    """Each sample is read whole, with ids of its own and no key that nothing reads."""
    jobs, errors, defaults = outcomes(name)
    assert errors == {}
    assert len({job.id for job in jobs}) == len(jobs) >= 2
    assert not defaults.unknown_keys


def test_broken_sample() -> None:
    """The sample of broken lines shows one of each kind, and its good lines are read all the same."""
    jobs, errors, _ = outcomes("broken.jsonl")
    assert [job.id for job in jobs] == ["good-1", "good-2"]
    assert jobs[1].seq == 16
    assert errors == {
        2: "input_invalid",
        3: "input_invalid",
        4: "input_encoding",
        5: "input_invalid",
        6: "empty_prompt",
        7: "empty_prompt",
        8: "empty_prompt",
        9: "input_invalid",
        10: "input_invalid",
        11: "input_invalid",
        12: "input_invalid",
        13: "unknown_endpoint",
        14: "image_missing",
        15: "image_outside",
    }


@pytest.mark.parametrize(
    ("line", "json_asked", "many"),
    [
        (b'{"prompt":"a","format":"json"}', True, False),
        (b'{"prompt":"a","response_format":{"type":"text"}}', False, False),
        (b'{"input":"a"}', False, False),
        (b'{"input":["a"]}', False, True),
        (b'{"input":[1,2]}', False, False),
        (b'{"input":[[1,2],[3]]}', False, True),
        (b'{"messages":[{"role":"user","content":"a"}]}', False, False),
        (b'{"url":"/v1/embeddings","body":{"input":["a","b"]}}', False, True),
        (b'{"url":"/v1/completions","body":{"prompt":"a","response_format":{"type":"json_object"}}}', True, False),
        (b'{"url":"/v1/completions","body":{"prompt":"a","response_format":{"type":"text"}}}', False, False),
        (b'{"url":"/v1/responses","body":{"input":"a","text":{"format":{"type":"json_schema"}}}}', True, False),
        (b'{"url":"/v1/responses","body":{"input":"a","text":{"format":{"type":"text"}}}}', False, False),
    ],
)
def test_what_a_job_asks_of_its_line(line: bytes, json_asked: bool, many: bool) -> None:  # noqa: FBT001 - a table's columns
    """The job tells whether its answer is JSON and whether it has many vectors, also from a body."""
    job = parse_job(line, 0, Defaults())
    answer = Completion(choices={0: Choice(texts=["[1]"])})
    assert (judge(job, answer) == [1], asks_many(job)) == (json_asked, many)
