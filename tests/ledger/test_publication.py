"""An output that appears all at once: OUT is the old one or the complete new one at every moment, and nobody's else."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.fulldisk import refuse_to_sync
from support.result_lines import entry, ids
from support.stepkill import killed

from batcher.failures import Exit, LockedError, OutputError, OutputIOError
from batcher.ledger import disk
from batcher.ledger.ledger import Ledger
from batcher.ledger.names import PART, part_path, quarantine_path
from batcher.ledger.publication import Publication

if TYPE_CHECKING:
    from collections.abc import Iterator

A, B, C = (entry(ident, seq) for seq, ident in enumerate("abc"))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "results.jsonl"


@pytest.fixture
def publication(out: Path) -> Iterator[Publication]:
    made = Publication(out)
    yield made
    made.close()


def files(out: Path) -> dict[str, list[str]]:
    """Everything in the directory: name → ids."""
    return {path.name: ids(path) for path in sorted(out.parent.iterdir())}


def test_a_first_run(out: Path, publication: Publication) -> None:
    """OUT is not there until it is complete; then it is, and OUT.part is not."""
    with publication.open(Ledger.open) as ledger:
        ledger.append([A, B])
        assert files(out) == {"results.jsonl.part": ["a", "b"]}
        assert publication.publish()
        assert files(out) == {"results.jsonl": ["a", "b"]}
        with pytest.raises(LockedError):
            Ledger.open(out)
    publication.close()
    with Ledger.open(out) as again:
        assert len(again) == 2


def test_stopped_and_taken_up(out: Path) -> None:
    """What a stopped run has is in OUT.part, and the next run begins with it."""
    first = Publication(out)
    with first.open(Ledger.open) as ledger:
        ledger.append([A])
    first.close()
    assert files(out) == {"results.jsonl.part": ["a"]}
    second = Publication(out)
    with second.open(Ledger.open) as ledger:
        assert ledger.append([A, B]) == 1
        second.publish()
    second.close()
    assert files(out) == {"results.jsonl": ["a", "b"]}


@pytest.mark.parametrize("newer", [True, False])
def test_a_plain_run_in_between(out: Path, *, newer: bool) -> None:
    """What a plain run put into OUT after a run stopped is not asked for again, nor lost; older things are known."""
    first = Publication(out)
    with first.open(Ledger.open) as ledger:
        ledger.append([A, B])
    first.close()
    out.write_bytes(B[2] + C[2][:-1])
    if not newer:
        os.utime(out, ns=(0, 0))
    second = Publication(out)
    with second.open(Ledger.open) as ledger:
        assert ids(part_path(out)) == ["a", "b", "c"][: 3 if newer else 2]
        assert ledger.append([C]) == (not newer)
        second.publish()
    second.close()
    assert files(out) == {"results.jsonl": ["a", "b", "c"]}


def test_begins_with_what_out_has(out: Path, publication: Publication) -> None:
    """The results in OUT are not asked for again; OUT stays as it is until the new ones are complete."""
    out.write_bytes(A[2])
    out.chmod(0o644)
    with publication.open(Ledger.open) as ledger:
        assert "a" in ledger
        ledger.append([B])
        assert files(out) == {"results.jsonl": ["a"], "results.jsonl.part": ["a", "b"]}
        publication.publish()
    publication.close()
    assert files(out) == {"results.jsonl": ["a", "b"]}
    assert stat.S_IMODE(out.stat().st_mode) == 0o644


def test_nothing_to_do(out: Path, publication: Publication) -> None:
    """A complete OUT is left alone, the very file, and no OUT.part is left beside it."""
    out.write_bytes(A[2])
    before = out.stat()
    with publication.open(Ledger.open):
        assert not publication.publish()
    publication.close()
    assert files(out) == {"results.jsonl": ["a"]}
    assert out.stat().st_ino == before.st_ino
    assert out.stat().st_mtime_ns == before.st_mtime_ns


def test_a_result_for_a_result(out: Path, publication: Publication) -> None:
    """A line in the place of another is no copy, though the file is the same and as long as before."""
    out.write_bytes(A[2] + B[2])
    with publication.open(Ledger.open) as ledger:

        def cut(fd: int, path: Path) -> tuple[int, Path]:
            os.ftruncate(fd, len(A[2]))
            return fd, path

        ledger.replace(cut)
        ledger.append([C])
        assert publication.publish()
    publication.close()
    assert files(out) == {"results.jsonl": ["a", "c"]}


def test_what_a_full_disk_took_is_kept(out: Path, publication: Publication, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines that got in before the disk was full are results of this run, and stay in OUT.part."""

    def nearly_full(fd: int, data: memoryview) -> int:
        if len(data) < len(B[2] + C[2]):
            raise OSError(28, os.strerror(28))
        return os.write(fd, data[: len(B[2])])

    out.write_bytes(A[2])
    with publication.open(Ledger.open) as ledger, monkeypatch.context() as patch:
        patch.setattr(disk, "_write", nearly_full)
        with pytest.raises(OutputIOError):
            ledger.append([B, C])
    publication.close()
    assert files(out) == {"results.jsonl": ["a"], "results.jsonl.part": ["a", "b"]}


