"""Imports only point inwards: jobs -> pipelines -> upfusion, and upfusion/ is a plain PyTorch library."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FORBIDDEN = {
    "upfusion": {"ray", "mlflow", "fsspec", "s3fs", "pyarrow", "pydantic", "click", "rich", "pipelines", "jobs"},
    "pipelines": {"click", "rich", "jobs"},
    "jobs": {"ray", "mlflow"},
}


@pytest.mark.parametrize("room", FORBIDDEN)
def test_a_room_imports_nothing_from_outside(room: str) -> None:
    files = list((ROOT / room).rglob("*.py"))
    assert len(files) > 5
    strays = [f"{file.relative_to(ROOT)}: {name}" for file in files for name in _imported(file) & FORBIDDEN[room]]
    assert not strays


def _imported(file: Path) -> set[str]:
    return {name.split(".")[0] for name in _names(ast.parse(file.read_text()))}


def _names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module or ""
