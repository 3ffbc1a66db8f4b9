"""What an input is told to be by what was said, by its name and by its first bytes; several as one; what is damaged."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import resource
import tarfile
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
import zstandard
from pyarrow import parquet
from support.datasets import DATASETS, array, delimited, jsonl, write_sheet

from batcher.failures import ConfigError, InputError, LineError, UsageError
from batcher.inputs import compression
from batcher.inputs.compression import Unpacked
from batcher.inputs.formats.reading import Reading
from batcher.inputs.formats.rows import values_of
from batcher.inputs.remote import without_secrets
from batcher.inputs.source import Source
from batcher.opening import open_below

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("said", ["cp1252", "shift_jis", "utf-8", "utf-16-be"])
def test_a_mark_says_more_than_anybody(tmp_path: Path, encoding: str, said: str) -> None:
    """Of several inputs one may have it: it would be letters of another name for the first column."""
    (tmp_path / "a.csv").write_bytes("t,u\nü,1\n".encode(encoding))
    assert rows(Source(str(tmp_path / "a.csv"), None, Reading(encoding=said))) == [{"t": "ü", "u": "1"}]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"<!DOCTYPE html>\n<html><body>Log in</body></html>\n", "an HTML page"),
        (b"\r\n <html lang='en'>", "an HTML page"),
        (b"PK\x03\x04" + bytes(30), "name those .xlsx"),
        (b"\xd0\xcf\x11\xe0" + bytes(30), "name it .xls"),
        (b"PAR1\x15\x04" + bytes(30), "name it .parquet"),
        (bz2.compress(b"t\na\n"), "name it .bz2"),
        (lzma.compress(b"t\na\n"), "name it .xz"),
        (b"%PDF-1.4\n", "a PDF"),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else value,
)
@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_what_goes_by_the_name_of_a_table(tmp_path: Path, name: str, data: bytes, told: str) -> None:
    """Something else under that name is told for what it is, where it was guessed to be UTF-16, or no row at all."""
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=told):
        rows(Source(str(tmp_path / name)))


def tar() -> bytes:
    with tarfile.open(fileobj=(file := io.BytesIO()), mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.csv"))
    return file.getvalue()


def archive() -> bytes:
    with zipfile.ZipFile(file := io.BytesIO(), "w") as packed:
        packed.writestr("a.csv", "t\na\n")
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("a.tar.gz", gzip.compress(tar()), "a.tar.gz: this is an archive of files"),
        ("a.tar", tar(), "an archive of files"),
        ("a.zip", archive(), "a zip archive and no workbook"),
        ("a.xls", b"id\ttext\n1\tx\n", "it is text; say --input-format csv or tsv"),
        ("a.xls", b"<HTML><table><tr><td>id</td></tr></table></HTML>", "it is an HTML page"),
        ("a.xlsx", b"", "Cannot detect"),
        ("a.csv.zip", archive(), "a zip archive and no workbook"),
        ("a.jsonl.gz", gzip.compress(gzip.compress(b"{}")), "packed twice"),
        ("a.json", b'{"t":{"0":"a","1":"b"}}', "orient='records'"),
        ("a.json", b'{"0":{"t":"a"},\n"1":{"t":"b"}}', "orient='records'"),
        ("a.json", b'{"columns":["t"],"index":[0],"data":[["a"]]}', "orient='records'"),
        ("a.json", b'{"schema":{"fields":[]},"data":[]}', "orient='records'"),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else value,
)
def test_what_holds_rows_otherwise(tmp_path: Path, name: str, data: bytes, told: str) -> None:
    """Archives, and tables by columns, are told for what they are, where a single prompt was made of them."""
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=told):
        rows(Source(str(tmp_path / name)))


def test_rows_that_only_look_like_columns(tmp_path: Path) -> None:
    """Objects one behind another are rows, whatever they begin with."""
    (tmp_path / "a.json").write_text('{"logit_bias":{"0":1}}\n{"logit_bias":{"0":2}}\n')
    assert len(rows(Source(str(tmp_path / "a.json")))) == 2


@pytest.mark.parametrize("text", ["[\n {}\n]\n", "[{}]", "{\n}\n"])
def test_an_array_by_the_name_of_lines(tmp_path: Path, text: str) -> None:
    """Whoever called it `.jsonl` is told what it is; where nobody calls it anything, it is read."""
    (tmp_path / "a.jsonl").write_text(text)
    assert "say --input-format json" in rows(Source(str(tmp_path / "a.jsonl")))[0]
    assert rows(Source(str(tmp_path / "a.jsonl"), "json")) == [{}]
    (tmp_path / "jsonl").write_text(text)
    assert rows(Source(str(tmp_path / "jsonl"))) == [{}]


def test_a_directory_of_odd_files(tmp_path: Path) -> None:
    """Texts are read in the encoding that is said, or that their mark says, packed or not; others say what they are."""
    files = {
        "a.md": "é".encode("cp1252"),
        "b.md": "é".encode("utf-16"),
        "c.md.gz": gzip.compress("é".encode("cp1252")),
        "d.md.gz": b"none",
        "e.bmp": b"BM" + bytes(30),
        "f.pdf": b"%PDF-1.4",
        "g.docx": b"PK\x03\x04" + bytes(30),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    found = rows(Source(str(tmp_path), None, Reading(encoding="cp1252")))
    assert [row["text"] for row in found[:3]] == ["é"] * 3
    words = ["this is no gzip data", "is no PNG", "is a PDF", "is a zip archive"]
    assert [word in message for word, message in zip(words, found[3:], strict=True)] == [True] * 4


def test_an_encoding_that_is_none_of_files(tmp_path: Path) -> None:
    """Nobody is told of byte order marks where none would help."""
    (tmp_path / "a.csv").write_text("a,b\n1;2..\n")
    with pytest.raises(InputError, match="cannot be read as idna"):
        rows(Source(str(tmp_path / "a.csv"), None, Reading(encoding="idna")))


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


def test_a_directory_below_the_root_becomes_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between look and use: what it leads to by then is no file of the input."""
    root = tmp_path / "notes"
    for place in (root / "sub", tmp_path / "home"):
        place.mkdir(parents=True)
        (place / "a.md").write_bytes(b"secret" if place.name == "home" else b"a")
    assert [row["text"] for row in rows(Source(str(root)))] == ["a"]

    def swapped(base: Path, path: Path) -> int:
        (root / "sub").rename(tmp_path / "was")
        (root / "sub").symlink_to(tmp_path / "home")
        return open_below(base, path)

    monkeypatch.setattr("batcher.inputs.formats.folder.open_below", swapped)
    [row] = rows(Source(str(root)))
    assert "cannot be read" in row


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


