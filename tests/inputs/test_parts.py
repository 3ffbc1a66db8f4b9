"""What an input is told to be by what was said, by its name and by its first bytes; several as one; what is damaged."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import resource
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa
import pytest
import zstandard
from pyarrow import parquet
from support.datasets import DATASETS, array, delimited, jsonl, write_sheet

from batcher.failures import ConfigError, InputError, LineError, UsageError
from batcher.inputs import compression
from batcher.inputs.compression import Unpacked
from batcher.inputs.formats.reading import Reading
from batcher.inputs.remote import without_secrets
from batcher.inputs.rows import values_of
from batcher.inputs.source import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

ROWS = [{"id": f"q{number}", "prompt": f"say {number}"} for number in range(3)]
NONE = ", which is none in the encoding of --encoding"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(32)
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": lambda data: zstandard.ZstdCompressor().compress(data),
}


def rows(source: Source) -> list[Any]:
    """What each row holds, or the message about what is wrong with it."""
    found: list[Any] = []
    try:
        for line in source.all_lines():
            assert line.data is not None
            try:
                found.append(values_of(line.data))
            except LineError as error:
                found.append(error.message)
    finally:
        source.close()
    return found


@pytest.mark.parametrize(
    ("content", "columns"),
    [
        (jsonl(ROWS), "prompt"),
        (array(ROWS), "prompt"),
        (b"\xef\xbb\xbf  \n" + jsonl(ROWS), "prompt"),
        (b"say 0\nsay 1\nsay 2\n", "text"),
        (gzip.compress(array(ROWS)), "prompt"),
        (bz2.compress(b"say 0\nsay 1\nsay 2"), "text"),
        (b'id;"prompt"\n' + b"".join(b"%d;say %d\n" % (n, n) for n in range(3)), "prompt"),
        (b"\xef\xbb\xbfprompt\tid\r\nsay 0\t1\r\nsay 1\t2\r\nsay 2\t3\r\n", "prompt"),
    ],
    ids=["lines", "array", "marked", "text", "gzip", "bzip2", "csv", "tabs"],
)
@pytest.mark.parametrize("is_pipe", [False, True])
def test_what_nobody_names_is_looked_at(tmp_path: Path, content: bytes, columns: str, *, is_pipe: bool) -> None:
    """A file without an extension, or a pipe: packed or not, JSON or text."""
    path = tmp_path / "data"
    writer = None
    if is_pipe:
        os.mkfifo(path)
        writer = threading.Thread(target=path.write_bytes, args=(content,))
        writer.start()
    else:
        path.write_bytes(content)
    found = rows(Source(str(path)))
    if writer is not None:
        writer.join()
    assert [row[columns] for row in found] == ["say 0", "say 1", "say 2"]


def test_a_header_is_told_by_the_columns_that_are_asked_for(tmp_path: Path) -> None:
    """And by nothing else: a text is no table because there is a comma in it."""
    path = tmp_path / "data"
    path.write_bytes(b"id,Review text,score\n1,good,5\n")
    wanted = Reading(columns=("Review text", "id", "custom_id"))
    assert rows(Source(str(path), None, wanted)) == [{"id": "1", "Review text": "good", "score": "5"}]
    assert len(rows(Source(str(path), None, Reading(columns=("text",))))) == 2
    assert len(rows(Source(str(path)))) == 2
    path.write_bytes(b"prompt\nsay 1\n")
    assert len(rows(Source(str(path)))) == 2


NO_ROWS = {"pdf": b"%PDF-1.4\nx", "pickle": b"\x80\x04\x95\0\0pickle", "tar.gz": gzip.compress(b"a tar\0\0")}


@pytest.mark.parametrize("content", NO_ROWS.values(), ids=NO_ROWS)
def test_what_is_no_input_is_told(tmp_path: Path, content: bytes) -> None:
    """Nobody wants the lines of a PDF as prompts; with an encoding a NUL may be one."""
    path = tmp_path / "data"
    path.write_bytes(content)
    with pytest.raises(InputError, match="none of the formats"):
        rows(Source(str(path)))
    path.write_bytes("a\nb\n".encode("utf-16-le"))
    assert rows(Source(str(path), None, Reading(encoding="utf-16-le"))) == [{"text": "a"}, {"text": "b"}]


@pytest.mark.parametrize("name", ["a.md", "B.PNG", "c.html.gz"])
def test_a_single_document_is_no_file_of_rows(tmp_path: Path, name: str) -> None:
    """As a shell makes them of a pattern without quotes; a format that is said holds."""
    path = tmp_path / name
    path.write_bytes(gzip.compress(b"a\nb\n") if name.endswith("gz") else b"a\nb\n")
    with pytest.raises(UsageError, match=r"pattern in quotes \('\*\."):
        Source(str(path))
    assert rows(Source(str(path), "text")) == [{"text": "a"}, {"text": "b"}]


@pytest.mark.parametrize("name", ["csv", "json", "csv.bz2", "tsv"])
def test_formats_come_by_pipes(tmp_path: Path, name: str) -> None:
    """Under their names, and row by row."""
    os.mkfifo(tmp_path / DATASETS[name].name)
    dataset = DATASETS[name]
    writer = threading.Thread(target=dataset.write, args=(tmp_path / dataset.name, ROWS))
    writer.start()
    assert rows(Source(str(tmp_path / dataset.name))) == ROWS
    writer.join()


@pytest.mark.parametrize("form", [None, "csv"])
def test_a_packed_pipe_is_unpacked_whatever_is_said(tmp_path: Path, form: str | None) -> None:
    """By its first bytes, since a pipe has no name."""
    path = tmp_path / "data"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(gzip.compress(b"prompt,id\nsay 0,a\n"),))
    writer.start()
    found = rows(Source(str(path), form))
    writer.join()
    assert found == [{"prompt": "say 0", "id": "a"}]


def test_what_is_said_holds(tmp_path: Path) -> None:
    """`--input-format` goes before the name, and a wrong one is told with those that there are."""
    (tmp_path / "a.txt").write_bytes(delimited(ROWS))
    assert rows(Source(str(tmp_path / "a.txt"), "csv")) == ROWS
    assert rows(Source(str(tmp_path / "a.txt")))[0] == {"text": "id,prompt\r".strip()}
    with pytest.raises(UsageError, match="parquet"):
        Source(str(tmp_path / "a.txt"), "yaml")
    with pytest.raises(UsageError, match="directory"):
        Source(str(tmp_path / "a.txt"), "files")


@pytest.mark.parametrize(
    ("encoding", "data", "found"),
    [
        ("cp1252", "t\ncafé\n".encode("cp1252"), [{"t": "café"}]),
        ("utf-16", "t\ncafé\n".encode("utf-16"), [{"t": "café"}]),
        ("shift_jis", "t\n日本\n".encode("shift_jis"), [{"t": "日本"}]),
        ("cp1252", b"t\na\x81b\nok\n", [f"the row is no text: character 2 is the byte 0x81{NONE}", {"t": "ok"}]),
        ("ascii", b"t\n\xc3\xa9\n", [f"the row is no text: character 1 is the byte 0xc3{NONE}"]),
    ],
)
def test_encodings(tmp_path: Path, encoding: str, data: bytes, found: list[Any]) -> None:
    """Text of other encodings, and which byte is none of it: that costs its row alone."""
    (tmp_path / "a.csv").write_bytes(data)
    assert rows(Source(str(tmp_path / "a.csv"), None, Reading(encoding=encoding))) == found
    with pytest.raises(UsageError, match="--encoding"):
        rows(Source(str(tmp_path / "a.csv"), None, Reading(encoding="klingon")))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_the_order_of_bytes_is_not_guessed(tmp_path: Path, encoding: str) -> None:
    """Without a mark nobody can tell it but whoever wrote the file."""
    (tmp_path / "a.csv").write_bytes("t\nok\n".encode(f"{encoding}-le"))
    with pytest.raises(InputError, match=f"say --encoding {encoding}-le, or {encoding}-be"):
        rows(Source(str(tmp_path / "a.csv"), None, Reading(encoding=encoding)))
    assert rows(Source(str(tmp_path / "a.csv"), None, Reading(encoding=f"{encoding}-le"))) == [{"t": "ok"}]


@pytest.mark.parametrize("more", [0, 1])
@pytest.mark.parametrize(
    ("name", "data"),
    [
        *((f"a.{end}", b"") for end in ("jsonl", "json", "csv", "tsv", "txt", "odd")),
        *((f"a.{end}", b"\xef\xbb\xbf") for end in ("jsonl", "csv")),
        *((f"a.{end}.gz", gzip.compress(b"", mtime=0)) for end in ("jsonl", "csv")),
        *(("a.csv", text) for text in (b"text", b"id,text\r\n", b"id,text\n,\n", b"\n,\n", b"sep=;\n")),
        ("a.jsonl", b"\n \n"),
        ("a.json", b" []\n"),
    ],
)
def test_no_rows_are_told(tmp_path: Path, name: str, data: bytes, more: int) -> None:
    """Nothing to do is no mistake in any format, with a header and without; people are told, once."""
    told: list[str] = []
    (tmp_path / name).write_bytes(data)
    (tmp_path / "b.csv").write_bytes(b"text\n")
    names = [str(tmp_path / name), *([str(tmp_path / "b.csv")] * more)]
    source = Source(names, None, Reading(note=told.append))
    for _ in range(2):
        assert [*source.all_lines()] == []
    assert told == ["there is no row in 2 inputs" if more else f"there is no row in {names[0]}"]
    source.close()


def test_sheets_and_tables_without_rows_are_told(tmp_path: Path) -> None:
    """As text is."""
    write_sheet(tmp_path / "header.xlsx", [{"a": None}, {"a": None}])
    write_sheet(tmp_path / "empty.xlsx", [])
    parquet.write_table(pa.table({"a": pa.array([], pa.string())}), tmp_path / "a.parquet")
    for name in ("header.xlsx", "empty.xlsx", "a.parquet"):
        told: list[str] = []
        assert rows(Source(str(tmp_path / name), None, Reading(note=told.append))) == []
        assert told[-1] == f"there is no row in {tmp_path / name}"


def test_a_line_of_text_has_one_column(tmp_path: Path) -> None:
    """Who asks for another took a table for text, and is told what to say."""
    told: list[str] = []
    (tmp_path / "a.txt").write_bytes(b"id\treview\n1\tgood\n")
    reading = Reading(columns=("review",), note=told.append)
    rows(Source(str(tmp_path / "a.txt"), None, reading))
    assert len(told) == 1
    assert "'review' is asked for; if the first line names columns, say --input-format csv" in told[0]
    assert rows(Source(str(tmp_path / "a.txt"), "csv", reading)) == [{"id": "1", "review": "good"}]
    rows(Source(str(tmp_path / "a.txt"), None, Reading(columns=("text", "id"), note=told.append)))
    assert len(told) == 1


def test_several_inputs_are_one(tmp_path: Path) -> None:
    """In the order of the arguments, numbered through, blank lines counted; each row's place is in its own file."""
    (tmp_path / "a.jsonl").write_bytes(b'{"prompt":"1"}\n\n{"prompt":"2"}\n\n')
    (tmp_path / "b.csv").write_bytes(b"prompt\n3\n4\n")
    (tmp_path / "c.txt").write_bytes(b"5\n")
    names = [str(tmp_path / name) for name in ("a.jsonl", "b.csv", "c.txt")]
    source = Source(names)
    lines = list(source.all_lines())
    assert [line.seq for line in lines] == [0, 2, 4, 5, 6]
    places = [str(source.place(line.seq)).removeprefix(f"{tmp_path}/") for line in lines]
    assert places == ["a.jsonl, line 1", "a.jsonl, line 3", "b.csv, row 1", "b.csv, row 2", "c.txt, line 1"]
    assert [part["format"] for part in source.fingerprint["inputs"]] == ["jsonl", "csv", "text"]
    source.close()


