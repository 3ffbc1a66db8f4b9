"""Images of a line: which are read, in what form they travel, and which are never opened."""

from __future__ import annotations

import os
import stat
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING

import pytest
from support.job_lines import ENCODED, PNG, USER, job_of, refusal

from batcher.inputs.formats.defaults import Defaults
from batcher.inputs.formats.images import IMAGE_LIMIT
from batcher.opening import open_below

if TYPE_CHECKING:
    from pathlib import Path


def test_images_from_base64_and_files(tmp_path: Path) -> None:
    """Base64 stays, a data URI loses its head, a file becomes base64; the bytes are the same."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.png").write_bytes(PNG)
    given_as = [
        ENCODED,
        f"data:image/png;base64,{ENCODED}",
        "sub/a.png",
        str(tmp_path / "sub/a.png"),
        f"file://{tmp_path}/sub/a.png",
    ]
    job = job_of(prompt="hi", images=given_as, defaults=Defaults(files_root=tmp_path))
    assert {b64decode(image) for image in job.images} == {PNG}
    assert len(job.images) == 5


def test_images_in_messages(tmp_path: Path) -> None:
    """Messages take paths in Ollama's `images` and in OpenAI's parts; web addresses stay as they are."""
    (tmp_path / "a.png").write_bytes(PNG)
    url = f"data:image/png;base64,{ENCODED}"
    parts = [
        {"type": "image_url", "image_url": {"url": "a.png", "detail": "low"}},
        {"type": "input_image", "image_url": "a.png"},
        {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
        {"type": "image_url", "image_url": {"url": url}},
    ]
    messages = [{"role": "user", "content": "hi", "images": ["a.png"]}, {"role": "user", "content": parts}]
    job = job_of(messages=messages, defaults=Defaults(files_root=tmp_path))
    assert job.content[0]["images"] == [ENCODED]
    assert [part["image_url"] for part in job.content[1]["content"]] == [
        {"url": url, "detail": "low"},
        url,
        {"url": "https://example.org/a.png"},
        {"url": url},
    ]


def test_images_of_a_chat_line_go_to_its_last_user_message() -> None:
    """A chat line's own images become part of what the user said last."""
    answer = {"role": "assistant", "content": "x"}
    job = job_of(messages=[USER, {**USER, "images": [ENCODED]}, answer], images=[ENCODED])
    assert (job.content, job.images) == ([USER, {**USER, "images": [ENCODED, ENCODED]}, answer], ())
    assert job_of(prompt="hi", url="/api/chat", images=[ENCODED]).content == [{**USER, "images": [ENCODED]}]


@pytest.mark.parametrize("head", [b"\xff\xd8\xff", b"GIF89a", b"RIFF1234WEBP", b"RIFF1234WAVE", b"ID3"])
def test_other_media(head: bytes, tmp_path: Path) -> None:
    """The other kinds that servers take pass too, as base64 and as files."""
    data = head + bytes(60)
    (tmp_path / "a").write_bytes(data)
    job = job_of(prompt="hi", images=["a", b64encode(data).decode()], defaults=Defaults(files_root=tmp_path))
    assert [b64decode(image) for image in job.images] == [data, data]


@pytest.fixture
def traps(tmp_path: Path) -> Path:
    """A directory with all that must not be read as an image, and a secret beside it."""
    root = tmp_path / "root"
    (root / "directory").mkdir(parents=True)
    (tmp_path / "secret.png").write_bytes(PNG)
    (root / "out.png").symlink_to(tmp_path / "secret.png")
    (root / "loop.png").symlink_to("loop.png")
    os.mkfifo(root / "fifo.png")
    (root / "device.png").symlink_to("/dev/zero")
    (root / "note.txt").write_text("no image at all, only text")
    (root / "empty.png").touch()
    with (root / "huge.png").open("wb") as file:
        file.write(PNG)
        file.truncate(IMAGE_LIMIT + 1)  # a sparse file: it takes no room
    return root


