"""Which of pytest-xdist's processes runs which files: all that use a Ray together, so that one Ray starts for them."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

ROOT = Path(__file__).parents[1]
FIXTURE = "ray_here"


class OneRay(LoadFileScheduling):
    """Hands out file by file, but for the files whose tests share a Ray: they are one unit."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return FIXTURE if shares_ray(ROOT / file) else file


@cache
def shares_ray(file: Path) -> bool:
    """Tell whether a file's tests run on the Ray that they share: it names the fixture."""
    return FIXTURE in file.read_text(encoding="utf-8")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneRay | None:
    """Replace `--dist loadfile`."""
    return OneRay(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the shared Ray, then with slow files, so that nothing long runs alone at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    of_ray = {path for path in {item.path for item in items} if shares_ray(path)}
    items.sort(key=lambda item: (item.path not in of_ray, item.path not in slow))
