"""Whatever some jobs or a part of the servers do, all others are done, and the run comes to its end: by whole runs.

The scenes stand in `support.scenes`; `make torture ARGS="--only scenes"` plays all of them.
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import pytest
from support.sceneplay import play
from support.scenes import SCENES, Scene, ids, lot

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future
    from pathlib import Path

    from support.sceneplay import Played

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("scenes")]

QUICK: Final = {name: scene for name, scene in SCENES.items() if scene.quick}
SLACK: Final = 3.0
"""This is no measurement: others may have the machine as well."""


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Played]]]:
    """All of them, several at a time: they wait more than they work."""
    place = tmp_path_factory.mktemp("scenes")
    with ThreadPoolExecutor(4) as pool:
        yield {
            name: pool.submit(play, scene, place / f"scene{number}", SLACK)
            for number, (name, scene) in enumerate(QUICK.items())
        }


@pytest.mark.parametrize("name", QUICK)
def test_no_job_holds_up_another(played: dict[str, Future[Played]], name: str) -> None:
    """What must come out of the scene does: results, error lines, exit, and in a second run."""
    came = played[name].result()
    assert not came.wrong, str(came)


def test_what_is_wrong_is_seen(tmp_path: Path) -> None:
    """A scene that cannot come out as it says is told from one that does, in each of its parts."""
    told = Scene(
        "wrong", tuple(lot(4, [1], "do=bad")), bad=ids([0]), pending=ids([2]), exits=(0,), healthy=0.0, quiet=0.0,
        requests=3, memory=1, says="never said", ends=20,
    )  # fmt: skip
    assert [re.sub(r"\d+(\.\d)?", "N", words) for words in play(told, tmp_path / "wrong").wrong] == [
        "exit N, not N",
        "N without a result",
        "N healthy with an error line",
        "N bad without an error line",
        "N bad with a result",
        "N with a line that should wait",
        "healthy after N s, not N",
        "nothing happened for N s",
        "N requests, not N",
        "N MiB, not N",
        "'never said' is not said",
        "N bad without an error line after the second run",
    ]


@pytest.mark.parametrize("name", SCENES)
def test_the_scenes_are_what_they_say(name: str) -> None:
    """Nobody is healthy and sick at once, every id is one of its jobs', and there is something that must hold."""
    scene = SCENES[name]
    assert len(set(scene.ids)) == len(scene.ids)
    for one in (scene.bad, scene.unsure, scene.pending):
        assert one <= set(scene.ids)
    assert not (scene.bad & scene.unsure | scene.bad & scene.pending | scene.unsure & scene.pending)
    assert scene.must or scene.exits