CHECKED = PACKERS | {"zstd": lambda data: zstandard.ZstdCompressor(write_checksum=True).compress(data)}


class Once(io.BytesIO):
    """What can be read but once, as a pipe."""

    def seekable(self) -> bool:
        return False


@pytest.mark.parametrize("opened", [io.BytesIO, Once])
@pytest.mark.parametrize("kind", CHECKED)
def test_a_wrong_checksum_costs_no_row(kind: str, opened: type[io.BytesIO]) -> None:
    """All was there when it was found out, in whichever member; and what comes before a damaged byte is given."""
    data, pack = os.urandom(40_000) + b"x" * 300_000 + b"the end", CHECKED[kind]
    for before in (b"", pack(b"a first one, ")):
        packed = bytearray(before + pack(data))
        packed[-1 if kind == "zstd" else -6] ^= 1
        whole, complaint = unpacked(bytes(packed), kind, opened)
        assert (whole, "damaged" in (complaint or "")) == (b"a first one, " * bool(before) + data, True)
    part, complaint = unpacked(pack(b"one, ") + pack(data)[:9] + b"\xff" * 20, kind, opened)
    assert (part, "damaged" in (complaint or "")) == (b"one, ", True)


def test_of_what_comes_once_little_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a long stream is damaged that nobody can read again, what came of it stands, and no more is known."""
    monkeypatch.setattr(compression, "_KEPT", 1 << 16)
    packed = bytearray(lzma.compress(data := os.urandom(200_000)))
    packed[-6] ^= 1
    part, complaint = unpacked(bytes(packed), "xz", Once)
    assert (data.startswith(part), len(part) > 100_000, "damaged" in (complaint or "")) == (True, True, True)


def unpacked(packed: bytes, kind: str, opened: type[io.BytesIO] = io.BytesIO) -> tuple[bytes, str | None]:
    file, pieces = Unpacked(opened(packed), kind), []
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
    with pytest.raises(InputError, match="this is no gzip data"):
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