def test_a_directory_is_a_job_a_file(tmp_path: Path) -> None:
    """Sorted by bytes, named below the root; images are images, hidden files and links out of it are not read."""
    root = tmp_path / "notes"
    (root / "sub").mkdir(parents=True)
    for name, content in {"b.md": b"b", "B.md": b"\xef\xbb\xbfB", "sub/a.md": b"a", "z.png": PNG, ".git": b"x"}.items():
        (root / name).write_bytes(content)
    (root / "bad.md").write_bytes(b"caf\xe9")
    (tmp_path / "secret").write_text("secret")
    (root / "link.md").symlink_to(tmp_path / "secret")
    os.mkfifo(root / "pipe")
    found = rows(Source(str(root)))
    assert [row["id"] if isinstance(row, dict) else row.split()[0].rstrip(":") for row in found] == [
        "B.md",
        "b.md",
        "bad.md",
        "link.md",
        "sub/a.md",
        "z.png",
    ]
    assert (found[0]["text"], found[1]["text"], found[5]["images"][0][:12]) == ("B", "b", "iVBORw0KGgoA")
    assert "outside" in found[3]
    assert "0xe9" in found[2]
    assert [row["id"] for row in rows(Source(f"{root}/**/*.md")) if isinstance(row, dict)] == [
        "B.md",
        "b.md",
        "sub/a.md",
    ]
    with pytest.raises(InputError, match="no file"):
        Source(f"{root}/*.txt")


