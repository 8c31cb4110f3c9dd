"""`upfusion demo`: what a person tries first."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from jobs.command_line import main
from pipelines.cluster import inline

pytestmark = pytest.mark.slow


@pytest.mark.usefixtures("forget_tracking")
def test_the_demo_fuses_what_it_draws_and_says_where_to_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inline, "_is_connected", lambda: False)  # other tests of this process may be
    result = CliRunner().invoke(main, ["demo", "--out", str(tmp_path / "demo"), "--count", "2"])
    assert result.exit_code == 0, result.output
    assert re.search(r"\b6\b.*\b6\b", result.output)
    assert str(tmp_path / "demo" / "fused" / "report.html") in result.output
    assert (tmp_path / "demo" / "fused" / "report.html").is_file()
    assert (tmp_path / "demo" / "mlflow.db").is_file()
    assert len(list((tmp_path / "demo" / "fused" / "images").glob("*.png"))) == 6
    assert "One pair at 5 balances" in (tmp_path / "demo" / "fused" / "report.html").read_text()
