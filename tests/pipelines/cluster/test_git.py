import re
import subprocess

import pytest

from pipelines.cluster import git as source_tree
from pipelines.cluster.git import git_commit


def test_the_commit_is_that_of_the_source_tree(tmp_path, monkeypatch):
    git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--allow-empty", "-m", "first"], check=True)
    (tmp_path / "pipelines").mkdir()
    monkeypatch.setattr(source_tree, "__file__", str(tmp_path / "pipelines" / "source_tree.py"))
    commit = git_commit()
    assert commit is not None
    assert re.fullmatch(r"[0-9a-f]{40}", commit)


@pytest.mark.parametrize("told", ["abc123", None])
def test_outside_a_checkout_the_environment_says_it(tmp_path, monkeypatch, told):
    monkeypatch.setattr(source_tree, "__file__", str(tmp_path / "source_tree.py"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    monkeypatch.delenv("GIT_COMMIT", raising=False)
    if told:
        monkeypatch.setenv("GIT_COMMIT", told)
    assert git_commit() == told
