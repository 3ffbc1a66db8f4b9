"""Holds the destination of results to what becomes of the errors file beside them."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest

from batcher.failures import UsageError
from batcher.ledger.stream import StreamLedger
from batcher.options import Options
from batcher.running.destination import Destination
from batcher.running.files import Files
from batcher.running.wiring import source_for
from batcher.view.summary import Summary

if TYPE_CHECKING:
    from batcher.ledger.ledger import AnyLedger

OLD = b'{"id":"old","error":{"class":"permanent","code":"bad"},"attempts":1}\n'


@pytest.fixture
def errors(tmp_path: Path) -> Path:
    """What a run before this one left."""
    (tmp_path / "jobs.jsonl").write_text('{"id": "a", "prompt": "hello"}\n')
    path = tmp_path / "failed.jsonl"
    path.write_bytes(OLD)
    return path


def anew(errors: Path, stack: ExitStack, output: Path | None) -> tuple[Destination, AnyLedger]:
    """Open what `--overwrite` is to replace."""
    destination = Destination(output, Options(errors=errors, overwrite=True), print)
    source = source_for(str(errors.parent / "jobs.jsonl"), destination.options)
    stack.callback(source.close)
    ledger = anyio.run(destination.open_when_free, source, stack)
    destination.open_errors(stack)
    return destination, ledger


def test_old_failures_go_when_the_first_new_result_comes(errors: Path, tmp_path: Path) -> None:
    """However the run ends: beside new results they would tell of nothing."""
    with ExitStack() as stack:
        _, ledger = anew(errors, stack, tmp_path / "results.jsonl")
        assert errors.read_bytes() == OLD
        ledger.append([("a", "", b'{"id": "a"}\n')])
        assert not errors.exists()


@pytest.mark.parametrize("is_over", [False, True])
def test_old_failures_go_with_a_whole_run_to_standard_output(errors: Path, *, is_over: bool) -> None:
    """A stream has nothing to replace: the end of the run says that they count no more."""
    with ExitStack() as stack:
        destination, ledger = anew(errors, stack, None)
        assert isinstance(ledger, StreamLedger)
        destination.finish(ledger, Summary(started=0.0, pending=0 if is_over else 1))
        assert errors.exists() is not is_over


def test_old_failures_that_cannot_go_are_told(errors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The results are no worse for it."""
    with ExitStack() as stack:
        destination, ledger = anew(errors, stack, tmp_path / "results.jsonl")
        summary = Summary(started=0.0)

        def refuse(*_args: object, **_settings: object) -> None:
            raise PermissionError(13, os.strerror(13))

        monkeypatch.setattr("pathlib.Path.unlink", refuse)
        monkeypatch.setattr("os.unlink", refuse)
        destination.finish(ledger, summary)
        assert summary.unwritten == [f"{errors}: cannot be begun anew: Permission denied"]


@pytest.mark.parametrize(
    ("output", "said", "words"),
    [
        ("x.npy", {"vectors": "x.npy"}, "both the results file and the array of vectors"),
        ("k.npy.ids.json", {"vectors": "k.npy"}, "both the ids of its rows and the table"),
        (
            "r.jsonl",
            {"vectors": "i.npy", "metrics_file": "./i.npy"},
            "both the array of vectors and the file of metrics",
        ),
        ("r.jsonl", {"vectors": "link.npy"}, "both the results file and the array of vectors"),
        ("r.jsonl", {"metrics_file": "r.state.json"}, "both the state file and the file of metrics"),
        ("r.jsonl", {"metrics_file": "r.images"}, "both the file of metrics and the directory of images"),
        ("r.csv", {"metrics_file": "r.csv"}, "both the table and the file of metrics"),
        ("sqlite:i.npy", {"vectors": "i.npy"}, "both the array of vectors and the table"),
        ("r.jsonl", {"metrics_file": "m", "errors": "m"}, "m is the file of metrics"),
        ("r.jsonl", {"metrics_file": "jobs.jsonl"}, "jobs.jsonl is the input"),
    ],
)
def test_each_file_of_a_run_is_another(
    errors: Path, monkeypatch: pytest.MonkeyPatch, output: str, said: dict[str, str], words: str
) -> None:
    """What has taken the place of paid results cannot be got back: it is refused before there is anything."""
    monkeypatch.chdir(errors.parent)
    Path("link.npy").symlink_to("r.jsonl")
    destination = Destination(Path(output), Options(**{name: Path(path) for name, path in said.items()}), print)  # type: ignore[arg-type]  # these are paths
    before = sorted(errors.parent.iterdir())
    with ExitStack() as stack:
        source = source_for("jobs.jsonl", destination.options)
        stack.callback(source.close)
        with pytest.raises(UsageError, match=words):
            destination.open(source, stack)
    assert sorted(errors.parent.iterdir()) == before


def test_metrics_may_go_to_a_device(errors: Path) -> None:
    """It is written to, and nothing is lost."""
    options = Options(metrics_file=Path(os.devnull), vectors=Path("x.npy"))
    assert Path(os.devnull) not in Files.of(errors.with_name("r.jsonl"), options).named()