def test_a_mended_copy_is_published(out: Path, publication: Publication) -> None:
    """Damage in OUT is mended in the copy, set aside under OUT's name, and gone from OUT once it is published."""
    out.write_bytes(A[2] + B[2][:10])
    with publication.open(Ledger.open) as ledger:
        assert ledger.repaired is not None
        assert publication.publish()
    publication.close()
    assert quarantine_path(out).read_bytes() == B[2][:10] + b"\n"
    assert ids(out) == ["a"]
    assert not part_path(out).exists()


def test_overwrite(out: Path, publication: Publication) -> None:
    """Starting anew empties OUT.part and takes nothing from OUT, which stays until the end."""
    out.write_bytes(A[2])
    part_path(out).write_bytes(B[2])
    with publication.open(lambda path: Ledger.open(path, overwrite=True), overwrite=True) as ledger:
        assert len(ledger) == 0
        ledger.append([C])
        assert files(out) == {"results.jsonl": ["a"], "results.jsonl.part": ["c"]}
        publication.publish()
    publication.close()
    assert files(out) == {"results.jsonl": ["c"]}


def test_an_empty_part_counts_as_none(out: Path, publication: Publication) -> None:
    """A run that died before its first result does not make the next one forget what OUT has."""
    out.write_bytes(A[2])
    part_path(out).touch()
    with publication.open(Ledger.open) as ledger:
        assert "a" in ledger


def test_link(out: Path, publication: Publication) -> None:
    """An OUT that is a link stays one; the file behind it is replaced, and the work is done beside that."""
    real = out.with_name("real.jsonl")
    real.write_bytes(A[2])
    out.symlink_to(real)
    linked = Publication(out)
    with linked.open(Ledger.open) as ledger:
        assert ledger.path.name == "real.jsonl.part"
        ledger.append([B])
        linked.publish()
    linked.close()
    assert out.is_symlink()
    assert ids(real) == ["a", "b"]


def test_out_is_held(out: Path, publication: Publication) -> None:
    """While a run works beside OUT, no other run may write to OUT, nor to OUT.part; afterwards both are free."""
    out.write_bytes(A[2])
    with publication.open(Ledger.open):
        for path in (out, part_path(out)):
            with pytest.raises(LockedError):
                Ledger.open(path)
        other = Publication(out)
        with pytest.raises(LockedError) as caught:
            other.open(Ledger.open)
        other.close()
    assert caught.value.exit == Exit.LOCKED
    publication.close()
    Ledger.open(out).close()


def test_part_is_held(out: Path, publication: Publication) -> None:
    """Where there is no OUT to hold, the lock on OUT.part keeps a second run away."""
    with publication.open(Ledger.open) as ledger:
        ledger.append([A])
        other = Publication(out)
        with pytest.raises(LockedError):
            other.open(Ledger.open)
        other.close()
        publication.publish()
    assert files(out) == {"results.jsonl": ["a"]}


def test_published_by_another_run_meanwhile(out: Path, publication: Publication) -> None:
    """A run that started just when another one published does not begin anew: it is told to look again."""

    def late(path: Path) -> Ledger:
        out.write_bytes(A[2])
        return Ledger.open(path)

    with pytest.raises(LockedError, match="run again"):
        publication.open(late)
    publication.close()
    again = Publication(out)
    with again.open(Ledger.open) as ledger:
        assert "a" in ledger
    again.close()


