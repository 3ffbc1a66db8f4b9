"""`batcher merge`: parts of one input become one file, whole or not at all; what contradicts them ends it in words."""

from __future__ import annotations

import fcntl
import gzip
import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pytest
from support.commandline import Desk

from batcher.failures import Exit
from batcher.inputs.formats import parse_job
from batcher.inputs.formats.defaults import Defaults
from batcher.simulator import simulator_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from support.commandline import Ran

    from batcher.simulator import Simulator

ROWS = 24
PARTS = 3
BAD = "q5"


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    with simulator_thread() as server:
        yield server


@pytest.fixture(scope="module")
def made(sim: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The parts of three runs, of which one has a row that always fails."""
    desk = Desk(tmp_path_factory.mktemp("parts"))
    (desk.path / "parts").mkdir()
    desk.write("jobs.jsonl", *jobs())
    for part in range(1, PARTS + 1):
        run(desk, sim, f"{part}/{PARTS}")
    return desk.path


@pytest.fixture
def parts(made: Path, tmp_path: Path) -> Desk:
    shutil.copytree(made, tmp_path / "desk")
    return Desk(tmp_path / "desk")


def jobs() -> list[dict[str, Any]]:
    lines = [{"id": f"q{number}", "prompt": f"say {number}"} for number in range(ROWS)]
    lines[5]["prompt"] = "[[sim status=400]]"
    return lines


def run(desk: Desk, sim: Simulator, shard: str, *args: str, model: str = "simulator") -> Ran:
    return desk.call(
        *("run", "jobs.jsonl", "--shard", shard, "-o", "parts/out-{shard}.jsonl", "-q"),
        *("--base-url", sim.url, "-m", model, *args),
    )


def merge(desk: Desk, *args: str, out: str = "all.jsonl") -> Ran:
    return desk.call("merge", "parts/*.jsonl", "-o", out, *args)


def part(desk: Desk, number: int, ending: str = "jsonl") -> Path:
    return desk.path / "parts" / f"out-{number}-of-{PARTS}.{ending}"


def change(path: Path, act: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
    lines = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    path.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in act(lines)))


def test_parts_become_one_file(parts: Desk, sim: Simulator) -> None:
    """In the input's order, each line as it was, with the failure that stands, and taken for a run's own by all."""
    ran = merge(parts)
    assert (ran.code, ran.err) == (Exit.SOME_FAILED, "")
    assert [line["seq"] for line in parts.lines("all.jsonl")] == [seq for seq in range(ROWS) if f"q{seq}" != BAD]
    lines = {line["id"]: line for one in (1, 2, 3) for line in parts.lines(f"parts/out-{one}-of-3.jsonl")}
    assert parts.lines("all.jsonl") == sorted(lines.values(), key=lambda line: line["seq"])
    assert list(parts.errors("all.errors.jsonl")) == [BAD]
    assert "failed     1:" in ran.out
    assert "line 6 (q5)" in ran.out
    assert sorted(path.name for path in parts.path.iterdir()) == [
        *("all.errors.jsonl", "all.jsonl", "all.state.json", "jobs.jsonl", "parts")
    ]
    verified = json.loads(parts.call("verify", "jobs.jsonl", "all.jsonl", "--json").out)
    assert (verified["ok"], verified["findings"]["failed"]["count"], verified["findings"]["extra"]["count"]) == (
        23,
        1,
        0,
    )
    assert parts.call("export", "all.jsonl", "-o", "all.csv").code == Exit.OK
    assert parts.call("stats", "all.jsonl").code == Exit.OK
    before = sim.tally.paths["/api/generate"]
    again = parts.call("run", "jobs.jsonl", "-o", "all.jsonl", "--base-url", sim.url, "-m", "simulator", "-q")
    assert (again.code, sim.tally.paths["/api/generate"] - before) == (Exit.SOME_FAILED, 1)


def test_what_is_missing_is_named_and_asked_for(parts: Desk, sim: Simulator) -> None:
    """A part that is not there: its rows are counted and named, and a run on OUT asks for these and no others."""
    gone = parts.ids("parts/out-2-of-3.jsonl")
    for path in parts.path.glob("parts/out-2-of-3*"):
        path.unlink()
    ran = merge(parts, "--json")
    said = json.loads(ran.out)
    assert (ran.code, said["exit"], said["absent"]) == (Exit.SOME_FAILED, Exit.SOME_FAILED, ["2/3"])
    assert said["findings"]["missing"]["count"] == len(gone)
    assert {place["id"] for place in said["findings"]["missing"]["first"]} <= set(gone)
    assert "of part 2/3" in merge(parts, out="other.jsonl").out
    before = sim.tally.paths["/api/generate"]
    parts.call("run", "jobs.jsonl", "-o", "all.jsonl", "--base-url", sim.url, "-m", "simulator", "-q")
    assert sim.tally.paths["/api/generate"] - before == len(gone) + 1
    assert parts.ids("all.jsonl") == sorted({f"q{number}" for number in range(ROWS)} - {BAD})


def test_a_result_counts_where_another_part_has_a_failure(parts: Desk) -> None:
    """A part that was run again, with --done-from, has what failed before."""
    line = parts.lines("parts/out-1-of-3.jsonl")[0]
    parts.write("parts/late.jsonl", line | {"id": BAD, "seq": 5, "hash": hash_of(5)})
    assert merge(parts).code == Exit.OK
    assert not (parts.path / "all.errors.jsonl").exists()
    assert [line["id"] for line in parts.lines("all.jsonl")] == [f"q{number}" for number in range(ROWS)]


def hash_of(number: int) -> str:
    return parse_job(orjson.dumps(jobs()[number]), number, Defaults(model="simulator")).hash


def two_results(desk: Desk) -> None:
    line = desk.lines("parts/out-1-of-3.jsonl")[0]
    change(part(desk, 2), lambda lines: [*lines, line | {"text": "another answer"}])


def another_request(desk: Desk) -> None:
    change(part(desk, 2), lambda lines: [lines[0] | {"hash": "0" * 16}, *lines[1:]])


def another_model(desk: Desk) -> None:
    change_state(desk, lambda state: state["run"].update(model="other"))


def other_rows(desk: Desk) -> None:
    change_state(desk, lambda state: state["selection"].update(limit=3))


def change_state(desk: Desk, act: Callable[[dict[str, Any]], object], numbers: Sequence[int] = (2,)) -> None:
    for number in numbers:
        path = part(desk, number, "state.json")
        state = orjson.loads(path.read_bytes())
        act(state)
        path.write_bytes(orjson.dumps(state))


def another_input(desk: Desk) -> None:
    change(part(desk, 2), lambda lines: [lines[0] | {"id": "stranger"}, *lines[1:]])


def no_results(desk: Desk) -> None:
    part(desk, 2).write_bytes(b"some words\n")


def packed(desk: Desk) -> None:
    path = part(desk, 2)
    path.write_bytes(gzip.compress(path.read_bytes()))


@pytest.mark.parametrize(
    ("harm", "code", "words"),
    [
        (packed, Exit.INPUT, "parts/out-2-of-3.jsonl: is packed (gzip): unpack it first"),
        (two_results, Exit.INPUT, "two parts have results of 1 id: q"),
        (another_request, Exit.INPUT, "answer other requests"),
        (another_model, Exit.INPUT, "model simulator → other"),
        (other_rows, Exit.INPUT, "limit"),
        (another_input, Exit.INPUT, "stranger in parts/out-2-of-3.jsonl"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_contradicts_the_parts_ends_it(parts: Desk, harm: Callable[[Desk], None], code: Exit, words: str) -> None:
    """The file and the row are named, and nothing is left."""
    harm(parts)
    before = sorted(path.name for path in parts.path.iterdir())
    ran = merge(parts)
    assert (ran.code, words in ran.err) == (code, True), ran.err
    assert sorted(path.name for path in parts.path.iterdir()) == before


def test_a_typed_part_has_to_be_one_of_results(parts: Desk) -> None:
    """A pattern passes over what holds no results, and the file that was typed is told."""
    no_results(parts)
    assert merge(parts).code == Exit.SOME_FAILED
    ran = parts.call("merge", str(part(parts, 1)), str(part(parts, 2)), "-o", "b.jsonl")
    assert (ran.code, "out-2-of-3.jsonl: holds no results" in ran.err) == (Exit.INPUT, True)
    ran = parts.call("merge", "none/*.jsonl", "-o", "b.jsonl", "--input", "jobs.jsonl")
    assert (ran.code, "there is no file" in ran.err) == (Exit.INPUT, True)
    ran = parts.call("merge", "jobs.*", "-o", "b.jsonl", "--input", "jobs.jsonl")
    assert (ran.code, "none of the 1 files holds results" in ran.err) == (Exit.INPUT, True)


def test_the_first_of_two_results_on_request(parts: Desk) -> None:
    """Both answer the same request, and were paid for; whoever wants one of them says so."""
    two_results(parts)
    ran = merge(parts, "--keep-first")
    assert "1 result of ids that had one in a part named before" in ran.out
    assert "another answer" not in {line["text"] for line in parts.lines("all.jsonl")}
    assert parts.ids("all.jsonl") == sorted({f"q{number}" for number in range(ROWS)} - {BAD})
    another_request(parts)
    line = parts.lines("parts/out-2-of-3.jsonl")[0]
    change(part(parts, 1), lambda lines: [*lines, line | {"hash": "1" * 16}])
    ran = merge(parts, "--keep-first", out="b.jsonl")
    assert (ran.code, "to different requests" in ran.err) == (Exit.INPUT, True)


def test_the_same_file_by_two_names_is_one_part(parts: Desk) -> None:
    ran = parts.call("merge", "parts/*.jsonl", str(part(parts, 1)), "-o", "all.jsonl")
    assert (ran.code, "of 3 parts" in ran.out) == (Exit.SOME_FAILED, True)


@pytest.mark.parametrize("name", ["all.jsonl", "all.errors.jsonl", "all.state.json", "all.vectors", "all.jsonl.part"])
def test_out_and_what_is_beside_it_is_left_alone(parts: Desk, name: str) -> None:
    """Nothing that is there is replaced."""
    (parts.path / name).write_bytes(b"mine")
    ran = merge(parts)
    assert (ran.code, f"{name}: is there" in ran.err) == (Exit.CANNOT_CREATE, True)
    assert (parts.path / name).read_bytes() == b"mine"
    assert len([*parts.path.iterdir()]) == 3


def test_a_part_that_is_being_written(parts: Desk) -> None:
    """What comes meanwhile would be in one file and not in the other."""
    with part(parts, 2).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        ran = merge(parts)
    assert (ran.code, "out-2-of-3.jsonl: a run is writing this file" in ran.err) == (Exit.LOCKED, True)


def test_parts_as_killed_runs_left_them(parts: Desk) -> None:
    """A torn line is no result, a last line without its end is one; neither part is changed."""
    torn, unended = part(parts, 1), part(parts, 2)
    lines = torn.read_bytes().splitlines(keepends=True)
    torn.write_bytes(b"".join(lines)[:-20])
    unended.write_bytes(unended.read_bytes()[:-1])
    before = torn.read_bytes(), unended.read_bytes()
    ran = merge(parts, "--json")
    said = json.loads(ran.out)
    assert (said["unreadable"], said["findings"]["missing"]["count"]) == (1, 1)
    assert said["findings"]["missing"]["first"][0]["id"] == orjson.loads(lines[-1])["id"]
    assert (torn.read_bytes(), unended.read_bytes()) == before
    assert len(parts.lines("all.jsonl")) == ROWS - 2


def test_parts_without_state_files(parts: Desk) -> None:
    """Ids and hashes say what state files would; what nobody tells is to be said, and a model is guessed."""
    for path in parts.path.glob("parts/*.state.json"):
        path.unlink()
    ran = merge(parts)
    assert (ran.code, "say which input they are of with --input" in ran.err) == (Exit.USAGE, True)
    assert merge(parts, "--input", "jobs.jsonl").code == Exit.SOME_FAILED
    assert orjson.loads((parts.path / "all.state.json").read_bytes())["run"] == {"model": "simulator"}
    ran = merge(parts, "--input", "jobs.jsonl", "-m", "other", out="b.jsonl")
    assert (ran.code, "answer other requests" in ran.err) == (Exit.INPUT, True)


def test_an_input_that_lies_elsewhere_by_now(parts: Desk) -> None:
    """Its path and its times say nothing: what is on its lines does. Rows that came are missing."""
    lines = [*jobs(), {"id": "new", "prompt": "say"}]
    (parts.path / "jobs.jsonl").unlink()
    parts.write("moved.jsonl", *reversed(lines))
    said = json.loads(merge(parts, "--input", "moved.jsonl", "--json").out)
    assert [place["id"] for place in said["findings"]["missing"]["first"]] == ["new"]
    order = [line["id"] for line in lines[::-1]]
    merged = [line["id"] for line in parts.lines("all.jsonl")]
    assert merged == [ident for ident in order if ident in merged]


def test_what_is_no_results_file(parts: Desk) -> None:
    for out in ("all.csv", "-"):
        ran = merge(parts, out=out)
        assert (ran.code, "makes a file of results" in ran.err) == (Exit.USAGE, True)


def test_tables_stand_for_their_results(parts: Desk, sim: Simulator) -> None:
    """Parts with -o out.csv have their results beside the table."""
    for path in parts.path.glob("parts/*"):
        path.unlink()
    for one in ("1/2", "2/2"):
        table = ("-o", "parts/out-{shard}.csv", "-q", "--base-url", sim.url, "-m", "simulator")
        parts.call("run", "jobs.jsonl", "--shard", one, *table)
    ran = parts.call("merge", "parts/*.csv", "-o", "all.jsonl")
    assert (ran.code, "23 results of 2 parts" in ran.out) == (Exit.SOME_FAILED, True)
    assert merge(parts, out="b.jsonl").code == Exit.SOME_FAILED
    assert (parts.path / "all.jsonl").read_bytes() == (parts.path / "b.jsonl").read_bytes()


def test_vectors_come_along(desk: Desk, sim: Simulator) -> None:
    """One store and one array of all parts' vectors; a row that a part has lost is asked again."""
    (desk.path / "parts").mkdir()
    desk.write("jobs.jsonl", *[{"id": f"t{number}", "input": f"text {number % 9}"} for number in range(12)])
    one = ("-o", "parts/v-{shard}.jsonl", "--base-url", sim.url, "-m", "simulator", "-q")
    for shard in ("1/2", "2/2"):
        assert (
            desk.call("run", "jobs.jsonl", *one, "--shard", shard, "--vectors", "parts/v-{shard}.npy").code == Exit.OK
        )
    whole = ("-o", "whole.jsonl", "--base-url", sim.url, "-m", "simulator", "-q", "--vectors", "whole.npy")
    assert desk.call("run", "jobs.jsonl", *whole).code == Exit.OK
    assert desk.call("merge", "parts/*.jsonl", "-o", "all.jsonl", "--vectors", "all.npy").code == Exit.OK
    assert np.array_equal(np.load(desk.path / "all.npy"), np.load(desk.path / "whole.npy"))
    assert desk.call("verify", "jobs.jsonl", "all.jsonl", "--vectors", "all.npy").code == Exit.OK
    rows = [{line["vector"]["row"] for line in desk.lines(f"parts/v-{one}-of-2.jsonl")} for one in (1, 2)]
    assert len({line["vector"]["row"] for line in desk.lines("all.jsonl")}) == sum(map(len, rows)) < 12
    store = desk.path / "parts/v-1-of-2.vectors"
    store.write_bytes(store.read_bytes()[:-4])
    said = json.loads(desk.call("merge", "parts/*.jsonl", "-o", "some.jsonl", "--json").out)
    assert (said["lost"] >= 1, said["lost"]) == (True, said["findings"]["missing"]["count"])
    assert desk.call("verify", "jobs.jsonl", "some.jsonl").code == Exit.SOME_FAILED
    more = ("-o", "some.jsonl", "--base-url", sim.url, "-m", "simulator", "-q", "--vectors", "some.npy")
    assert desk.call("run", "jobs.jsonl", *more).code == Exit.OK
    assert np.array_equal(np.load(desk.path / "some.npy"), np.load(desk.path / "whole.npy"))
    store.unlink()
    said = json.loads(desk.call("merge", "parts/*.jsonl", "-o", "few.jsonl", "--json").out)
    assert said["lost"] == len(desk.lines("parts/v-1-of-2.jsonl"))


@pytest.mark.parametrize(
    ("array", "out", "code", "words"),
    [
        ("parts/out-1-of-3.jsonl", "all.jsonl", Exit.USAGE, "name it .npy"),
        ("parts/out-1-of-3.state.json", "all.jsonl", Exit.USAGE, "name it .npy"),
        ("all.jsonl", "all.jsonl", Exit.USAGE, "both the results file and the array"),
        ("all.vectors", "all.jsonl", Exit.USAGE, "both the store of vectors and the array"),
        ("all.npy", "all.npy", Exit.USAGE, "both the results file and the array"),
        ("gone/all.npy", "all.jsonl", Exit.CANNOT_CREATE, "is no directory"),
        ("mine.npy", "all.jsonl", Exit.CANNOT_CREATE, "mine.npy: is there already"),
        ("ids.npy", "all.jsonl", Exit.CANNOT_CREATE, "ids.npy.ids.json: is there already"),
        ("link.npy", "all.jsonl", Exit.CANNOT_CREATE, "link.npy: is there"),
    ],
)
def test_an_array_takes_no_place_of_another_file(parts: Desk, array: str, out: str, code: Exit, words: str) -> None:
    """It is refused before there is an OUT."""
    np.save(parts.path / "mine.npy", np.zeros(3))
    (parts.path / "ids.npy.ids.json").write_text("[]")
    (parts.path / "link.npy").symlink_to("parts/out-1-of-3.jsonl")
    before = {path: path.read_bytes() for path in parts.path.rglob("*") if path.is_file()}
    ran = merge(parts, "--vectors", array, out=out)
    assert (ran.code, words in ran.err) == (code, True), ran.err
    assert {path: path.read_bytes() for path in parts.path.rglob("*") if path.is_file()} == before


def test_an_array_of_parts_without_vectors(parts: Desk) -> None:
    """There is none, which is said."""
    ran = merge(parts, "--vectors", "all.npy")
    assert (ran.code, "all.npy is not made: no result of the parts has a vector" in ran.err) == (3, True)
    assert not (parts.path / "all.npy").exists()


def test_a_selection_of_a_later_version(parts: Desk) -> None:
    """What cannot be read of a state file is said."""
    change_state(parts, lambda state: state["selection"].update(of_tomorrow=1), range(1, PARTS + 1))
    ran = merge(parts)
    assert (ran.code, "which rows the last run took cannot be read" in ran.err) == (Exit.SOME_FAILED, True)
    assert len(parts.lines("all.jsonl")) == ROWS - 1


def test_places_of_rows_that_were_asked_several_times(parts: Desk, sim: Simulator) -> None:
    """A line of the input is named, and not the number of a job: by `verify`, too."""
    for path in parts.path.glob("parts/*"):
        path.unlink()
    for shard in ("1/2", "2/2"):
        run(parts, sim, shard, "--repeat", "2")
    said = [
        json.loads(merge(parts, "--json").out),
        json.loads(parts.call("verify", "jobs.jsonl", "all.jsonl", "--json").out),
    ]
    places = [{"line": 6, "id": f"{BAD}~{turn}"} for turn in (1, 2)]
    assert [one["findings"]["failed"]["first"] for one in said] == [places, places]


def test_vectors_of_two_kinds_are_refused(desk: Desk, sim: Simulator) -> None:
    """Numbers of two widths are no array."""
    (desk.path / "parts").mkdir()
    desk.write("jobs.jsonl", *[{"id": f"t{number}", "input": f"text {number}"} for number in range(8)])
    for shard, width in (("1/2", "float16"), ("2/2", "float32")):
        one = ("-o", "parts/v-{shard}.jsonl", "--base-url", sim.url, "-m", "simulator", "-q")
        wish = ("--vectors", "parts/v-{shard}.npy", "--vectors-dtype", width)
        assert desk.call("run", "jobs.jsonl", *one, "--shard", shard, *wish).code == Exit.OK
    ran = desk.call("merge", "parts/*.jsonl", "-o", "all.jsonl")
    assert (ran.code, "one file has one kind" in ran.err) == (Exit.INPUT, True)
    assert sorted(path.name for path in desk.path.iterdir()) == ["jobs.jsonl", "parts"]


def test_images_come_along(parts: Desk) -> None:
    """Their files are beside OUT, and its lines say where."""
    (parts.path / "parts/out-1-of-3.images").mkdir()
    (parts.path / "parts/out-1-of-3.images/a.png").write_bytes(b"picture")
    change(part(parts, 1), lambda lines: [lines[0] | {"image": "out-1-of-3.images/a.png"}, *lines[1:]])
    merge(parts)
    [named] = [line["image"] for line in parts.lines("all.jsonl") if "image" in line]
    assert (parts.path / named).read_bytes() == b"picture"
    assert named == "all.images/a.png"


def test_images_of_one_name_are_kept_apart(parts: Desk) -> None:
    """Of parts in two directories; the same picture is there once."""
    lines = []
    for number, picture in enumerate((b"one", b"two", b"one"), 1):
        (parts.path / f"{number}").mkdir()
        for path in parts.path.glob(f"parts/out-{number}-of-3.*"):
            path.rename(parts.path / f"{number}" / path.name.replace(f"-{number}-of-3", ""))
        (parts.path / f"{number}/out.images").mkdir()
        (parts.path / f"{number}/out.images/a.png").write_bytes(picture)
        lines.append(parts.lines(f"{number}/out.jsonl")[0]["id"])
        change(parts.path / f"{number}/out.jsonl", lambda some: [some[0] | {"image": "out.images/a.png"}, *some[1:]])
    ran = parts.call("merge", "1/out.jsonl", "2/out.jsonl", "3/out.jsonl", "-o", "all.jsonl")
    assert ran.code == Exit.SOME_FAILED, ran.err
    named = {line["id"]: line["image"] for line in parts.lines("all.jsonl") if "image" in line}
    assert [(parts.path / named[ident]).read_bytes() for ident in lines] == [b"one", b"two", b"one"]
    assert len([*(parts.path / "all.images").iterdir()]) == 2


KILLING = """
import os, signal, sys
from itertools import count
from pathlib import Path
from batcher.cli import main
from batcher.ledger import disk

ARGS = ["batcher", "merge", "parts/*.jsonl", "-o", "all.jsonl", "--json"]
def merge(steps):
    pid = os.fork()
    if not pid:
        left = steps
        def dying(function):
            def step(*args, **settings):
                nonlocal left
                left -= 1
                if not left:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*args, **settings)
            return step
        for owner, name in ((disk, "_write"), (disk, "sync"), (Path, "rename"), (Path, "unlink"), (os, "link"),
                            (os, "ftruncate"), (os, "pwrite")):
            setattr(owner, name, dying(getattr(owner, name)))
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        try:
            main()
        except SystemExit as end:
            os._exit(end.code)
        os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def made():
    return {path.name: path.read_bytes() for path in Path().glob("*all.*") if path.name != "all.state.json"}

def clear():
    for path in Path().glob("*all.*"):
        path.unlink()
    for path in Path().glob(".*"):
        path.unlink()

sys.argv = ARGS
try:
    main()  # here, so that those that die have imported everything
except SystemExit as end:
    assert end.code == 3
whole = made()
assert {"all.jsonl", "all.errors.jsonl"} <= whole.keys(), whole
deaths = 0
for step in count(1):
    clear()
    code = merge(step)
    if code != -signal.SIGKILL:
        assert code == 3, code
        break
    deaths += 1
    found = made()
    if "all.jsonl" in found:
        assert found == whole or {**found, ".all.jsonl.merge": b""} == {**whole, ".all.jsonl.merge": b""}
    else:
        assert merge(0) == 3, step
        assert made() == whole and not list(Path().glob(".all*")), step
print(deaths)
"""


@pytest.mark.slow
def test_a_merge_that_is_killed_leaves_all_or_nothing(parts: Desk) -> None:
    """At each step at which it changes a file; and the same command makes it whole."""
    done = subprocess.run(
        [sys.executable, "-c", KILLING], cwd=parts.path, env=parts.env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) > 8
