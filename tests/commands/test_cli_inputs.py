"""Every input by the command, with what is promised of JSONL: resume, changes, verify, check, dry run, errors."""

from __future__ import annotations

import gzip
from os import urandom
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from support.datasets import DATASETS, Dataset, delimited

from batcher.inputs.formats.objects import read_object
from batcher.running import resumption
from batcher.simulator import simulator_thread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.commandline import Desk

    from batcher.simulator import BackgroundSimulator

NAMES = [f"q{number}" for number in range(7)]


@pytest.fixture(scope="module")
def sim() -> Iterator[BackgroundSimulator]:
    with simulator_thread() as simulator:
        yield simulator


def rows(**changed: str) -> list[dict[str, Any]]:
    """Rows whose prompts have all that tables find hard."""
    hard = ', "quoted"; a\ttab,\na second line, é and 🙂'
    return [
        {"id": name, "prompt": changed.get(name, f"say {name}{hard}"), **({"temperature": 0.5} if name == "q3" else {})}
        for name in NAMES
    ]


def command(dataset: Dataset, sim: BackgroundSimulator, *more: str) -> list[str]:
    args = dataset.args or (dataset.name,)
    return ["run", *args, "-o", "results.jsonl", "-m", "simulator", "--base-url", sim.url, *more]


@pytest.mark.slow
@pytest.mark.parametrize("name", DATASETS)
def test_promises(desk: Desk, sim: BackgroundSimulator, name: str) -> None:
    """What holds of JSONL holds of every input: one life from the dry run to the second question."""
    dataset = DATASETS[name]
    is_files = dataset.unit == "file"
    ids = [f"{one}.md" for one in NAMES] if is_files else NAMES
    dataset.write(desk.path / dataset.name, rows())
    args = dataset.args or (dataset.name,)

    shown = desk.call("run", *args, "-m", "simulator", "--base-url", sim.url, "--dry-run", "-n", "3")
    assert shown.code == 0
    asked = [orjson.loads(text[text.index("{") :]) for text in shown.out.split("POST")[1:]]
    assert [body["prompt"] for body in asked] == [row["prompt"] for row in rows()[:3]]

    checked = desk.call("check", *args, "-m", "simulator", "--base-url", sim.url)
    assert (checked.code, "7 jobs" in checked.out) == (0, True), checked.out + checked.err

    before = sim.tally.answered.total()
    ran = desk.call(*command(dataset, sim, "-n", "4"))
    assert (ran.code, "4 prompts to /api/generate" in ran.err) == (0, True), ran.err
    assert [line["id"] for line in sorted(desk.lines(), key=lambda line: line["seq"])] == ids[:4]
    assert desk.call(*command(dataset, sim)).code == 0
    assert [line["id"] for line in sorted(desk.lines(), key=lambda line: line["seq"])] == ids
    assert desk.call(*command(dataset, sim)).code == 0
    assert sim.tally.answered.total() - before == len(ids)
    state = orjson.loads((desk.path / "results.state.json").read_bytes())
    assert state["seal"]["alone"]

    verified = desk.call("verify", *args, "results.jsonl")
    assert (verified.code, "complete" in verified.out) == (0, True), verified.out

    dataset.write(desk.path / dataset.name, rows(q2="something else"))
    changed = desk.call(*command(dataset, sim))
    assert changed.code == 65
    assert "q2" in changed.err
    place = "jobs/q2.md" if is_files else f"{dataset.unit} 3"
    assert place in changed.err
    assert desk.call("verify", *args, "results.jsonl").code == 3
    assert desk.call(*command(dataset, sim, "--on-change", "rerun")).code == 0
    assert sim.tally.answered.total() - before == len(ids) + 1
    assert desk.ids() == ids
    assert desk.call("verify", *args, "results.jsonl").code == 0


