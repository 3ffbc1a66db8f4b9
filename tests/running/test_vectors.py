"""Arrays of vectors are what the input and the results say, whatever happened on the way; the checksums prove it."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from support.commandline import running

from batcher.ledger import disk
from batcher.simulator import simulator_thread, vector

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.commandline import Desk, Ran

    from batcher.simulator import Simulator

RESULTS = "notes.npy.results.jsonl"


@pytest.fixture(params=["native", "openai"])
def sim(request: pytest.FixtureRequest) -> Iterator[Simulator]:
    with simulator_thread(look=request.param) as simulator:
        yield simulator


@pytest.fixture
def native() -> Iterator[Simulator]:
    with simulator_thread(look="native") as simulator:
        yield simulator


def embed(desk: Desk, sim: Simulator, *args: str) -> Ran:
    return desk.call("run", "jobs.jsonl", "--base-url", sim.url, "-m", "simulator", "--vectors", "notes.npy", *args)


def write(desk: Desk, texts: dict[str, Any]) -> None:
    desk.write("jobs.jsonl", *({"id": name, "input": text} for name, text in texts.items()))


def texts(count: int) -> dict[str, Any]:
    return {f"t{number:03d}": f"text number {number}" for number in range(count)}


def holds(desk: Desk, wanted: dict[str, Any], dtype: str = "<f4") -> None:
    """The array has a row for each text in its order, the vector of this text, NaN for None; `verify` agrees."""
    array = np.load(desk.path / "notes.npy")
    assert array.dtype == np.dtype(dtype)
    assert json.loads((desk.path / "notes.npy.ids.json").read_text()) == [*wanted]
    assert len(array) == len(wanted)
    for row, text in zip(array, wanted.values(), strict=True):
        if text is None:
            assert np.isnan(row).all()
        else:
            assert row.tolist() == np.array(vector(text), "<f4").astype(dtype).tolist()
    code = 3 if None in wanted.values() else 0
    ran = desk.call("verify", "jobs.jsonl", RESULTS)
    assert ran.code == code, ran.out + ran.err
    assert "corrupt" not in ran.out
    assert "misplaced" not in ran.out


def test_a_text_under_the_id_of_another_has_not_its_vector(desk: Desk, native: Simulator) -> None:
    """Only the first was asked for; `verify` knows a row that is the other's, and a merge makes none."""
    lines = [{"id": name, "input": text} for name, text in [("a", "one"), ("b", "two"), ("a", "three"), ("a", "one")]]
    desk.write("jobs.jsonl", *lines)
    assert embed(desk, native).code == 3
    first, second = (np.array(vector(text), "<f4") for text in ("one", "two"))
    wanted = np.array([first, second, np.full_like(first, np.nan), first])
    np.testing.assert_array_equal(np.load(desk.path / "notes.npy"), wanted)
    assert "misplaced" not in desk.call("verify", "jobs.jsonl", RESULTS).out
    desk.call("merge", RESULTS, "-o", "all.jsonl", "--vectors", "all.npy")
    np.testing.assert_array_equal(np.load(desk.path / "all.npy"), wanted)
    wanted[2] = first
    np.save(desk.path / "notes.npy", wanted)
    assert "misplaced  1:" in desk.call("verify", "jobs.jsonl", RESULTS).out


