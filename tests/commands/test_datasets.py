"""Rows of a dataset as jobs: what is asked by a template, under which ids, of which rows, and how often."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from batcher.simulator import Simulator, simulator_thread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.commandline import Desk, Ran

pytestmark = pytest.mark.slow

ROWS = [{"text": f"review {number}", "stars": number % 5, "note": None} for number in range(20)]
PROMPT = ("--prompt", "Is this good? {{ text }}")


@pytest.fixture
def sim() -> Iterator[Simulator]:
    with simulator_thread() as server:
        yield server


def run(desk: Desk, sim: Simulator, *args: str) -> Ran:
    return desk.call("run", "rows.jsonl", "-o", "results.jsonl", "--base-url", sim.url, "-m", "simulator", *args)


def verified(desk: Desk, *args: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(desk.call("verify", "rows.jsonl", "results.jsonl", "--json", *args).out)
    return found


def requests(sim: Simulator) -> int:
    return sum(sim.tally.paths[path] for path in ("/api/generate", "/api/chat", "/api/embed"))


def test_a_template_makes_a_job_of_each_row(desk: Desk, sim: Simulator) -> None:
    """One line says what is sent where; a row that lacks what is asked for costs itself; `verify` agrees."""
    desk.write("rows.jsonl", *ROWS, {"txt": "no such column"}, {"text": None})
    ran = run(desk, sim, *PROMPT)
    assert ran.code == 3
    assert "22 prompts to /api/generate, made by the template" in ran.err
    assert len(desk.lines()) == len(ROWS)
    codes = sorted(desk.errors().values())
    assert codes == ["template_column", "template_null"]
    assert verified(desk)["findings"]["failed"]["count"] == 2
    assert verified(desk)["ok"] == len(ROWS)


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        ((), "20 prompts to "),
        (("-n", "7"), "7 prompts to "),
        (("--sample", "5"), "5 prompts to "),
        (("--estimate", "3"), "3 prompts to "),
        (("--repeat", "2"), "40 prompts to "),
        (("--limit-new", "4"), "at most 4 prompts (of 20) to "),
        (("--limit-new", "400"), "20 prompts to "),
        (("--shard", "1/3"), "{} prompts (part 1/3 of 20) to "),
        (("--shard", "1/3", "--repeat", "2"), "{} prompts (part 1/3 of 40) to "),
        (("--shard", "2/3", "-n", "12"), "{} prompts (part 2/3 of 12) to "),
        (("--done-from", "other.jsonl"), "about 18 prompts (of 20) to "),
        (("--done-from", "other.jsonl", "--limit-new", "3"), "at most 3 prompts (of 20) to "),
        (("--shard", "1/3", "--limit-new", "2"), "at most 2 prompts (part 1/3 of 20) to "),
    ],
)
def test_the_share_is_announced(desk: Desk, sim: Simulator, choice: tuple[str, ...], told: str) -> None:
    """What is said before anything is sent is how many will be asked, and of how many these are."""
    desk.write("rows.jsonl", *({"id": number, **row} for number, row in enumerate(ROWS)))
    desk.write("other.jsonl", *({"custom_id": name, "response": {"status_code": 200}} for name in ("3", "8", "99")))
    ran = run(desk, sim, *PROMPT, *choice)
    assert f"\nbatcher: {told.format(requests(sim))}" in f"\n{ran.err}", ran.err


def test_a_share_without_rows_is_announced(desk: Desk, sim: Simulator) -> None:
    """Of few rows most parts of many take none: that is no empty input, and no failure."""
    desk.write("rows.jsonl", *({"id": number, **row} for number, row in enumerate(ROWS[:2])))
    ran = run(desk, sim, *PROMPT, "--shard", "1/100000")
    assert (ran.code, requests(sim)) == (0, 0)
    assert "batcher: none of 2 rows is chosen for part 1/100000: there is nothing to ask\n" in ran.err


def test_the_share_of_a_large_input_is_announced(desk: Desk, sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more is said than is known without reading it all: rows that are the whole job are counted anyway."""
    monkeypatch.setattr("batcher.running.preparation.COUNTED", 0)
    desk.write("rows.jsonl", *ROWS)
    told = {(): "prompts to ", ("-n", "7"): "7 prompts to ", ("--shard", "1/3"): "prompts (part 1/3) to "}
    for choice, words in told.items():
        assert f"\nbatcher: {words}" in f"\n{run(desk, sim, *PROMPT, *choice, '--overwrite').err}"