@pytest.mark.parametrize("name", [name for name, dataset in DATASETS.items() if dataset.unit != "file"])
def test_bad_rows_cost_themselves(desk: Desk, sim: BackgroundSimulator, name: str) -> None:
    """An error line says in which file and row; the other rows have their results."""
    dataset = DATASETS[name]
    wrong = [dict(row) for row in rows()]
    wrong[1]["prompt"] = " "
    wrong[4]["temperature"] = "warm"
    if "parquet" in name or name in ("arrow", "feather"):  # a column has one type
        wrong[3].pop("temperature")
    dataset.write(desk.path / dataset.name, wrong)
    ran = desk.call(*command(dataset, sim))
    assert ran.code == 3, ran.err
    assert desk.errors() == {"q1": "empty_prompt", "q4": "input_invalid"}
    is_plain = name in ("jsonl", "looked-at", "jsonl.gz", "jsonl.zst")
    file = {} if is_plain else {"file": dataset.args[0].partition("#")[0] if dataset.args else dataset.name}
    places = [
        {key: line[key] for key in ("file", "line", "row") if key in line}
        for line in desk.lines("results.errors.jsonl")
    ]
    assert places == [{**file, dataset.unit: 2}, {**file, dataset.unit: 5}]
    checked = desk.call("check", *(dataset.args or (dataset.name,)), "-m", "simulator", "--base-url", sim.url)
    assert checked.code == 65
    assert f"{dataset.unit} 5" in checked.out


@pytest.mark.slow
def test_several_inputs(desk: Desk, sim: BackgroundSimulator) -> None:
    """One run in the order of the arguments; an id that two of them share is told, and the same command goes on."""
    for name, own in (("csv", rows()[:4]), ("parquet", rows()[3:]), ("json", [{"id": "q1", "prompt": "another"}])):
        DATASETS[name].write(desk.path / DATASETS[name].name, own)
    several = ["run", "jobs.csv", "jobs.parquet", "jobs.json", "-m", "simulator", "--base-url", sim.url]
    refused = desk.call(*several)
    assert (refused.code, "-o FILE" in refused.err) == (2, True)
    before = sim.tally.answered.total()
    for _ in range(2):
        ran = desk.call(*several, "-o", "results.jsonl")
        assert ran.code == 3
        assert "1 repeated" in ran.err or "repeat" in ran.err
        assert desk.ids() == NAMES
        [line] = desk.lines("results.errors.jsonl")
        assert (line["error"]["code"], line["file"], line["row"], line["seq"]) == ("duplicate_id", "jobs.json", 1, 8)
    assert sim.tally.answered.total() - before == len(NAMES)
    assert desk.call("verify", "jobs.csv", "jobs.parquet", "jobs.json", "results.jsonl").code == 3


def test_inputs_that_need_a_name_for_the_results(desk: Desk) -> None:
    """A directory, a pattern, a database, a URL and standard input have none of their own."""
    (desk.path / "notes").mkdir()
    (desk.path / "notes" / "a.md").write_text("x")
    for args in (["notes"], ["notes/*.md"], ["sqlite:a.db", "--sql", "SELECT 1"], ["https://h/a.csv"], ["-"]):
        refused = desk.call("run", *args, "-m", "m", "--base-url", "http://127.0.0.1:9")
        assert (refused.code, "-o FILE" in refused.err) == (2, True), args
    for name, output in (("notes", "notes/a.md"), ("notes", "notes/new.jsonl"), ("notes/*.m*", "notes/out.md")):
        refused = desk.call("run", name, "-o", output, "-m", "m", "--base-url", "http://127.0.0.1:9")
        assert (refused.code, "is the input" in refused.err) == (2, True), output
    assert sorted(path.name for path in (desk.path / "notes").iterdir()) == ["a.md"]
    away = desk.call(
        "run", "notes/*.md", "-o", "notes/out.jsonl", "-m", "m", "--base-url", "http://127.0.0.1:9", "--max-wait", "0s"
    )
    assert away.code == 69


