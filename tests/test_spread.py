"""How tests are spread over workers: what stays together, who takes what, and that each test is run once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from support.spread import Part, Spread, part_of

if TYPE_CHECKING:
    from pathlib import Path

MODULES = {
    "api/test_quick.py": ("", 3),
    "real/test_model.py": ("pytestmark = pytest.mark.slow", 3),
    "real/test_other.py": ("pytestmark = pytest.mark.slow", 2),
    "running/test_scenes.py": ("@pytest.mark.slow; pytest.mark.xdist_group", 3),
    "running/test_waits.py": ("@pytest.mark.slow", 3),
    "soak/test_soak.py": ("@pytest.mark.slow", 1),
    "wire/test_quick.py": ("", 4),
    "wire/test_quicker.py": ("", 2),
}
GROUP = "running/test_scenes.py"


class Worker:
    """Is handed tests by their places in the list, and says when one is done."""

    shutting_down = False
    gateway = SimpleNamespace(id="popen")

    def __init__(self) -> None:
        self.todo: list[int] = []
        self.done: list[int] = []

    def send_runtest_some(self, places: list[int]) -> None:
        self.todo += places

    def shutdown(self) -> None:
        self.shutting_down = True


@pytest.fixture
def tests(tmp_path: Path) -> list[str]:
    """The tests of a tree, in the order of the queue."""
    for name, (text, _) in MODULES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    ordered = sorted(MODULES, key=lambda name: part_of(tmp_path / name))
    return [f"{name}::test_{number}[a::b@c]" for name in ordered for number in range(MODULES[name][1])]


def spread(path: Path, tests: list[str], count: int) -> list[list[str]]:
    """What each of `count` workers ran, which all take as long for a test."""
    option = SimpleNamespace(tx=["popen"] * count, loadscopereorder=True)
    config: Any = SimpleNamespace(rootpath=path, option=option, getvalue=lambda name: getattr(option, name))
    queue = Spread(config, None)
    workers = [Worker() for _ in range(count)]
    for worker in workers:
        queue.add_node(worker)
    for worker in workers:
        queue.add_node_collection(worker, tests)
    queue.schedule()
    while queue.has_pending:
        for worker in workers:
            if worker.todo:
                worker.done.append(worker.todo.pop(0))
                queue.mark_test_complete(worker, worker.done[-1])
    return [[tests[place] for place in worker.done] for worker in workers]


def module(test: str) -> str:
    return test.partition("::")[0]


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_each_test_is_run_once(tmp_path: Path, tests: list[str], count: int) -> None:
    """However many workers there are."""
    assert sorted(test for ran in spread(tmp_path, tests, count) for test in ran) == sorted(tests)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_what_stays_together(tmp_path: Path, tests: list[str], count: int) -> None:
    """All on the real server, the fast ones of a module and those of a group are run by one worker in one go."""
    for ran in spread(tmp_path, tests, count):
        whole = ["real" if part_of(tmp_path / name) is Part.REAL else name for name in map(module, ran)]
        for kept in {name for name in whole if name in ("real", GROUP) or part_of(tmp_path / name) is Part.FAST}:
            assert whole.count(kept) == sum(test.startswith(kept) for test in tests)
            place = whole.index(kept)
            assert set(whole[place : place + whole.count(kept)]) == {kept}


def test_the_queue_has_two_ends(tmp_path: Path, tests: list[str]) -> None:
    """The real server is first, then what takes longest; the second worker begins with modules from the back."""
    front, back = (list(dict.fromkeys(map(module, ran))) for ran in spread(tmp_path, tests, 2))
    assert front == ["real/test_model.py", "real/test_other.py", "soak/test_soak.py", GROUP, "running/test_waits.py"]
    assert back[:3] == ["wire/test_quicker.py", "wire/test_quick.py", "api/test_quick.py"]


@pytest.mark.parametrize(("name", "counts"), [("running/test_waits.py", [2, 1]), (GROUP, [3, 0])])
def test_slow_ones_are_shared(tmp_path: Path, tests: list[str], name: str, counts: list[int]) -> None:
    """A module that waits again and again is no one worker's, but for what all its tests wait for together."""
    slow = [test for test in tests if module(test) == name]
    assert [len(ran) for ran in spread(tmp_path, slow, 2)] == counts