def test_a_meta_that_looks_like_a_vector_is_none(desk: Desk, native: Simulator) -> None:
    """Nobody takes it for a row of the store: neither `verify`, nor a merge, with vectors or without."""
    meta = {"vector": {"row": 99, "crc32": 1}}
    desk.write("jobs.jsonl", {"id": "a", "input": "one", "meta": meta}, {"id": "b", "input": "two", "meta": meta})
    assert embed(desk, native).code == 0
    holds(desk, {"a": "one", "b": "two"})
    assert desk.call("merge", RESULTS, "-o", "all.jsonl", "--vectors", "all.npy").code == 0
    assert (desk.path / "all.npy").read_bytes() == (desk.path / "notes.npy").read_bytes()
    plain = ("--base-url", native.url, "-m", "simulator", "-o", "plain.jsonl")
    assert desk.call("run", "jobs.jsonl", *plain).code == 0
    assert desk.call("verify", "jobs.jsonl", "plain.jsonl").code == 0
    assert "2 results" in desk.call("merge", "plain.jsonl", "-o", "again.jsonl").out


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_an_array_has_a_row_for_each_text(desk: Desk, sim: Simulator, dtype: str) -> None:
    """Copies share a row of the store and have their own in the array; the numbers are on no line."""
    wanted = {**texts(40), "again": "text number 3", "failed": "[[sim do=bad]]"}
    write(desk, wanted)
    assert embed(desk, sim, "--vectors-dtype", dtype).code == 3
    holds(desk, {**wanted, "failed": None}, "<f4" if dtype == "float32" else "<f2")
    lines = {line["id"]: line for line in desk.lines(RESULTS)}
    assert lines["again"]["vector"] == lines["t003"]["vector"]
    assert not any("embedding" in line for line in lines.values())
    width = 8 * (4 if dtype == "float32" else 2)
    assert (desk.path / "notes.npy").stat().st_size == 128 + 42 * width
    assert (desk.path / "notes.npy.vectors").stat().st_size == 4096 + 40 * width


def test_only_what_changed_is_embedded_again(desk: Desk, native: Simulator) -> None:
    """Texts inserted, deleted, moved and changed between runs shift no row."""
    before = texts(12)
    write(desk, before)
    assert embed(desk, native).code == 0
    names = [name for name in reversed(before) if name != "t005"]
    after = {"new": "a text in front", **{name: before[name] for name in names}, "t003": "another text"}
    write(desk, after)
    native.tally.counts.clear()
    assert embed(desk, native, "--on-change", "rerun").code == 0
    assert {*native.counts} == {"a text in front", "another text"}
    holds(desk, after)


@pytest.mark.slow
def test_killed_runs_lose_and_shift_nothing(desk: Desk, native: Simulator) -> None:
    """SIGKILL at whatever moment; each run goes on from there, and in the end all is there once."""
    wanted = texts(400)
    write(desk, wanted)
    command = [
        "run",
        "jobs.jsonl",
        "--base-url",
        native.url,
        "-m",
        "simulator",
        "--vectors",
        "notes.npy",
        "--pack",
        "4",
    ]
    for number in range(6):
        with running(desk.start(*command, "-c", "1", "-q")) as process:
            until = time.monotonic() + 20
            grown = (number + 1) * 4096
            results = desk.path / RESULTS
            while process.poll() is None and time.monotonic() < until:
                if results.exists() and results.stat().st_size > grown:
                    break
                time.sleep(0.001)
            process.send_signal(signal.SIGKILL)
    assert embed(desk, native).code == 0
    holds(desk, wanted)
    assert desk.ids(RESULTS) == sorted(wanted)


def tear_the_end(store: Path) -> None:
    """A power cut took the last rows, and what was noted of them."""
    os.truncate(store, store.stat().st_size - 3 * 32 - 5)
    _forget_syncs(store)


def zero_the_end(store: Path) -> None:
    """The length of the file was on the disk, and not what stood there."""
    with store.open("r+b") as file:
        file.seek(-100, os.SEEK_END)
        file.write(bytes(100))
    _forget_syncs(store)


def remove(store: Path) -> None:
    store.unlink()


def _forget_syncs(store: Path) -> None:
    with store.open("r+b") as file:
        file.seek(2048)
        file.write(b"%015d\n" % 0)


@pytest.mark.parametrize(("harm", "again"), [(tear_the_end, 4), (zero_the_end, 4), (remove, 20)])
def test_rows_that_a_crash_has_cost_are_asked_again(desk: Desk, native: Simulator, harm: Any, again: int) -> None:
    """Lines that name them go into the quarantine; the others keep their rows."""
    wanted = texts(20)
    write(desk, wanted)
    assert embed(desk, native).code == 0
    harm(desk.path / "notes.npy.vectors")
    native.tally.counts.clear()
    ran = embed(desk, native)
    assert ran.code == 0
    assert f"the vectors of {again} results are not in" in ran.err
    assert len(native.counts) == again
    holds(desk, wanted)
    assert len((desk.path / "notes.npy.quarantine").read_text().splitlines()) == again


