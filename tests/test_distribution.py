"""What `python -m build` makes: the wheel of a source distribution holds every file of the packages."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("upfusion", "pipelines", "jobs")
FILES = ("pyproject.toml", "README.md", "LICENSE")


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_the_packages(tmp_path: Path) -> None:
    # A copy, in which nothing lies that an earlier build has left.
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    for file in FILES:
        shutil.copy(ROOT / file, tmp_path)
    files = [path for package in PACKAGES for path in (tmp_path / package).rglob("*") if path.is_file()]
    # With the setuptools of this environment, which needs no network.
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", "dist"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    assert list((tmp_path / "dist").glob("*.tar.gz"))
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == {str(path.relative_to(tmp_path)) for path in files}
    kinds = {Path(name).suffix for name in names}
    assert {".safetensors", ".tsv", ".jinja", ".typed"} <= kinds
