"""Rows that fail."""

import ast
import re
from pathlib import Path
from typing import get_args

import pytest

from pipelines.errors.failures import ERROR_CODES, STORE_LOST, fail
from pipelines.fuse.footage.container import RecordingError
from upfusion.image_errors import ImageErrorCode

ROOT = Path(__file__).parents[3]


def test_the_first_failure_of_a_pair_is_kept():
    row = {"pair_id": "x"}
    fail(row, "source_missing", "a does not exist")
    fail(row, "size_mismatch", "sizes differ")
    assert (row["error_code"], row["error"]) == ("source_missing", "a does not exist")


def test_a_failure_tells_no_secret(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "open-sesame")
    row = {"error_code": None}
    fail(row, "source_unreadable", "signed with open-sesame at https://me:hidden@host/x")
    assert row["error"] == "signed with *** at https://me:***@host/x"


def test_an_error_code_outside_the_list_cannot_be_raised():
    row = {"error_code": None}
    with pytest.raises(ValueError, match="'lost_in_space'"):
        fail(row, "lost_in_space", "no such code")
    assert row == {"error_code": None}
    with pytest.raises(ValueError, match="'lost_in_space'"):
        RecordingError("lost_in_space", "no such code")
    fail(row, STORE_LOST, "on its way through the graph")


def test_every_code_in_the_source_is_in_the_list_and_every_code_of_the_list_in_the_source():
    """Codes are string constants wherever they are raised, so that one finds them."""
    images = set(get_args(ImageErrorCode))
    found = set(images)
    for file in (ROOT / "pipelines").rglob("*.py"):
        if file.name != "failures.py":
            found |= {text for text in _strings(ast.parse(file.read_text())) if re.fullmatch("[a-z]+(_[a-z]+)+", text)}
    assert images < set(ERROR_CODES) <= found


def _strings(tree: ast.AST) -> set[str]:
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