def test_verify_finds_a_changed_byte(desk: Desk, native: Simulator) -> None:
    """In the store, and in the array; the same run makes the array anew."""
    wanted = texts(20)
    write(desk, wanted)
    assert embed(desk, native).code == 0
    with (desk.path / "notes.npy").open("r+b") as file:
        file.seek(128 + 7 * 32)
        file.write(b"!!")
    ran = desk.call("verify", "jobs.jsonl", RESULTS)
    assert (ran.code, "misplaced  1" in ran.out, "line 8 (t007)" in ran.out) == (3, True, True), ran.out
    assert embed(desk, native).code == 0
    holds(desk, wanted)
    with (desk.path / "notes.npy.vectors").open("r+b") as file:
        file.seek(4096 + 9 * 32)
        file.write(b"!!")
    ran = desk.call("verify", "jobs.jsonl", RESULTS)
    assert (ran.code, "corrupt    1" in ran.out) == (3, True), ran.out
    assert (
        "the same command asks for them again" in embed(desk, native).err
    )  # the row is known to be on the disk: nothing is asked
    assert np.isnan(np.load(desk.path / "notes.npy")).any(axis=1).sum() == 1


def test_an_array_of_other_rows_is_told(desk: Desk, native: Simulator) -> None:
    """Rows that changed places have right numbers, and are wrong."""
    write(desk, texts(5))
    assert embed(desk, native).code == 0
    array = np.load(desk.path / "notes.npy")
    np.save(desk.path / "notes.npy", array[[1, 0, 2, 3, 4]])
    assert "misplaced  2" in desk.call("verify", "jobs.jsonl", RESULTS).out
    np.save(desk.path / "notes.npy", array[:4])
    assert "misplaced" in desk.call("verify", "jobs.jsonl", RESULTS).out


