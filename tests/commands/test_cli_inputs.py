"""Every input by the command, with what is promised of JSONL: resume, changes, verify, check, dry run, errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest
from support.datasets import DATASETS, Dataset

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

    shown = desk.call(*command(dataset, sim, "--dry-run", "-n", "3"))
    assert shown.code == 0
    asked = [orjson.loads(text[text.index("{") :]) for text in shown.out.split("POST")[1:]]
    assert [body["prompt"] for body in asked] == [row["prompt"] for row in rows()[:3]]

    checked = desk.call("check", *args, "-m", "simulator", "--base-url", sim.url)
    assert (checked.code, "7 jobs" in checked.out) == (0, True), checked.out + checked.err

    before = sim.tally.answered.total()
    assert desk.call(*command(dataset, sim, "-n", "4")).code == 0
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