@pytest.mark.slow
def test_a_damaged_file(desk: Desk, sim: BackgroundSimulator) -> None:
    """What was readable is run, the rest is told, and the run ends with 65; so do check and verify."""
    packed = gzip.compress(
        b"".join(orjson.dumps({"id": f"q{n}", "prompt": urandom(40).hex()}) + b"\n" for n in range(300))
    )
    (desk.path / "jobs.jsonl.gz").write_bytes(packed[: len(packed) // 2])
    told = ("-m", "simulator", "--base-url", sim.url)
    ran = desk.call("run", "jobs.jsonl.gz", "-o", "results.jsonl", *told)
    assert ran.code == 65, ran.err
    assert "cut off" in ran.err
    done = len(desk.lines())
    assert done > 50
    before = sim.tally.answered.total()
    assert desk.call("run", "jobs.jsonl.gz", "-o", "results.jsonl", *told).code == 65
    assert sim.tally.answered.total() == before
    checked = desk.call("check", "jobs.jsonl.gz", *told)
    assert (checked.code, "cut off" in checked.out) == (65, True)
    verified = desk.call("verify", "jobs.jsonl.gz", "results.jsonl")
    assert (verified.code, "cut off" in verified.err) == (65, True)
    (desk.path / "jobs.jsonl.gz").write_bytes(packed)
    assert desk.call("run", "jobs.jsonl.gz", "-o", "results.jsonl", *told).code == 0
    assert len(desk.lines()) == 300
    assert sim.tally.answered.total() - before == 300 - done


@pytest.mark.slow
def test_standard_input(desk: Desk, sim: BackgroundSimulator) -> None:
    """Whatever comes by it: told by its first bytes, or by --input-format."""
    told = ("-o", "-", "-m", "simulator", "--base-url", sim.url)
    csv = desk.run("run", "-", "--input-format", "csv", *told, stdin="id,prompt\na,hello\nb,\n")
    assert [orjson.loads(line)["id"] for line in csv.out.splitlines()] == ["a"]
    assert csv.code == 3
    text = desk.run("run", "-", *told, stdin="hello\n\nthere\n")
    assert sorted(orjson.loads(line)["seq"] for line in text.out.splitlines()) == [0, 2]
    array = desk.run("run", "-", *told, stdin='[{"id": "a", "prompt": "x"}, {"id": "b", "prompt": "y"}]')
    assert sorted(orjson.loads(line)["id"] for line in array.out.splitlines()) == ["a", "b"]


@pytest.mark.slow
def test_a_changed_row_costs_its_block(desk: Desk, sim: BackgroundSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a large input of which one row changed, a thousand are read anew, and the run asks for that one alone."""
    count = 2100  # two blocks of 1,024 rows, and a rest
    lines = [{"id": f"q{number}", "prompt": f"say {number}"} for number in range(count)]
    desk.write("jobs.jsonl", *lines)
    command = ["run", "jobs.jsonl", "-o", "results.jsonl", "-m", "simulator", "--base-url", sim.url, "-c", "32"]
    assert desk.call(*command).code == 0
    parsed = []

    def counted(data: bytes) -> dict[str, Any]:
        parsed.append(data)
        return read_object(data)

    monkeypatch.setattr("batcher.inputs.formats.jsonl.read_object", counted)
    before = sim.tally.answered.total()
    lines[1500] |= {"id": "new"}
    desk.write("jobs.jsonl", *lines)
    assert desk.call(*command).code == 0
    assert sim.tally.answered.total() - before == 1
    assert 1024 + count % 1024 <= len(parsed) < 2 * 1024 + count % 1024
    lines[100] |= {"prompt": "other"}
    desk.write("jobs.jsonl", *lines)
    refused = desk.call(*command)
    assert (refused.code, "line 101" in refused.err) == (65, True)
    lines[100] |= {"id": f"q{count - 1}", "prompt": "under the id of a later line"}
    desk.write("jobs.jsonl", *lines)
    assert desk.call(*command).code in (3, 65)
    assert len(desk.ids()) == len(set(desk.ids())) == count + 1


@pytest.fixture
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batcher.inputs.blocks.ROWS", 4)


TWELVE = [{"id": f"q{number:02}", "prompt": f"say {number}", "meta": f"say {number + 1}"} for number in range(12)]


def answered(desk: Desk, sim: BackgroundSimulator, *args: str) -> tuple[int, int]:
    """The exit code, and how many requests it took."""
    before = sim.tally.answered.total()
    code = desk.call("run", *args, "-o", "results.jsonl", "-m", "simulator", "--base-url", sim.url).code
    return code, sim.tally.answered.total() - before


@pytest.mark.usefixtures("_small_blocks")
def test_a_changed_row_under_the_id_of_another(desk: Desk, sim: BackgroundSimulator) -> None:
    """It is refused, and the other keeps its result, though nobody has looked at that one."""
    desk.write("jobs.jsonl", *TWELVE)
    assert answered(desk, sim, "jobs.jsonl") == (0, 12)
    desk.write("jobs.jsonl", TWELVE[0], {"id": "q09", "prompt": "other"}, *TWELVE[2:])
    assert answered(desk, sim, "jobs.jsonl") == (3, 0)
    assert [*desk.errors().values()] == ["duplicate_id"]
    assert len(desk.ids()) == 12


@pytest.mark.usefixtures("_small_blocks")
def test_a_changed_row_is_not_proven_before_it_has_a_result(desk: Desk, sim: BackgroundSimulator) -> None:
    """A run that never reached the server has seen the new input: the next one asks all the same."""
    desk.write("jobs.jsonl", *TWELVE)
    assert answered(desk, sim, "jobs.jsonl") == (0, 12)
    desk.write("jobs.jsonl", *TWELVE[:5], {"id": "new", "prompt": "new"}, *TWELVE[6:])
    away = ("-m", "simulator", "--base-url", "http://127.0.0.1:9", "--dialect", "openai", "--max-wait", "0s")
    assert desk.call("run", "jobs.jsonl", "-o", "results.jsonl", *away).code == 69
    assert answered(desk, sim, "jobs.jsonl") == (0, 1)
    assert "new" in desk.ids()


@pytest.mark.usefixtures("_small_blocks")
def test_what_makes_the_same_bytes_another_row(desk: Desk, sim: BackgroundSimulator) -> None:
    """Another header over the same cells, and another format of the same lines."""
    path = desk.path / "jobs.csv"
    path.write_bytes(delimited(TWELVE))
    assert answered(desk, sim, "jobs.csv") == (0, 12)
    path.write_bytes(path.read_bytes().replace(b"id,prompt,meta", b"id,meta,prompt"))
    assert answered(desk, sim, "jobs.csv") == (65, 0)
    desk.write("lines.jsonl", *TWELVE)
    assert answered(desk, sim, "lines.jsonl", "--overwrite") == (0, 12)
    assert answered(desk, sim, "lines.jsonl", "--input-format", "text") == (65, 0)  # no result is of any of its rows
    assert answered(desk, sim, "lines.jsonl", "--input-format", "text", "--overwrite") == (0, 12)


@pytest.mark.usefixtures("_small_blocks")
def test_an_input_that_is_changed_while_it_is_read_has_no_blocks(
    desk: Desk, sim: BackgroundSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row that was passed over for its seal may have become another before its checksum was taken."""
    desk.write("jobs.jsonl", *TWELVE)
    assert answered(desk, sim, "jobs.jsonl", "-n", "2") == (0, 2)
    compare = resumption.compare

    def changing(*args: Any, **settings: Any) -> None:
        compare(*args, **settings)
        text = (desk.path / "jobs.jsonl").read_bytes().replace(b'"say 1"', b'"SAY 1"')
        (desk.path / "jobs.jsonl").write_bytes(text)

    with monkeypatch.context() as patch:
        patch.setattr("batcher.running.preparation.compare", changing)
        assert answered(desk, sim, "jobs.jsonl") == (0, 10)
    assert answered(desk, sim, "jobs.jsonl") == (65, 0)