@pytest.mark.parametrize("room", [0, 100, 4096, 4200, 5000, 9000])
def test_a_full_disk_is_waited_for(desk: Desk, native: Simulator, room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With no room for a while nothing is lost and nothing is written twice."""
    wanted = texts(30)
    write(desk, wanted)
    left, refused = [room], [0]

    def write_some(fd: int, view: memoryview) -> int:
        if not left[0] and refused[0] < 3:
            refused[0] += 1
            raise OSError(28, "No space left on device")
        taken = os.write(fd, view if refused[0] >= 3 else view[: left[0]])
        left[0] = max(0, left[0] - taken)
        return taken

    with monkeypatch.context() as patched:
        patched.setattr(disk, "_write", write_some)
        patched.setattr("batcher.ledger.writer.DISK_EVERY", 0.01)
        assert embed(desk, native, "--pack", "7", "-c", "1").code == 0
    holds(desk, wanted)


@pytest.mark.slow
def test_two_runs_at_once_are_one_too_many(desk: Desk) -> None:
    """The second is told that the first is at work, and harms nothing."""
    wanted = texts(50)
    write(desk, wanted)
    with simulator_thread(look="native", prompt_delay=0.2) as sim:
        command = [
            "run",
            "jobs.jsonl",
            "--base-url",
            sim.url,
            "-m",
            "simulator",
            "--vectors",
            "notes.npy",
            "--pack",
            "4",
        ]
        with running(desk.start(*command, "-c", "1")) as process:
            until = time.monotonic() + 20
            while not (desk.path / "notes.npy.vectors").exists() and time.monotonic() < until:
                time.sleep(0.01)
            assert embed(desk, sim).code == 75
            assert process.wait(60) == 0
    holds(desk, wanted)


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("-o", "-"), 2, "needs a results file"),
        (("--atomic",), 2, "exclude each other"),
        (("--vectors", "notes.bin"), 2, "name it .npy"),
        (("--vectors", "none/notes.npy"), 73, "is no directory"),
        (("--vectors", "mine.npy"), 73, "no array of numpy's"),
        (("--vectors-dtype", "float16"), 73, "float16 is asked for"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_sent(
    desk: Desk, native: Simulator, args: tuple[str, ...], code: int, words: str
) -> None:
    write(desk, texts(2))
    assert embed(desk, native).code == 0
    (desk.path / "mine.npy").write_text("my own file")
    native.tally.counts.clear()
    ran = embed(desk, native, *args)
    assert (ran.code, words in ran.err) == (code, True), ran.err
    assert not native.counts
    assert (desk.path / "mine.npy").read_text() == "my own file"


def test_overwrite_begins_anew_in_another_width(desk: Desk, native: Simulator) -> None:
    write(desk, texts(5))
    assert embed(desk, native).code == 0
    wanted = {name: f"other {text}" for name, text in texts(3).items()}
    write(desk, wanted)
    assert embed(desk, native, "--overwrite", "--vectors-dtype", "float16").code == 0
    holds(desk, wanted, "<f2")


def test_one_store_has_one_model(desk: Desk) -> None:
    """A vector of another model, or of another length, fails its job and shifts no row."""
    with simulator_thread(look="native", models=("simulator", "other")) as sim:
        _ask_of_two(desk, sim)


def _ask_of_two(desk: Desk, native: Simulator) -> None:
    desk.write("jobs.jsonl", {"id": "a", "input": "one"}, {"id": "b", "input": "two", "model": "other"})
    assert embed(desk, native, "-c", "1").code == 3
    assert list(desk.errors("notes.npy.errors.jsonl").values()) == ["vector_differs"]
    desk.write("jobs.jsonl", {"id": "a", "input": "one"}, {"id": "c", "input": "three", "dimensions": 4})
    assert embed(desk, native).code == 3
    assert desk.errors("notes.npy.errors.jsonl")["c"] == "vector_differs"
    array = np.load(desk.path / "notes.npy")
    assert np.isnan(array[1]).all()
    assert array[0].tolist() == np.array(vector("one"), "<f4").tolist()


def test_lists_of_texts_keep_their_vectors_on_their_lines(desk: Desk, native: Simulator) -> None:
    """They have more than one row would hold."""
    desk.write("jobs.jsonl", {"id": "a", "input": "one"}, {"id": "pair", "input": ["two", "three"]})
    assert embed(desk, native).code == 0
    lines = {line["id"]: line for line in desk.lines(RESULTS)}
    assert len(lines["pair"]["embeddings"]) == 2
    assert np.isnan(np.load(desk.path / "notes.npy")[1]).all()


def test_vectors_that_stood_on_lines_are_in_the_array(desk: Desk, native: Simulator) -> None:
    """What an earlier run wrote without a store is not asked again."""
    wanted = texts(6)
    write(desk, {name: text for name, text in wanted.items() if name < "t003"})
    url = ("--base-url", native.url, "-m", "simulator", "-o", RESULTS)
    assert desk.call("run", "jobs.jsonl", *url).code == 0
    write(desk, wanted)
    native.tally.counts.clear()
    assert embed(desk, native).code == 0
    assert len(native.counts) == 3
    holds(desk, wanted)


def test_normalized_vectors_have_length_one_on_lines_and_in_rows(desk: Desk, native: Simulator) -> None:
    """And are asked for as such: what is there already as it came is another request."""
    write(desk, texts(4))
    assert embed(desk, native, "--normalize").code == 0
    assert np.linalg.norm(np.load(desk.path / "notes.npy"), axis=1) == pytest.approx(np.ones(4))
    assert "has no way to say" not in embed(desk, native, "--normalize").err
    assert embed(desk, native).code == 65


def test_a_prefix_goes_before_each_text(desk: Desk, native: Simulator) -> None:
    """Also of a list; another one is another request, and `verify` knows it from the run."""
    desk.write("jobs.jsonl", {"id": "a", "input": "one"}, {"id": "b", "input": ["two", "three"]})
    prefix = ("--prefix", "search_document: ")
    url = ("--base-url", native.url, "-m", "simulator", "-o", "results.jsonl")
    assert desk.call("run", "jobs.jsonl", *url, *prefix).code == 0
    assert {*native.counts} == {"search_document: one", "search_document: two", "search_document: three"}
    assert desk.call("verify", "jobs.jsonl", "results.jsonl").code == 0
    assert desk.call("run", "jobs.jsonl", *url).code == 65


def test_a_server_that_does_not_cut_vectors_is_told_of(desk: Desk) -> None:
    """It ignores what it was asked for: nothing is cut silently, and nothing else is taken for it."""
    write(desk, texts(3))
    with simulator_thread(look="native", dims=6) as sim:
        assert embed(desk, sim, "--dimensions", "4").code == 0
        assert np.load(desk.path / "notes.npy").shape == (3, 4)
        ran = embed(desk, sim, "--dimensions", "9", "--overwrite")
    assert ran.code in (3, 78), ran.err
    assert (
        "9 dimensions were asked for, and the server gives 6"
        in ran.out + ran.err + (desk.path / "notes.npy.errors.jsonl").read_text()
    )


def test_the_length_is_held_to_across_runs(desk: Desk) -> None:
    """Also where vectors stand on lines: another model came under the same name."""
    write(desk, texts(2))
    run = ("run", "jobs.jsonl", "-m", "simulator", "-o", "results.jsonl", "--retries", "0")
    with simulator_thread(look="native", dims=6) as sim:
        assert desk.call(*run, "--base-url", sim.url).code == 0
    write(desk, texts(3))
    with simulator_thread(look="native", dims=8) as sim:
        ran = desk.call(*run, "--base-url", sim.url, "--max-wait", "1s")
    assert ran.code != 0
    assert "those before it have 6" in ran.err + ran.out + str(desk.lines("results.errors.jsonl"))


@pytest.mark.parametrize(
    ("how", "flags"), [("error", None), ("truncate", ["input_truncated"]), ("split", ["input_split"])]
)
def test_a_text_that_is_too_long(desk: Desk, how: str, flags: list[str] | None) -> None:
    """It is an error line, or its beginning or its pieces are embedded; those that shared its request are as ever."""
    long = " ".join(f"word{number}" for number in range(300))
    write(desk, {**texts(20), "long": long})
    for look in ("native", "openai"):
        with simulator_thread(look=look, context=64) as sim:
            args = ("--prefix", "doc: ", "--on-overflow", how, "--overwrite")
            assert embed(desk, sim, *args).code == (0 if flags else 3)
        array = np.load(desk.path / "notes.npy")
        assert array[:20].tolist() == [vector(f"doc: {text}") for text in texts(20).values()]
        lines = {line["id"]: line for line in desk.lines(RESULTS)}
        assert lines.get("long", {}).get("flags") == flags
        assert np.isnan(array[20]).all() == (flags is None)
        if flags:
            assert 0 < np.linalg.norm(array[20]) <= 1.0001
            assert (np.linalg.norm(array[20]) < 0.99) == (how == "split")


def test_chunks_have_rows_of_their_own(desk: Desk, sim: Simulator) -> None:
    """Under the id of their file, with their place in it; of a file that changed those chunks are asked that did."""
    folder = desk.path / "notes"
    folder.mkdir()
    bodies = {name: "".join(f"Sentence {number} of {name}. " for number in range(40)) for name in ("a.md", "b.md")}
    bodies["c.md"] = "A short one."

    def run(*more: str) -> Ran:
        for name, body in bodies.items():
            (folder / name).write_text(body)
        args = ("--base-url", sim.url, "-m", "simulator", "--embed", "{{ text }}", "--chunk", "60t", "--overlap", "10t")
        return desk.call("run", "notes/*.md", *args, "--vectors", "notes.npy", *more)

    def check() -> int:
        names, array = json.loads((desk.path / "notes.npy.ids.json").read_text()), np.load(desk.path / "notes.npy")
        lines = {line["id"]: line for line in desk.lines(RESULTS)}
        counts = dict.fromkeys(bodies, 0)
        for name, row in zip(names, array, strict=True):
            of, _, number = name.rpartition("#")
            place = lines[name]["meta"]
            assert (place["of"], int(number)) == (of, counts[of])
            assert row.tolist() == vector(bodies[of][place["start"] : place["end"]])
            counts[of] += 1
        assert list(counts) == [*dict.fromkeys(name.rpartition("#")[0] for name in names)]
        assert counts["a.md"] == counts["b.md"] > 5 > counts["c.md"] == 1
        assert desk.call("verify", "notes/*.md", RESULTS).code == 0
        return len(names)

    assert run().code == 0
    count = check()
    sim.tally.counts.clear()
    bodies["b.md"] = bodies["b.md"].removesuffix("Sentence 39 of b.md. ") + "Another end of b.md. "
    assert run().code == 65  # the request under an id is another
    assert run("--on-change", "rerun").code == 0
    assert check() == count
    assert 1 <= len(sim.counts) <= 2
    sim.tally.counts.clear()
    assert run("--on-change", "rerun").code == 0
    assert not sim.counts


def test_an_array_of_finished_results(desk: Desk, native: Simulator) -> None:
    """`export` makes the one that the run made, of a store or of numbers on lines; rows that failed are NaN."""
    write(desk, {**texts(9), "failed": "[[sim do=bad]]"})
    assert embed(desk, native).code == 3
    made = (desk.path / "notes.npy").read_bytes()
    for form in ("float", "base64"):
        args = ("--base-url", native.url, "-m", "simulator", "-o", f"{form}.jsonl", "--embedding-format", form)
        assert desk.call("run", "jobs.jsonl", *args).code == 3
    for results in (RESULTS, "float.jsonl", "base64.jsonl"):
        ran = desk.call("export", results, "-o", "again.npy")
        assert (ran.code, "10 rows" in ran.err) == (0, True), ran.err
        assert (desk.path / "again.npy").read_bytes() == made
        assert json.loads((desk.path / "again.npy.ids.json").read_text())[-1] == "failed"
    (desk.path / "mine.npy").write_text("not an array")
    assert desk.call("export", RESULTS, "-o", "mine.npy").code == 73
    assert (desk.path / "mine.npy").read_text() == "not an array"
    desk.write("prompts.jsonl", {"id": "a", "prompt": "Hi"})
    assert desk.call("run", "prompts.jsonl", "--base-url", native.url, "-m", "simulator", "-o", "p.jsonl").code == 0
    ran = desk.call("export", "p.jsonl", "-o", "p.npy")
    assert (ran.code, "there is no vector in the results" in ran.err) == (2, True)


@pytest.mark.parametrize("left", [0, 1000, 4096, 4096 + 5 * 32, -1])
def test_a_torn_store_costs_what_it_lost(desk: Desk, native: Simulator, left: int) -> None:
    """Cut off by whatever size, though it was on the disk: what is gone is asked again, and nothing else."""
    wanted = texts(12)
    write(desk, wanted)
    assert embed(desk, native).code == 0
    store = desk.path / "notes.npy.vectors"
    os.truncate(store, left if left >= 0 else store.stat().st_size + left)
    native.tally.counts.clear()
    assert embed(desk, native).code == 0
    assert len(native.counts) == 12 - max(0, (left if left >= 0 else 4096 + 11 * 32) - 4096) // 32
    holds(desk, wanted)


def test_a_vector_that_is_not_what_was_written_is_asked_again(desk: Desk, native: Simulator) -> None:
    """The run that finds it says so and leaves it out; the next one has it anew, whatever was written between."""
    wanted = texts(12)
    write(desk, wanted)
    assert embed(desk, native).code == 0
    with (desk.path / "notes.npy.vectors").open("r+b") as store:
        store.seek(4096 + 3 * 32)
        store.write(b"XXXX")
    wanted["more"] = "one more text"
    write(desk, wanted)
    ran = embed(desk, native)
    assert ran.code == 74
    assert "the same command asks for them again" in ran.err
    native.tally.counts.clear()
    assert embed(desk, native).code == 0
    assert list(native.counts) == ["text number 3"]
    holds(desk, wanted)


def test_a_list_of_ids_that_is_another_is_found(desk: Desk, native: Simulator) -> None:
    """Cut, or of other rows: `verify` says so, and the same command makes it anew. It may be gone."""
    wanted = texts(6)
    write(desk, wanted)
    assert embed(desk, native).code == 0
    beside = desk.path / "notes.npy.ids.json"
    whole = beside.read_bytes()
    exchanged = b"[" + b",\n".join(json.dumps(name).encode() for name in json.loads(whole)[::-1]) + b"]\n"
    assert len(exchanged) == len(whole)
    for spoilt in (whole[:-9], b"", whole + b"1", exchanged):
        beside.write_bytes(spoilt)
        assert "misplaced" in desk.call("verify", "jobs.jsonl", RESULTS).out
    assert embed(desk, native).code == 0
    holds(desk, wanted)
    beside.unlink()
    assert desk.call("verify", "jobs.jsonl", RESULTS).code == 0