def test_ids_follow_the_used_columns(desk: Desk, sim: Simulator) -> None:
    """A changed unused column is nothing, a used one a new job, a changed template a change under the same id."""
    desk.write("rows.jsonl", *ROWS)
    assert run(desk, sim, *PROMPT).code == 0
    asked = requests(sim)
    edited = [{**row, "stars": 9} for row in ROWS]
    edited[3]["text"] = "another"
    desk.write("rows.jsonl", *edited)
    assert run(desk, sim, *PROMPT).code == 0
    assert requests(sim) == asked + 1
    other = run(desk, sim, "--prompt", "Is it bad? {{ text }}")
    assert other.code == 65
    assert "--on-change rerun" in other.err
    assert run(desk, sim, "--prompt", "Is it bad? {{ text }}", "--on-change", "rerun").code == 0
    assert requests(sim) == asked + 1 + len(ROWS)


def test_another_column_is_another_experiment(desk: Desk, sim: Simulator) -> None:
    """Where no row has an id of its own and no result is of any of them, nothing is sent."""
    desk.write("rows.jsonl", *ROWS)
    assert run(desk, sim, *PROMPT).code == 0
    asked = requests(sim)
    other = run(desk, sim, "--prompt", "{{ text }} {{ stars }}")
    assert other.code == 65
    assert "none of the rows has an id of its own" in other.err
    assert requests(sim) == asked
    desk.write("rows.jsonl", *({"id": f"r{number}", **row} for number, row in enumerate(ROWS)))
    assert run(desk, sim, "--prompt", "{{ text }} {{ stars }}").code == 0
    assert len(desk.lines()) == 2 * len(ROWS)


def test_a_wrong_template_sends_nothing(desk: Desk, sim: Simulator) -> None:
    """It is a usage error, told before the server is asked or a file is made."""
    desk.write("rows.jsonl", *ROWS)
    ran = run(desk, sim, "--prompt", "{{ text")
    assert (ran.code, requests(sim)) == (2, 0)
    assert "--prompt: unexpected end of template" in ran.err
    assert not (desk.path / "results.jsonl").exists()


def test_a_template_that_fits_no_row_stops_the_run(desk: Desk, sim: Simulator) -> None:
    """After 20 rows that lack what it names it is the template that is wrong; before, each row has its own error."""
    desk.write("rows.jsonl", *ROWS)
    ran = run(desk, sim, "--prompt", "{{ txt }}")
    assert (ran.code, requests(sim)) == (2, 0)
    assert 'did you mean "text"?' in ran.err
    desk.write("rows.jsonl", *ROWS[:19])
    assert run(desk, sim, "--prompt", "{{ txt }}").code == 3
    desk.write("rows.jsonl", {"txt": "has it"}, *ROWS)
    assert run(desk, sim, "--prompt", "{{ txt }}").code == 3


def test_results_are_no_jobs_but_can_be_asked_about(desk: Desk, sim: Simulator) -> None:
    """Given as input they are refused; with a template they are rows of a second step."""
    desk.write("rows.jsonl", *ROWS)
    assert run(desk, sim, *PROMPT).code == 0
    server = ("--base-url", sim.url, "-m", "simulator")
    asked = requests(sim)
    plain = desk.call("run", "results.jsonl", "-o", "second.jsonl", *server)
    assert (plain.code, requests(sim)) == (65, asked)
    assert "is a result of batcher's" in plain.err
    judged = desk.call("run", "results.jsonl", "-o", "second.jsonl", "--prompt", "Is this right? {{ text }}", *server)
    assert judged.code == 0
    assert desk.ids("second.jsonl") == desk.ids()


