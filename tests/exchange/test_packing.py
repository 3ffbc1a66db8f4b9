"""Holds packs to their jobs: who may share a call, whose vector is whose, and how a pack is halved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, cast

import orjson
import pytest
from hypothesis import given, strategies as st

from batcher.exchange import packing
from batcher.model import Api, Call, Endpoint, Job, Kind
from batcher.outcome import Attempt, Completion, Result, Timing, Usage
from batcher.policy.packs import FixedPacks, FoundPacks

if TYPE_CHECKING:
    from batcher.failures import LineError
    from batcher.policy.packs import Packs


def embed(number: int, content: Any = None, **fields: Any) -> Job:
    fields = {"model": "m", **fields}
    return Job(
        id=f"e{number}", seq=number, kind=Kind.EMBED, content=f"t{number}" if content is None else content, **fields
    )


def chat(number: int) -> Job:
    return Job(id=f"c{number}", seq=number, kind=Kind.CHAT, model="m", content=[{"role": "user", "content": "hi"}])


class Packed:
    """What `calls` made of the jobs: calls in order (None: nothing had arrived) and the rejected jobs."""

    def __init__(self, jobs: list[Job | None], size: int, api: Api = Api.NATIVE) -> None:
        self.rejected: list[str] = []
        self.calls = list(packing.calls(jobs, api, self._reject, stream=True, packs=FixedPacks(size)))

    def _reject(self, job: Job, error: LineError) -> None:
        assert error.message
        self.rejected.append(job.id)

    @property
    def ids(self) -> list[list[str] | None]:
        return [[job.id for job in call.jobs] if call else None for call in self.calls]


def test_inputs_go_together_up_to_the_size() -> None:
    """Five inputs in packs of two are three calls, in order, with the inputs in the body in order."""
    packed = Packed([embed(n) for n in range(5)], 2)
    assert packed.ids == [["e0", "e1"], ["e2", "e3"], ["e4"]]
    bodies = [orjson.loads(call.body)["input"] for call in packed.calls if call]
    assert bodies == [["t0", "t1"], ["t2", "t3"], "t4"]


def test_the_order_is_kept_where_no_size_was_chosen() -> None:
    """A pack leaves before what comes after it in the input, if that is of another kind."""
    jobs = [embed(0), embed(1), chat(2), embed(3), embed(4)]
    calls = packing.calls(jobs, Api.NATIVE, lambda *_: None, stream=True, packs=FoundPacks())
    names = [job.id for call in calls if call for job in call.jobs]
    assert names == ["e0", "e1", "c2", "e3", "e4"]


def test_only_embeddings_are_packed() -> None:
    """Chats go alone and are not held back by a pack that fills; neither is a line that brought its own body."""
    own = embed(3, body={"model": "m", "input": "x"})
    packed = Packed([embed(0), chat(1), own, embed(2)], 9)
    assert packed.ids == [["c1"], ["e3"], ["e0", "e2"]]


@pytest.mark.parametrize(
    "other",
    [{"model": "other"}, {"params": {"dimensions": 2}}, {"options": {"num_ctx": 9}}, {"path": "/v1/embeddings"}],
)
def test_jobs_that_ask_for_different_things_do_not_share(other: dict[str, Any]) -> None:
    """Model, parameters, options and path are those of the whole call."""
    packed = Packed([embed(0), embed(1, **other), embed(2), embed(3, **other)], 2)
    assert packed.ids == [["e0", "e2"], ["e1", "e3"]]


def test_packs_do_not_wait_for_an_input_that_is_slow() -> None:
    """When nothing has arrived, what is there is sent, in the place of saying so: that is asked again."""
    packed = Packed([embed(0), None, embed(1), embed(2), None, None], 3)
    assert packed.ids == [["e0"], ["e1", "e2"], None]


def test_the_number_of_open_packs_is_bounded() -> None:
    """With ever new models the oldest pack leaves, so that no job waits for ever."""
    packed = Packed([embed(n, model=f"m{n}") for n in range(packing.OPEN_PACKS + 3)], 9)
    assert packed.ids[:3] == [["e0"], ["e1"], ["e2"]]
    assert len(packed.calls) == packing.OPEN_PACKS + 3


def test_a_job_that_cannot_be_expressed_is_rejected_alone() -> None:
    """Whether it goes alone or in a pack, its company is sent, and the run goes on."""
    wrong = embed(1, path="/api/chat")
    for size in (1, 2):
        packed = Packed([wrong, embed(2), embed(3, path="/api/chat"), embed(4)], size)
        assert packed.rejected == ["e1", "e3"]
        assert [name for ids in packed.ids if ids for name in ids] == ["e2", "e4"]


def pack(*jobs: Job, api: Api = Api.NATIVE) -> Call:
    (call,) = Packed(list(jobs), 100, api).calls
    assert call is not None
    return call


@given(st.integers(2, 33))
def test_halving_ends_with_each_job_alone(size: int) -> None:
    """Halves of halves hold all jobs in order, each with its own body, and take their history along."""
    whole = pack(*(embed(n) for n in range(size)))
    whole.sent, whole.waited, whole.counted = 3, 1.5, 2
    left, right = packing.halves(whole, Api.NATIVE)
    assert left.jobs + right.jobs == whole.jobs
    assert abs(len(left.jobs) - len(right.jobs)) <= 1
    for half in (left, right):
        assert (half.sent, half.waited, half.counted) == (3, 1.5, 0)
        texts = orjson.loads(half.body)["input"]
        assert (texts if isinstance(texts, list) else [texts]) == [job.content for job in half.jobs]


@pytest.mark.parametrize("api", list(Api))
def test_each_job_gets_its_own_vectors(api: Api) -> None:
    """A job of two texts takes two vectors, one of a text one; nobody takes another's."""
    jobs = [embed(0), embed(1, ["a", "b"]), embed(2)]
    completion = Completion(vectors=[[0.0], [1.0], [1.5], [2.0]], served_model="m", proof="p", flags=["f"])
    shares = list(packing.shares(pack(*jobs, api=api), completion))
    assert [(job.id, share.vectors) for job, share in shares] == [
        ("e0", [[0.0]]),
        ("e1", [[1.0], [1.5]]),
        ("e2", [[2.0]]),
    ]
    assert all((share.served_model, share.proof, share.flags) == ("m", "p", ["f"]) for _, share in shares)


