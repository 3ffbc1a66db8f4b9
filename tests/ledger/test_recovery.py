"""Opening a results file that something broke: results stay, damage goes to the quarantine, no byte is lost."""

from __future__ import annotations

import random
import stat
from typing import TYPE_CHECKING

import pytest
from support.fulldisk import complain_of_closing, write_with_room
from support.result_lines import entry, ids

from batcher.failures import Exit, LockedError, OutputError, OutputIOError
from batcher.inputs.done import DoneIds
from batcher.ledger import disk, recovery, state
from batcher.ledger.ledger import Ledger
from batcher.ledger.names import quarantine_path, state_path
from batcher.ledger.state import State, Status

if TYPE_CHECKING:
    from pathlib import Path

A, B, C = (entry(ident, seq, text='größe 🙂 {"id":"')[2] for seq, ident in enumerate("abc"))


@pytest.fixture(params=[1 << 18, 300, 1], ids=["read at once", "few lines at a time", "line by line"])
def path(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A results file, read in pieces of this many bytes: whole pieces are looked at otherwise than single lines."""
    monkeypatch.setattr("batcher.ledger.recovery._PIECE", request.param)
    return tmp_path / "results.jsonl"


def mended(path: Path, content: bytes) -> tuple[bytes, bytes]:
    """What is in the results file and in the quarantine once `content` has been opened."""
    path.write_bytes(content)
    with Ledger.open(path) as ledger:
        assert sorted(ids(path)) == sorted(set(ids(path)))
        assert len(ledger) == len(ids(path))
        assert all(ident in ledger for ident in ids(path))
        aside = quarantine_path(path)
        assert (ledger.repaired is not None) == aside.exists()
    assert b"\xef\xbb\xbf" not in path.read_bytes()
    left = aside.read_bytes() if aside.exists() else b""
    aside.unlink(missing_ok=True)
    return path.read_bytes(), left


def test_cut_at_every_byte(path: Path) -> None:
    """Wherever the file was cut, whole results stay, the torn one is set aside, and the file ends with a line end."""
    whole = A + B + C
    for size in range(len(whole) + 1):
        kept, left = mended(path, whole[:size])
        torn = size - max(end for end in (0, len(A), len(A + B), len(whole)) if end <= size)
        if whole[:size] in (A[:-1], A + B[:-1], whole[:-1]):
            assert (kept, left) == (whole[: size + 1], b"")
        else:
            assert kept == whole[: size - torn]
            assert left == (whole[size - torn : size] + b"\n" if torn else b"")


def test_cut_and_written_on_at_every_byte(path: Path) -> None:
    """Wherever another program glued a line to a torn one, the glued line is no result and the others stay."""
    for size in range(1, len(B) - 1):
        kept, left = mended(path, A + B[:size] + C + entry("d")[2])
        assert kept == A + entry("d")[2]
        assert left == B[:size] + C


@pytest.mark.parametrize("others", [b'{"id":null}\n', b'{"id":"a","prompt":"hello"}\n', b"{}\n"])
def test_cut_and_added_to_by_others(path: Path, others: bytes) -> None:
    """What somebody appended to a torn line is no result, though the whole begins and ends like one."""
    for size in range(1, len(B) - 1, 9):
        torn = B[:size] + others
        for more in (others, C[:20] + b"\n"):
            assert mended(path, A + C + torn + more) == (A + C, torn + more)


@pytest.mark.parametrize(
    ("content", "kept", "left"),
    [
        (A + b"\0" * 5000, A, b"\0" * 5000 + b"\n"),
        (b"\0" * 5000, b"", b"\0" * 5000 + b"\n"),
        (A + b"\0" * 50 + B + C, A + C, b"\0" * 50 + B),
        (A + B[:50] + b"\0" * 9 + B[59:] + C, A + C, B[:50] + b"\0" * 9 + B[59:]),
        (A + b"hi there\n" + B, A + B, b"hi there\n"),
        (A + b"\n" + B, A + B, b"\n"),
        (A + b"junk\n" + B + b"[1]\n" + C[:30], A + B, b"junk\n[1]\n" + C[:30] + b"\n"),
        (A + b"junk\n" + B[:-1], A + B, b"junk\n"),
        (A + b'{"text":"no id"}\n' + B, A + B, b'{"text":"no id"}\n'),
        (A + b'{"id":true}\n' + B, A + B, b'{"id":true}\n'),
        (A + B + A, A + B, A),
        (A + A + B, A + B, A),
        (A + B[:-2] + b"\n" + C, A + C, B[:-2] + b"\n"),
        (A + B + B[:-1], A + B, B[:-1] + b"\n"),
        (A[:12], b"", A[:12] + b"\n"),
        (A + B[:60] + b"}\n", A, B[:60] + b"}\n"),
        (b"\0" * 48 + A[48:60] + b"\0" * 2, b"", b"\0" * 48 + A[48:60] + b"\0" * 2 + b"\n"),
    ],
    ids=[
        "zeros at the end",
        "zeros alone",
        "zeros in the middle",
        "zeros within a line",
        "foreign line",
        "empty line",
        "several",
        "junk, and no line end",
        "object without id",
        "id of another type",
        "repeated at the end",
        "repeated in the middle",
        "brace missing in the middle",
        "repeated without line end",
        "torn first line",
        "last line that only looks whole",
        "pages lost, the last one short",
    ],
)
def test_damage(path: Path, content: bytes, kept: bytes, left: bytes) -> None:
    """Damage anywhere is moved to the quarantine byte by byte; results before, between and behind it stay."""
    assert mended(path, content) == (kept, left)


def test_results_that_others_wrote_anew(path: Path) -> None:
    """Our results in another spelling are results: spaces, keys in another order, escapes, line ends of Windows."""
    lines = [
        b'{"text":"x", "seq": 0, "hash": "0123456789abcdef", "id": "spaced"}\n',
        b'{"id":"\\u00fc","seq":0,"hash":"0123456789abcdef"}\n',
        A.replace(b"\n", b"\r\n"),
        b'{"id":"half","seq":0,"hash":"0123456789abcdef","text":"\\ud83d"}\n',
    ]
    path.write_bytes(b"".join(lines))
    with Ledger.open(path) as ledger:
        assert ledger.repaired is None
        assert [ledger.get(ident) for ident in ("spaced", "ü", "a", "half")] == ["0123456789abcdef"] * 4


NONE_OF_OURS = [
    b'{"text":"x", "id": "spaced"}\n',
    b'{"id":7,"seq":0,"hash":"0123456789abcdef"}\n',
    b'{"id":"batch_req_1","custom_id":"mine","response":{}}\n',
    b'{"id":"odd","seq":0,"hash":"none"}\n',
    b'{"id":"odd","seq":"0","hash":"0123456789abcdef"}\n',
    b'{"id":"odd","hash":"0123456789abcdef"}\n',
    b'{"id":"job","prompt":"hello"}\n',
    b'{"id":"a","seq":0,"line":1,"error":{"class":"permanent","code":"bad"}}\n',
]


@pytest.mark.parametrize("line", NONE_OF_OURS)
def test_an_id_alone_is_no_result(path: Path, line: bytes) -> None:
    """What has no id, seq and hash of ours goes to the quarantine and its job runs; alone it makes no results file."""
    assert mended(path, A + line + B) == (A + B, line)
    path.write_bytes(line * 2)
    with pytest.raises(OutputError, match="none of our results"):
        Ledger.open(path)
    assert path.read_bytes() == line * 2


MARK = b"\xef\xbb\xbf"


@pytest.mark.parametrize(
    ("content", "kept", "left"),
    [
        (MARK + A + B, A + B, b""),
        (MARK + MARK + A, A, b""),
        (A + MARK + B + C, A + B + C, b""),
        (A + MARK + B[:-1], A + B, b""),
        (MARK + A[:-1], A, b""),
        (MARK + A[:30], b"", MARK + A[:30] + b"\n"),
        (MARK + b"junk\n" + MARK + A, A, MARK + b"junk\n"),
        (MARK + A + b"junk\n" + B, A + B, b"junk\n"),
        (MARK, b"", MARK + b"\n"),
        (MARK + A + MARK + A, A, MARK + A),
    ],
)
def test_byte_order_marks(path: Path, content: bytes, kept: bytes, left: bytes) -> None:
    """A mark before a result goes, at the start and where files were put together; results behind it stay."""
    assert mended(path, content) == (kept, left)


def test_a_mark_costs_no_seal(path: Path) -> None:
    """Without its mark the file is what the last run sealed, and is known by that."""
    with Ledger.open(path) as ledger:
        ledger.append([entry("a", 0), entry("b", 1)])
        seal = ledger.prefixes.seal
    state.write(state_path(path), State(status=Status.STOPPED, input={"size": 1}, seal=seal))
    path.write_bytes(MARK + path.read_bytes())
    with Ledger.open(path, fingerprint={"size": 1}) as ledger:
        assert ledger.prefixes.proven == seal
        assert ledger.repaired is None
    assert ids(path) == ["a", "b"]


@pytest.mark.parametrize(
    "content",
    [
        b"name,prompt\n1,hello\n",
        b'{"prompt":"hello"}\n',
        b"notes, no line end",
        b"\n",
        *('{"prompt":"hello"}\n{"prompt":"you"}\n'.encode(code) for code in ("utf-16", "utf-16-le", "utf-16-be")),
    ],
)
def test_file_of_something_else(path: Path, content: bytes) -> None:
    """A file without one result is not ours to mend: it is refused and stays as it is."""
    path.write_bytes(content)
    with pytest.raises(OutputError, match="none of our results") as caught:
        Ledger.open(path)
    assert caught.value.exit == Exit.CANNOT_CREATE
    assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


def test_report(path: Path) -> None:
    """What repair did is there as numbers and as a sentence."""
    path.write_bytes(A + b"junk\n" + A + B[:20])
    with Ledger.open(path) as ledger:
        report = ledger.repaired
    assert report is not None
    assert (report.unreadable, report.repeated, report.removed) == (2, 1, 5 + len(A) + 20)
    assert "2 unreadable lines and 1 repeated line" in str(report)
    assert str(quarantine_path(path)) in str(report)


def test_quarantine_grows(path: Path) -> None:
    """What an earlier repair set aside is never overwritten."""
    for junk in (b"one\n", b"two\n"):
        path.write_bytes(A + junk)
        Ledger.open(path).close()
    aside = quarantine_path(path)
    assert aside.read_bytes() == b"one\ntwo\n"
    assert stat.S_IMODE(aside.stat().st_mode) == 0o600


def test_mode_is_kept(path: Path) -> None:
    """A file that repair replaced has the permissions that the user gave it."""
    path.write_bytes(b"junk\n" + A)
    path.chmod(0o640)
    Ledger.open(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_replaced_file_is_locked(path: Path) -> None:
    """The file that repair puts in place is locked and the one that is appended to."""
    path.write_bytes(b"junk\n" + A)
    with Ledger.open(path) as ledger:
        with pytest.raises(LockedError):
            Ledger.open(path)
        ledger.append([entry("z")])
        ledger.sync()
    assert ids(path) == ["a", "z"]


def test_closing_fails_while_mending(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file whose place was taken, and the quarantine, may fail to be closed: all is on the disk by then."""
    path.write_bytes(A + b"damage\n" + B)
    with monkeypatch.context() as patch:
        closed = complain_of_closing(patch)
        with Ledger.open(path) as ledger:
            assert len(closed) >= 2, "the quarantine, and the old file"
            assert (len(ledger), quarantine_path(path).read_bytes()) == (2, b"damage\n")
            ledger.append([entry("c", 2)])
    assert ids(path) == ["a", "b", "c"]


def test_disk_full_while_mending(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A repair that cannot be finished changes nothing, wherever it fails, and the next one can."""
    content = b"junk\n" + A + b"junk\n" + B
    total = len(b"junk\n" * 2 + A + B)
    for room in range(0, total, 7):
        path.write_bytes(content)
        with monkeypatch.context() as patch:
            patch.setattr(disk, "_write", write_with_room(room))
            with pytest.raises(OutputIOError, match="mended: No space left"):
                Ledger.open(path)
        assert path.read_bytes() == content
        assert {file.name for file in path.parent.iterdir()} <= {path.name, quarantine_path(path).name}
    Ledger.open(path).close()
    assert ids(path) == ["a", "b"]


def test_leftover_of_a_crash(path: Path) -> None:
    """What a crash in mid-repair left behind is in nobody's way."""
    path.with_name(f".{path.name}.new").write_bytes(b"half")
    path.write_bytes(b"junk\n" + A)
    Ledger.open(path).close()
    assert ids(path) == ["a"]
    assert not path.with_name(f".{path.name}.new").exists()


def test_random_surgery(path: Path) -> None:
    """Zeros, glue, repeated lines and a cut end leave whole results only, and every byte is somewhere."""
    rng = random.Random(20)
    whole = [entry(f"job-{n}", n, text="x" * rng.randrange(60))[2] for n in range(7)]
    for _ in range(300):
        lines = [whole[0], *rng.choices(whole, k=6)]
        for n in rng.sample(range(1, len(lines)), k=3):
            start = rng.randrange(len(lines[n]))
            end = rng.randrange(start, len(lines[n])) + 1
            zeroed = lines[n][:start] + b"\0" * (end - start) + lines[n][end:]
            lines[n] = rng.choice([lines[n][:start], zeroed, lines[n]])
        data = b"".join(lines)
        data = data[: rng.randrange(len(whole[0]), len(data) + 1)]
        kept, left = mended(path, data)
        assert kept.startswith(whole[0])
        assert set(kept.splitlines(keepends=True)) <= set(whole)
        assert len(kept) + len(left) - len(data) in {0, 1}


def test_pieces_are_read_as_lines_are(path: Path) -> None:
    """Whatever is in a file, looking at whole pieces finds what looking at each line finds."""
    rng = random.Random(3)
    parts = [
        *(entry(f"job-{n}", n, text='{"id":"x","seq":')[2] for n in range(4)),
        entry('quo"te')[2],
        entry("back\\slash")[2],
        b'{"id":"nested","seq":1,"hash":"0123456789abcdef","meta":{"id":"x","seq":1}}\n',
        b'{"id":"tool","seq":1,"hash":"0123456789abcdef","tool_calls":[{"id":"call_1"}]}\n',
        b'{"id":"upper","seq":1,"hash":"0123456789ABCDEF"}\n',
        b'{"id":"odd","seq":1,"hash":"0123456789abcdeg"}\n',
        b'{"id":"torn\n',
        b'{"id":"a{"id":"b","seq":1,"hash":"0123456789abcdef"}\n',
        b'{"id":"a","seq":1,"hash":"0123456789abcdef","text":"x{"id":"b\\"","seq":1,"hash":"0123456789abcdef"}\n',
        b'{"id":"spaced", "seq":1}\n',
        b"}\n",
        b"\0\0\n",
    ]
    for _ in range(300):
        lines = rng.choices(parts, k=rng.randrange(1, 12))
        path.write_bytes(b"".join(lines))
        done, alone = DoneIds(), DoneIds()
        with path.open("rb") as file:
            found = recovery.scan(file, path.stat().st_size, done)
        results = [identity for line in lines if (identity := recovery.parse(line))]
        fresh = [identity for identity in results if alone.add(*identity)]
        assert (found.results, found.repeated) == (len(fresh), len(results) - len(fresh))
        assert found.unreadable == len(lines) - len(results)
        assert {done.get(ident) for ident, _ in fresh} == {alone.get(ident) for ident, _ in fresh}