@pytest.mark.parametrize(
    ("image", "code"),
    [
        ("missing.png", "image_missing"),
        ("nul\0.png", "image_missing"),
        ("bm8gaW1hZ2U=", "image_missing"),
        ("x" * 300, "image_missing"),
        ("loop.png", "image_missing"),
        ("directory", "image_not_file"),
        ("fifo.png", "image_not_file"),
        ("../secret.png", "image_outside"),
        ("out.png", "image_outside"),
        ("device.png", "image_outside"),
        ("/etc/passwd", "image_outside"),
        ("file:///etc/passwd", "image_outside"),
        ("huge.png", "image_too_large"),
        ("note.txt", "image_type"),
        ("empty.png", "image_type"),
        ("data:image/png;base64,AAAAAAAAAAAAAAAAAAAAAAAA", "image_type"),
        ("data:image/png,xyz", "image_type"),
        ("A" * 5000, "image_type"),
    ],
)
def test_images_refused(image: str, code: str, traps: Path) -> None:
    """Nothing but an image of fair size below the job file's directory is opened, and the reason is told."""
    defaults = Defaults(files_root=traps)
    assert refusal(id="a", prompt="hi", images=[image], defaults=defaults).code == code
    if not image.startswith("data:"):
        part = {"type": "image_url", "image_url": {"url": image}}
        assert refusal(messages=[{"role": "user", "content": [part]}], defaults=defaults).code == code


def test_images_on_the_web_are_for_servers() -> None:
    """Those of parts are passed on, as `/v1` has it; nothing is fetched here."""
    url = "https://localhost/a.png"
    assert refusal(prompt="hi", images=[url]).code == "image_url"
    assert refusal(prompt="hi", images=[""]).message.endswith("an empty text")
    part = {"type": "image_url", "image_url": {"url": url}}
    assert job_of(messages=[{"role": "user", "content": [part]}]).content[0]["content"] == [part]


def test_too_large_base64_is_refused() -> None:
    """Base64 has the same limit as a file."""
    assert refusal(prompt="hi", images=[ENCODED[:16] + "A" * (IMAGE_LIMIT // 3 * 4 + 8)]).code == "image_too_large"


def test_paths_need_a_root() -> None:
    """Input that comes from no file can name no files."""
    assert refusal(prompt="hi", images=["a.png"]).code == "image_outside"


def test_file_that_grows_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that grew between its size being told and its reading is still bounded."""
    (tmp_path / "a.png").write_bytes(PNG)
    small = os.stat_result((stat.S_IFREG | 0o600, 0, 0, 1, 0, 0, 1, 0, 0, 0))
    with (tmp_path / "a.png").open("ab") as file:
        file.truncate(IMAGE_LIMIT + 1)
    monkeypatch.setattr(os, "fstat", lambda _: small)
    assert refusal(prompt="hi", images=["a.png"], defaults=Defaults(files_root=tmp_path)).code == "image_too_large"


@pytest.mark.parametrize("depth", ["a", "a/b"])
def test_a_directory_that_becomes_a_link_between_look_and_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, depth: str
) -> None:
    """What lay below the job file when it was looked at, and leads elsewhere when it is opened, is not read."""
    for place in ("home/a/b", "jobs/a/b"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "x.png").write_bytes(PNG)
    root = tmp_path / "jobs"
    assert job_of(prompt="hi", images=["a/b/x.png"], defaults=Defaults(files_root=root)).images

    def swapped(base: Path, path: Path) -> int:
        (root / depth).rename(tmp_path / "was")
        (root / depth).symlink_to(tmp_path / "home" / depth)
        return open_below(base, path)

    monkeypatch.setattr("batcher.inputs.formats.images.open_below", swapped)
    refused = refusal(prompt="hi", images=["a/b/x.png"], defaults=Defaults(files_root=root))
    assert refused.code in ("image_missing", "image_not_file")