def test_the_results_of_a_pack_say_whose_they_are() -> None:
    """What is a job's own, and what is the call's."""
    jobs = [embed(0, hash="h0", meta={"m": 0}), embed(1, ["a", "b"], hash="h1", columns={"c": 1})]
    call, timing = pack(*jobs, api=Api.OPENAI), Timing(started=1.0, finished=2.0)
    call.sent = 3
    attempt = Attempt(timing, Completion(vectors=[[0.0], [1.0], [1.5]]))
    first, second = packing.results_of(call, Endpoint(root="http://h", api=Api.OPENAI), attempt, raw=False)
    fields: dict[str, Any] = {
        "model": "m",
        "path": "/v1/embeddings",
        "timing": timing,
        "attempts": 3,
        "server": "http://h",
    }
    own: dict[str, Any] = {"meta": {"m": 0}, "completion": first.completion, "pack": (0, 2)}
    assert first == Result(id="e0", seq=0, hash="h0", **fields, **own)
    own = {"columns": {"c": 1}, "completion": second.completion, "pack": (1, 2), "many": True}
    assert second == Result(id="e1", seq=1, hash="h1", **fields, **own)


counts = st.none() | st.integers(0, 1 << 40)


@given(st.lists(st.text(max_size=30), min_size=2, max_size=9), counts, counts)
def test_the_tokens_of_a_pack_are_divided(texts: list[str], prompt: int | None, cached: int | None) -> None:
    """The parts add up to what the server said, each by its length to within a token; what it did not say stays so."""
    jobs = [embed(n, text) for n, text in enumerate(texts)]
    completion = Completion(vectors=[[0.0]] * len(jobs), usage=Usage(prompt, None, None, cached))
    usages = [share.usage for _, share in packing.shares(pack(*jobs), completion) if share.usage is not None]
    assert len(usages) == len(jobs)
    for whole, parts in ((prompt, [u.prompt_tokens for u in usages]), (cached, [u.cached_tokens for u in usages])):
        known = [part for part in parts if part is not None]
        assert known == parts if whole is not None else not known
        assert sum(known) == (whole or 0)
        for part, text in zip(known, texts, strict=False):
            assert abs(part - (whole or 0) * max(len(text), 1) / sum(max(len(each), 1) for each in texts)) < 1
    assert {usage.completion_tokens for usage in usages} == {None}


