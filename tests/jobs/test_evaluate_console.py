import io
import itertools

import pytest
from click.testing import CliRunner
from rich.console import Console

from jobs.command_line import main
from jobs.evaluate_console import EvaluationLine, say_comparison
from pipelines.evaluate_config import EvaluateConfig
from pipelines.evaluation.comparison import Comparison, compare
from pipelines.fuse import Progress
from tests.archives import make_archive
from tests.pipelines.evaluation.measured_values import MISSING, rows_of, table_of


def shown(comparison: Comparison, width: int = 120) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    say_comparison(console, comparison)
    return [" ".join(line.split()) for line in console.file.getvalue().splitlines() if line.strip()]


def compared(metrics: dict[str, dict[str, list[object]]]) -> list[Comparison]:
    methods = list(next(iter(metrics.values())))
    return compare(table_of(rows_of(metrics)), list(metrics), methods, methods[0])


def test_a_comparison_has_a_line_a_method_best_first_and_a_star_where_it_differs():
    better, worse = [0.5 + step / 100 for step in range(8)], [0.4 + step / 100 for step in range(8)]
    (one,) = compared({"vif_balanced": {"tiny": worse, "x[y]": better}, "nabf": {"tiny": better, "x[y]": worse}})
    assert shown(one) == [
        "MSRS: 8 of 8 pairs",
        "method rank vif_bal nabf (low)",
        "x[y] 1.0 0.535* 0.435*",
        "tiny 2.0 0.435 0.535",
        "* differs from tiny (95 % interval)",
    ]


def test_pairs_that_a_method_lacks_and_metrics_without_room_are_told():
    metrics = {
        name: {"tiny": [1.0, 2.0], "mean": [2.0, 1.0], "x": [1.0, MISSING]}
        for name in ("vif", "ssim", "en", "sd", "sf")
    }
    first, second = (shown(one, 60) for one in compared(metrics))
    assert first[0] == "MSRS: 2 of 2 pairs"
    assert second[0] == "MSRS: 1 of 2 pairs, those that x has"
    assert "3 more metrics in results.md" in " ".join(second)


def test_without_a_terminal_each_stage_has_lines_of_its_own(monkeypatch):
    ticks = itertools.count(0, 100)
    monkeypatch.setattr("jobs.console.time.monotonic", lambda: next(ticks))
    console = Console(file=io.StringIO(), width=100)
    with EvaluationLine(console) as line:
        line.update("fusing with tiny", Progress(4, 4))
        line.update("measuring", Progress(8))
        line.update("measuring", Progress(8, 8, 1))
    said = console.file.getvalue().splitlines()
    assert said[0].startswith("fusing with tiny: 4 / 4 pairs")
    assert said[-1].startswith("measuring: 8 / 8 fusions")
    assert said[-1].endswith("1 failed")


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[EvaluateConfig]:
    """What `upfusion evaluate` was asked for; it stops where it would plan."""
    configs: list[EvaluateConfig] = []

    def stop(config: EvaluateConfig) -> None:
        configs.append(config)
        raise KeyError("stop")

    monkeypatch.setattr("jobs.evaluate.plan_evaluation", stop)
    return configs


@pytest.mark.parametrize(
    "words",
    [
        ["s1", "s2", "--methods", "tiny", "mean", "x=folder", "--out", "o"],
        ["--methods", "tiny", "mean", "x=folder", "--out", "o", "s1", "s2"],
        ["s1", "s2", "--methods=tiny,mean", "--out", "o", "--methods", "x=folder"],
        ["s1", "--methods", "tiny,mean,x=folder", "--out", "o", "s2"],
    ],
)
def test_sets_and_methods_are_given_with_blanks_or_commas(told, words):
    CliRunner().invoke(main, ["evaluate", *words])
    assert told[0].sets == ("s1", "s2")
    assert told[0].methods == ("tiny", "mean", "x=folder")
    assert told[0].out == "o"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--out", "o"], "SETS is missing: Sets of pairs"),
        (["in", "--out", "o", "--methods", "best"], "no method 'best': neither one of mean, max"),
        (["in", "--out", "o", "--metrics", "none"], "--metrics: an evaluation needs at least one metric"),
        (["in", "--out", "o", "--methods", "mean", "--reference", "tiny"], "--reference: no method is called 'tiny'"),
    ],
)
def test_a_wrong_request_is_refused_with_its_reason(tmp_path, monkeypatch, words, said):
    make_archive(tmp_path / "in", 1)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["evaluate", *words, "--no-tracking"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in " ".join(result.stderr.split())
    assert not (tmp_path / "o").exists()