def test_a_file_that_changed_is_known(tmp_path: Path) -> None:
    """The fingerprint of a directory has each file's size, times and inode in it."""
    (tmp_path / "a.md").write_text("a")
    before = Source(str(tmp_path)).fingerprint
    assert Source(str(tmp_path)).fingerprint == before
    (tmp_path / "a.md").write_text("b")
    os.utime(tmp_path / "a.md", ns=(1, 1))
    assert Source(str(tmp_path)).fingerprint != before


def test_a_pattern_of_tables_is_their_rows(tmp_path: Path) -> None:
    """Files that hold rows are read as these, unless it is said that a file is a job."""
    for name in ("b.csv", "a.csv", "c.csv.gz"):
        data = delimited([{"prompt": name}])
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    assert [row["prompt"] for row in rows(Source(f"{tmp_path}/*.csv*"))] == ["a.csv", "b.csv", "c.csv.gz"]
    assert [row["id"] for row in rows(Source(f"{tmp_path}/*.csv", "files"))] == ["a.csv", "b.csv"]
    (tmp_path / "[odd].csv").write_bytes(delimited([{"prompt": "odd"}]))
    assert [row["prompt"] for row in rows(Source(f"{tmp_path}/[odd].csv"))] == ["odd"]


def test_there_may_be_more_files_than_can_be_open(tmp_path: Path) -> None:
    """Each of many is open as long as it is read."""
    for number in range(40):
        (tmp_path / f"{number:02}.jsonl").write_bytes(jsonl([{"prompt": str(number)}]))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = max(int(file.name) for file in Path("/dev/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (taken + 20, hard))
    try:
        found = rows(Source(str(tmp_path)))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert [row["prompt"] for row in found] == [str(number) for number in range(40)]


def test_a_directory_of_tables_is_their_rows(tmp_path: Path) -> None:
    """As a pattern of them is; what Spark and Hive mark is no table, and one text among them makes each file a job."""
    (tmp_path / "year=2026").mkdir()
    for name in ("b.parquet", "year=2026/a.parquet"):
        DATASETS["parquet"].write(tmp_path / name, [{"prompt": name}])
    (tmp_path / "_SUCCESS").write_text("")
    source = Source(str(tmp_path))
    assert [row["prompt"] for row in rows(source)] == ["b.parquet", "year=2026/a.parquet"]
    assert source.would_read(tmp_path / "results.jsonl")
    assert not source.would_read(tmp_path.parent / "results.jsonl")
    assert Source(f"{tmp_path}/*.parquet").would_read(tmp_path / "c.parquet")
    with_rows = Source(str(tmp_path))
    lines = list(with_rows.all_lines())
    assert [values_of(line.data)["prompt"] for line in lines if line.data] == ["b.parquet", "year=2026/a.parquet"]
    DATASETS["parquet"].write(tmp_path / "b.parquet", [{"prompt": "other"}] * 2)
    assert len(list(with_rows.all_lines())) == 1
    assert "changed after the run began" in with_rows.damage[0]
    (tmp_path / "read.me").write_text("x")
    assert len(rows(Source(str(tmp_path)))) == 4


@pytest.mark.parametrize("kind", PACKERS)
def test_packed_files_come_whole_or_told(kind: str) -> None:
    """Several members, padding, cut off anywhere, a byte turned over, garbage behind: all that can be read is given."""
    data, pack = os.urandom(200_000) + b"x" * 200_000, PACKERS[kind]
    packed = pack(data)
    assert unpacked(packed, kind) == (data, None)
    assert unpacked(packed + pack(b"more"), kind) == (data + b"more", None)
    assert unpacked(b"", kind) == (b"", None)
    whole, complaint = unpacked(packed + b"garbage", kind)
    assert (whole, "damaged" in (complaint or "")) == (data, True)
    for end in (10, len(packed) // 2, len(packed) - 1):
        part, complaint = unpacked(packed[:end], kind)
        assert data.startswith(part)
        assert complaint is not None
        assert "cut off" in complaint
    turned = bytearray(packed)
    turned[len(packed) // 2] ^= 0xFF
    part, complaint = unpacked(bytes(turned), kind)
    assert complaint is not None or part != data


def test_a_wrong_checksum_costs_no_row() -> None:
    """All was there when it was found out; and what comes before a damaged byte is given up to it."""
    data = os.urandom(40_000) + b"the end"
    packed = bytearray(gzip.compress(data))
    packed[-6] ^= 1
    whole, complaint = unpacked(bytes(packed), "gzip")
    assert (whole, "incorrect data check" in (complaint or "")) == (data, True)
    part, complaint = unpacked(gzip.compress(b"one, ", mtime=0) + gzip.compress(data)[:9] + b"\xff" * 20, "gzip")
    assert (part, "damaged" in (complaint or "")) == (b"one, ", True)


def unpacked(packed: bytes, kind: str) -> tuple[bytes, str | None]:
    file, pieces = Unpacked(cast("BinaryIO", io.BytesIO(packed)), kind), []
    try:
        while piece := file.read(1000):
            pieces.append(piece)
    except InputError as error:
        return b"".join(pieces), str(error)
    return b"".join(pieces), None


@pytest.mark.parametrize("kind", PACKERS)
def test_a_bomb_is_let_be(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """What unpacks to a thousand times its size ends there; what is merely monotonous does not."""
    monkeypatch.setattr(compression, "_SMALL", 1 << 20)
    part, complaint = unpacked(PACKERS[kind](bytes(20_000_000)), kind)
    assert "1,000 times" in (complaint or "")
    assert len(part) < 20_000_000
    lines = b"".join(b'{"id":"%d","prompt":"%s"}\n' % (number, b"x" * 900) for number in range(3000))
    assert unpacked(PACKERS[kind](lines), kind) == (lines, None)


def test_damage_is_told_and_the_rest_is_read(tmp_path: Path) -> None:
    """Of several inputs the others are read; of one, what came before. What cannot be read at all ends it."""
    packed = gzip.compress(jsonl([{"prompt": os.urandom(40).hex()} for _ in range(5000)]))
    (tmp_path / "cut.jsonl.gz").write_bytes(packed[: len(packed) // 2])
    (tmp_path / "b.jsonl").write_bytes(jsonl(ROWS))
    source = Source([str(tmp_path / "cut.jsonl.gz"), str(tmp_path / "b.jsonl")])
    found = rows(source)
    assert found[-3:] == ROWS
    assert len(found) > 1000
    assert len(source.damage) == 1
    assert "cut.jsonl.gz" in source.damage[0]
    (tmp_path / "none.jsonl.gz").write_bytes(b"no gzip at all")
    with pytest.raises(InputError, match="damaged"):
        rows(Source(str(tmp_path / "none.jsonl.gz")))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """The files of a directory, at a URL on this machine."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.slow
def test_urls(tmp_path: Path, site: str) -> None:
    """By fsspec, packed or not, again from the start; secrets in a URL stand in no message."""
    (tmp_path / "a.csv").write_bytes(delimited(ROWS))
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(jsonl(ROWS)))
    source = Source([f"{site}/a.csv", f"{site}/b.jsonl.gz"])
    assert rows(source) == ROWS * 2 == rows(source)
    with pytest.raises(InputError) as caught:
        rows(Source(f"{site}/gone.csv?key=SECRET"))
    assert "gone.csv" in str(caught.value)
    assert "SECRET" not in str(caught.value)
    assert without_secrets("https://ada:pw@h/x.csv?sig=1#f") == "https://h/x.csv"
    with pytest.raises(ConfigError, match="nothere"):
        Source("nothere://bucket/x.csv")