@pytest.mark.parametrize("usage", [None, Usage()])
def test_tokens_that_no_server_told_are_not_divided(usage: Usage | None) -> None:
    """They are unknown of each job as well, and not 0."""
    jobs = [embed(0), embed(1, ["a", "b"])]
    completion = Completion(vectors=[[0.0]] * 3, usage=usage)
    assert [share.usage for _, share in packing.shares(pack(*jobs), completion)] == [usage, usage]


def test_token_lists_are_one_input_each() -> None:
    """On /v1 a list of numbers is one input, and a list of such lists as many as it holds."""
    jobs = [embed(0, [1, 2, 3]), embed(1, [[4], [5, 6]]), embed(2)]
    call = pack(*jobs, api=Api.OPENAI)
    assert orjson.loads(call.body)["input"] == [[1, 2, 3], [4], [5, 6], "t2"]
    completion = Completion(vectors=[[0], [1], [2], [3]])
    assert [share.vectors for _, share in packing.shares(call, completion)] == [[[0]], [[1], [2]], [[3]]]


def test_a_call_of_one_job_keeps_its_completion() -> None:
    """What is not shared is not copied."""
    completion = Completion(vectors=[[1.0]])
    ((job, share),) = packing.shares(pack(embed(0)), completion)
    assert (job.id, share is completion) == ("e0", True)


def _never(job: Job, error: LineError) -> None:
    raise AssertionError(f"{job.id} was rejected: {error}")


class Sized(NamedTuple):
    """A size of packs as it may be found."""

    texts: int
    work: float

    @property
    def let_others_by(self) -> bool:
        return True

    def size(self, _model: str | None, _path: str) -> Sized:
        return self


def packed(sizes: Sized, *texts: str) -> list[list[str]]:
    """The ids in each call, in the order of the calls."""
    jobs = [embed(n, text) for n, text in enumerate(texts)]
    made = packing.calls(jobs, Api.OPENAI, _never, stream=False, packs=cast("Packs", sizes))
    return [[job.id for job in call.jobs] for call in made if call is not None]


@pytest.mark.parametrize(
    ("texts", "calls"),
    [
        (["x" * 136] * 6, ["01234", "5"]),  # each counts for 200, of 1,000
        (["x" * 136, "x" * 186, "x" * 136, "x" * 136], ["1", "023"]),  # a quarter is long, and holds up nobody
        (["é" * 68] * 6, ["01234", "5"]),  # bytes, not characters
        (["x" * 36, "x" * 136, "x" * 136, "x" * 136, "x" * 136, "x" * 136], ["01234", "5"]),
        (["x"] * 12, ["0123456", "789AB"]),  # as many texts as may be
        (["x" * 5000], ["0"]),
    ],
)
def test_a_pack_has_no_more_work_than_it_may(texts: list[str], calls: list[str]) -> None:
    assert packed(Sized(7, 1000.0), *texts) == [[f"e{int(digit, 16)}" for digit in call] for call in calls]


def test_a_pack_has_no_more_texts_than_the_server_takes() -> None:
    """A job of several texts does not make a pack too large: it goes with the next, or alone."""
    jobs = [embed(0), embed(1, ["a", "b", "c"]), embed(2), embed(3, ["a"] * 9)]
    made = packing.calls(jobs, Api.OPENAI, _never, stream=False, packs=FixedPacks(3))
    assert [[job.id for job in call.jobs] for call in made if call is not None] == [["e1"], ["e3"], ["e0", "e2"]]
