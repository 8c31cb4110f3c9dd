"""`upfusion demo`: what a person tries first."""

from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from click.testing import CliRunner

from jobs.command_line import main

pytestmark = pytest.mark.slow


@pytest.fixture
def tracking_as_before() -> Iterator[None]:
    before = mlflow.get_tracking_uri()
    yield
    mlflow.set_tracking_uri(before)


@pytest.mark.usefixtures("tracking_as_before")
def test_the_demo_fuses_what_it_draws_and_says_where_to_look(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["demo", "--out", str(tmp_path / "demo"), "--count", "2"])
    assert result.exit_code == 0, result.output
    assert "6 of 6 pairs fused" in result.output
    assert str(tmp_path / "demo" / "fused" / "report.html") in result.output
    assert (tmp_path / "demo" / "fused" / "report.html").is_file()
    assert (tmp_path / "demo" / "mlflow.db").is_file()
    assert len(list((tmp_path / "demo" / "fused" / "images").glob("*.png"))) == 6
    assert "One pair at 5 balances" in (tmp_path / "demo" / "fused" / "report.html").read_text()