def test_shapes_are_announced(desk: Desk, sim: Simulator) -> None:
    """What a file is taken for is told before it is sent, and what else there is in it when it comes."""
    desk.write(
        "rows.jsonl",
        {"instruction": "Add.", "input": "1 2", "output": "3"},
        {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"}]},
        {"input": "a text"},
        {"custom_id": "x", "params": {"messages": []}},
    )
    ran = run(desk, sim)
    assert ran.code == 3
    assert "4 Alpaca instructions to /api/generate" in ran.err
    assert "line 2: ShareGPT conversations to /api/chat" in ran.err
    assert "line 3: texts to embed to /api/embed" in ran.err
    [failure] = desk.lines("results.errors.jsonl")
    assert "Anthropic" in failure["error"]["message"]


def test_a_template_without_columns_is_told(desk: Desk, sim: Simulator) -> None:
    """It may be meant; that each row asks the same is seen before it is paid for."""
    desk.write("rows.jsonl", {"id": "a", "text": "x"})
    assert "1 text to embed to /api/embed" in run(desk, sim).err
    ran = run(desk, sim, "--prompt", "Hello", "--overwrite")
    assert "1 prompt to /api/generate, made by the template, which names no column" in ran.err
    assert "names no column" not in run(desk, sim, *PROMPT, "--overwrite").err


def test_a_nights_share(desk: Desk, sim: Simulator) -> None:
    """So many that have no result are asked; 4 says that there are more, and the last night ends with 0."""
    desk.write("rows.jsonl", *ROWS)
    codes = [run(desk, sim, *PROMPT, "--limit-new", "8") for _ in range(4)]
    assert [ran.code for ran in codes] == [4, 4, 0, 0]
    assert "--limit-new 8: there is more to do" in codes[0].err
    assert requests(sim) == len(ROWS)
    assert verified(desk)["complete"]


def test_shards_share_the_rows_whatever_their_order(desk: Desk, sim: Simulator) -> None:
    """Each row is of one shard, equal rows of the same one; `verify` looks for no more than was chosen."""
    rows = [*ROWS, ROWS[0], ROWS[0]]
    server = ("--base-url", sim.url, "-m", "simulator", *PROMPT)
    for number, order in ((1, rows), (2, rows[::-1]), (3, rows)):
        desk.write("rows.jsonl", *order)
        part = ("--shard", f"{number}/3")
        ran = desk.call("run", "rows.jsonl", "-o", f"part{number}.jsonl", *server, *part)
        assert ran.code == 0, ran.err
        assert desk.call("verify", "rows.jsonl", f"part{number}.jsonl").code == 0
    parts = [desk.ids(f"part{number}.jsonl") for number in (1, 2, 3)]
    assert all(0 < len(part) < len(rows) for part in parts)
    assert len({*parts[0], *parts[1], *parts[2]}) == sum(map(len, parts)) == len(rows)


def test_verify_knows_the_template_where_something_else_is_said(desk: Desk, sim: Simulator) -> None:
    """What is said beside it replaces that alone, and another template the one that was there."""
    desk.write("rows.jsonl", *({**row, "key": float(number)} for number, row in enumerate(ROWS)))
    assert run(desk, sim, *PROMPT, "--id-field", "key").code == 0
    assert desk.ids() == sorted(str(number) for number in range(len(ROWS)))
    for said, code in (
        ((), 0),
        (("--id-field", "key"), 0),
        (PROMPT, 0),
        (("--prompt", "{{ text }}?"), 3),
        (("--embed", "{{ text }}"), 3),
    ):
        assert desk.call("verify", "rows.jsonl", "results.jsonl", *said).code == code, said


def test_an_array_of_jobs_shares_the_rows(desk: Desk, sim: Simulator) -> None:
    """Each task takes its part, and none takes up the results of another's; the sum is all of them."""
    desk.write("rows.jsonl", *ROWS)
    array = {"SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_MAX": "2", "SLURM_ARRAY_TASK_COUNT": "3"}
    told = ["run", "rows.jsonl", *PROMPT, "-m", "simulator", "--base-url", sim.url, "--shard", "auto", "-o"]
    for task in "012":
        ran = desk.call(*told, f"out{task}.jsonl", env=array | {"SLURM_ARRAY_TASK_ID": task})
        assert (ran.code, f"part {int(task) + 1}/3" in ran.err) == (0, True), ran.err
    ids = [ident for task in "012" for ident in desk.ids(f"out{task}.jsonl")]
    assert sorted(ids) == sorted({*ids})
    assert len(ids) == len(ROWS)
    alone = dict.fromkeys((*array, "SLURM_ARRAY_TASK_ID"), "1")
    refused = desk.call(*told, "out1.jsonl", env=alone)
    assert (refused.code, "--shard 2/3" in refused.err) == (73, True)
    assert desk.call(*told, "out1.jsonl").code == 2
    assert requests(sim) == len(ROWS)


def test_what_others_have_done_is_left_out(desk: Desk, sim: Simulator) -> None:
    """Their results count if they answer this request, OpenAI's outputs by their id; `verify` knows of it."""
    rows = [{"id": f"q{number}", "prompt": f"question {number}"} for number in range(6)]
    desk.write("rows.jsonl", *rows[:2], {"id": "q2", "prompt": "another question"})
    server = ("--base-url", sim.url, "-m", "simulator")
    assert desk.call("run", "rows.jsonl", "-o", "others.jsonl", *server).code == 0
    good = {"status_code": 200, "body": {}}
    desk.write(
        "openai.jsonl",
        {"id": "b1", "custom_id": "q3", "response": good, "error": None},
        {"id": "b2", "custom_id": "q4", "response": None, "error": {"code": "batch_expired"}},
        {"id": "b3", "custom_id": "q5", "response": {"status_code": 500, "body": {}}, "error": None},
    )
    desk.write("rows.jsonl", *rows)
    assert run(desk, sim, "--done-from", "others.jsonl", "--done-from", "openai.jsonl").code == 0
    assert desk.ids() == ["q2", "q4", "q5"]
    assert verified(desk)["complete"]
    assert run(desk, sim, "--done-from", "gone.jsonl").code == 65


def test_a_sample_is_the_same_again_and_holds_the_smaller_one(desk: Desk, sim: Simulator) -> None:
    """It depends on the seed alone, keeps `seq`, and takes its file as the whole job."""
    desk.write("rows.jsonl", *ROWS)
    assert run(desk, sim, *PROMPT, "--sample", "5").code == 0
    first = {line["seq"] for line in desk.lines()}
    assert len(first) == 5
    assert all(f"review {line['seq']}" == ROWS[line["seq"]]["text"] for line in desk.lines())
    assert verified(desk)["complete"]
    assert verified(desk)["jobs"] == 5
    assert run(desk, sim, *PROMPT, "--sample", "9").code == 0
    second = {line["seq"] for line in desk.lines()}
    assert (len(second), first <= second, requests(sim)) == (9, True, 9)
    assert run(desk, sim, *PROMPT, "--sample", "5", "--seed", "7").code == 0
    assert not {line["seq"] for line in desk.lines()} <= second


def test_rows_that_are_asked_several_times(desk: Desk, sim: Simulator) -> None:
    """Each turn has its id and its seed; they are taken up like any job, and are no copies of each other."""
    desk.write("rows.jsonl", {"id": "q", "prompt": "Throw a die."}, {"prompt": "Toss."}, {"prompt": "Toss."})
    turns = ("--repeat", "3", "--param", "seed=5", "--dedupe")
    assert run(desk, sim, *turns, "--limit-new", "4").code == 4
    assert run(desk, sim, *turns).code == 0
    ids = desk.ids()
    assert [name for name in ids if name.startswith("q")] == ["q~1", "q~2", "q~3"]
    assert len(ids) == 9
    assert sorted(line["seq"] for line in desk.lines()) == list(range(9))
    assert len({line["hash"] for line in desk.lines()}) == 6
    assert requests(sim) == 6  # the two equal rows are asked once a turn
    assert verified(desk)["complete"]


def test_equal_requests_are_asked_once(desk: Desk, sim: Simulator) -> None:
    """Nine of ten rows repeat: a tenth of the requests, a line for each row, its tokens counted once."""
    rows = [{"id": f"r{number}", "prompt": f"question {number % 20}", "meta": number} for number in range(200)]
    rows.append({"id": "bad", "prompt": "[[sim id=no do=bad]]"})
    rows.append({"id": "worse", "prompt": "[[sim id=no do=bad]]"})
    desk.write("rows.jsonl", *rows)
    ran = run(desk, sim, "--dedupe", "--summary-json", "sums.json")
    assert ran.code == 3, ran.err
    assert requests(sim) == 21
    lines = {line["id"]: line for line in desk.lines()}
    assert len(lines) == 200
    copies = [line for line in lines.values() if "copy_of" in line]
    assert len(copies) == 180
    for line in copies:
        first = lines[line["copy_of"]]
        assert (line["text"], line["hash"], line["meta"]) == (first["text"], first["hash"], int(line["id"][1:]))
        assert "usage" not in line
        assert "copy_of" not in first
    sums = json.loads((desk.path / "sums.json").read_text())
    assert sums["jobs"]["ok"] == 200
    assert sums["tokens"]["prompt"] == sum(line["usage"]["prompt_tokens"] for line in lines.values() if "usage" in line)
    bad, worse = sorted(desk.lines("results.errors.jsonl"), key=lambda line: str(line["id"]))
    assert (bad["id"], worse["id"], bad["error"]) == ("bad", "worse", worse["error"])
    assert verified(desk)["ok"] == 200


def test_answers_of_earlier_runs_are_copied_too(desk: Desk, sim: Simulator) -> None:
    """What was answered before this run, or before it was killed, is not asked for another row."""
    rows = [{"id": f"r{number}", "prompt": f"question {number % 3}"} for number in range(30)]
    desk.write("rows.jsonl", *rows[:3])
    assert run(desk, sim, "--dedupe").code == 0
    desk.write("rows.jsonl", *rows)
    assert run(desk, sim, "--dedupe").code == 0
    assert requests(sim) == 3
    assert len(desk.lines()) == 30


def test_embeddings_are_asked_once_unless_that_is_not_wanted(desk: Desk, sim: Simulator) -> None:
    """For them it is the default, also in packs; prompts are asked as often as they stand there."""
    rows = [{"id": f"r{number}", "input": f"text {number % 4}"} for number in range(40)]
    desk.write("rows.jsonl", *rows)
    assert run(desk, sim, "--pack", "4").code == 0
    assert len(desk.lines()) == 40
    embedded = requests(sim)
    assert embedded < 5
    assert run(desk, sim, "--overwrite", "--no-dedupe", "--pack", "1").code == 0
    assert requests(sim) == embedded + 40
    desk.write("rows.jsonl", *({"id": row["id"], "prompt": row["input"]} for row in rows))
    assert run(desk, sim, "--overwrite").code == 0
    assert requests(sim) == embedded + 80
    assert desk.call("run", "rows.jsonl", "-o", "-", "--dedupe", "--base-url", sim.url, "-m", "simulator").code == 2


def test_an_estimate_is_a_part_of_the_work(desk: Desk, sim: Simulator) -> None:
    """The sampled rows keep their results, and the rest is told in time and tokens, each with its range."""
    desk.write("rows.jsonl", *ROWS)
    ran = run(desk, sim, *PROMPT, "--estimate", "6")
    assert ran.code == 0
    assert "estimate: 14 rows are left:" in ran.err
    assert "tokens in" in ran.err
    assert len(desk.lines()) == 6
    assert verified(desk)["findings"]["missing"]["count"] == 14
    assert run(desk, sim, *PROMPT).code == 0
    assert requests(sim) == len(ROWS)


def test_an_estimate_in_money(desk: Desk, sim: Simulator) -> None:
    """By prices that are said, for all models or by name; a file that holds none stops the run before it sends."""
    desk.write("rows.jsonl", *ROWS)
    (desk.path / "prices.toml").write_text("[simulator]\nin = 1000\nout = 0\n")
    (desk.path / "empty.toml").write_text("in = 3\n")
    for prices, words in (
        ([], ""),
        (["--price-in", "1000", "--price-out", "0"], "cost "),
        (["--price-file", "prices.toml"], "cost "),
        (["--price-in", "1000"], "cost unknown: no price for the tokens of simulator"),
    ):
        ran = run(desk, sim, *PROMPT, "--estimate", "6", "--overwrite", *prices)
        assert (ran.code, words in ran.err, "cost" in ran.err) == (0, True, bool(words)), ran.err
    before = requests(sim)
    refused = run(desk, sim, *PROMPT, "--estimate", "6", "--overwrite", "--price-file", "empty.toml")
    assert (refused.code, "a model has in, cached, out" in refused.err) == (2, True)
    assert requests(sim) == before