@pytest.mark.parametrize("before", [b"", A[2]], ids=["none before", "one before"])
def test_out_changed_by_others(out: Path, publication: Publication, before: bytes) -> None:
    """An OUT that others made or replaced is not written over: the results wait in OUT.part, as the message says."""
    if before:
        out.write_bytes(before)
    with publication.open(Ledger.open) as ledger:
        ledger.append([B])
        other = out.with_name("other")
        other.write_bytes(C[2])
        other.rename(out)
        with pytest.raises(OutputIOError, match=r"complete in .*results\.jsonl\.part") as caught:
            publication.publish()
    assert caught.value.exit == Exit.IO
    publication.close()
    assert ids(out) == ["c"]
    assert ids(part_path(out))[-1] == "b"


def test_cannot_be_put_in_place(out: Path, publication: Publication, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the last step fails, the results stay in OUT.part."""

    def refuse(*_: object) -> Path:
        raise PermissionError(13, os.strerror(13))

    with publication.open(Ledger.open) as ledger, monkeypatch.context() as patch:
        ledger.append([A])
        patch.setattr(Path, "rename", refuse)
        with pytest.raises(OutputIOError, match="Permission denied"):
            publication.publish()
    publication.close()
    assert files(out) == {"results.jsonl.part": ["a"]}


def test_in_place_and_perhaps_not_to_stay(out: Path, publication: Publication, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where OUT is there and its name is not safe, that is what is said: nothing is in OUT.part any more."""
    with publication.open(Ledger.open) as ledger, monkeypatch.context() as patch:
        ledger.append([A])
        patch.setattr(disk, "sync_directory", refuse_to_sync)
        with pytest.raises(OutputIOError, match=r"results\.jsonl: has all results, but .*: Input/output") as caught:
            publication.publish()
    publication.close()
    assert PART not in str(caught.value)
    assert files(out) == {"results.jsonl": ["a"]}


def test_cannot_be_copied(out: Path, publication: Publication, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where OUT cannot be copied, nothing is left and nothing is begun."""

    def full(fd: int, data: memoryview) -> int:
        raise OSError(28, os.strerror(28))

    out.write_bytes(A[2])
    monkeypatch.setattr(disk, "_write", full)
    with pytest.raises(OutputIOError, match="a copy of"):
        publication.open(Ledger.open)
    assert files(out) == {"results.jsonl": ["a"]}


def test_what_is_no_results_file(out: Path, publication: Publication) -> None:
    """A file that holds something else is refused by its own name, and no copy of it is left."""
    out.write_bytes(b"my thesis\n")
    with pytest.raises(OutputError, match=r"results\.jsonl: holds none of our results") as caught:
        publication.open(Ledger.open)
    assert caught.value.exit == Exit.CANNOT_CREATE
    publication.close()
    assert [path.name for path in out.parent.iterdir()] == ["results.jsonl"]
    assert out.read_bytes() == b"my thesis\n"


def test_directory(tmp_path: Path) -> None:
    """A directory is refused before anything is made."""
    refused = Publication(tmp_path)
    with pytest.raises(OutputError, match="is a directory"):
        refused.open(Ledger.open)
    refused.close()


RUN = """
from batcher.ledger.ledger import Ledger
from batcher.ledger.publication import Publication
publication = Publication(Path(sys.argv[2]))
with publication.open(Ledger.open) as ledger:
    ledger.append([(name, "0123456789abcdef", Path(sys.argv[3], name).read_bytes()) for name in "abc"])
    publication.publish()
publication.close()
"""


@pytest.mark.slow
@pytest.mark.parametrize("before", [b"", A[2]], ids=["none before", "one before"])
def test_killed_at_every_step(out: Path, tmp_path_factory: pytest.TempPathFactory, before: bytes) -> None:
    """Killed between any two steps: OUT is the old one or the new one, and the next run makes the new one of it."""
    lines = tmp_path_factory.mktemp("lines")
    for ident, _, line in (A, B, C):
        (lines / ident).write_bytes(line)
    complete = A[2] + B[2] + C[2]
    deaths = 0
    if before:
        out.write_bytes(before)
    for deaths, _ in enumerate(killed(RUN, out, lines), 1):  # noqa: B007 - how many there were is asked below
        content = out.read_bytes() if out.exists() else b""
        assert content in (before, complete)
        again = Publication(out)
        with again.open(Ledger.open) as ledger:
            ledger.append([A, B, C])
            again.publish()
        again.close()
        assert files(out) == {"results.jsonl": ["a", "b", "c"]}
        out.unlink()
        if before:
            out.write_bytes(before)
    assert deaths >= 6
    assert out.read_bytes() == complete
