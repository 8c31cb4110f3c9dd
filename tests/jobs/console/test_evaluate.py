import io
import itertools
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from click.testing import CliRunner
from rich.console import Console

from jobs.command_line import main
from jobs.console.evaluate import EvaluationLine, print_comparison, print_evaluation, print_plan
from pipelines.cluster.runner import Progress
from pipelines.evaluate.comparison import Comparison, compare
from pipelines.evaluate.config import EvaluateConfig
from pipelines.evaluate.findings import Finding, list_findings
from pipelines.evaluate.folder import EvaluationFolder
from pipelines.evaluate.fusions import Fusions
from pipelines.evaluate.outcome import Evaluation
from pipelines.evaluate.plan import plan_evaluation
from pipelines.evaluate.rows import FAILED, OK, measured_schema, to_values
from tests.archives import make_archive
from tests.pipelines.evaluate.measured_values import MISSING, rows_of, table_of
from tests.values_in_text import numbers_in


def shown(comparison: Comparison, width: int = 120) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    print_comparison(console, comparison)
    return [" ".join(line.split()) for line in console.file.getvalue().splitlines() if line.strip()]


def compared(metrics: dict[str, dict[str, list[object]]]) -> list[Comparison]:
    methods = list(next(iter(metrics.values())))
    return compare(table_of(rows_of(metrics)), list(metrics), methods, methods[0])


def test_a_comparison_has_a_line_a_method_best_first_and_a_star_where_it_differs():
    better, worse = [0.5 + step / 100 for step in range(8)], [0.4 + step / 100 for step in range(8)]
    (one,) = compared({"vif_balanced": {"tiny": worse, "x[y]": better}, "nabf": {"tiny": better, "x[y]": worse}})
    title, heading, best, second, note = shown(one)
    assert numbers_in(title) == ["8", "8"]
    assert [word for word in heading.split() if word in ("vif_bal", "nabf")] == ["vif_bal", "nabf"]
    assert (best, second) == ("x[y] 1.0 0.535* 0.435*", "tiny 2.0 0.435 0.535")
    assert note.startswith("* ")
    assert "tiny" in note


def test_pairs_that_a_method_lacks_and_metrics_without_room_are_told():
    metrics = {
        name: {"tiny": [1.0, 2.0], "mean": [2.0, 1.0], "x": [1.0, MISSING]}
        for name in ("vif", "ssim", "en", "sd", "sf")
    }
    first, second = (shown(one, 60) for one in compared(metrics))
    assert numbers_in(first[0]) == ["2", "2"]
    assert numbers_in(second[0]) == ["1", "2"]
    assert " x " in second[0]
    assert re.search(r"\b3\b.*results\.md", " ".join(second))


def test_without_a_terminal_each_stage_has_lines_of_its_own(monkeypatch):
    ticks = itertools.count(0, 100)
    monkeypatch.setattr("jobs.console.progress.time.monotonic", lambda: next(ticks))
    console = Console(file=io.StringIO(), width=100)
    with EvaluationLine(console) as line:
        line.update("fusing with tiny", Progress(4, 4))
        line.update("measuring", Progress(8, unit="fusions"))
        line.update("measuring", Progress(8, 8, 1, unit="fusions"))
    output = console.file.getvalue().splitlines()
    assert re.match(r"fusing with tiny\b.* 4 / 4 ", output[0])
    assert re.match(r"measuring\b.* 8 / 8 .*\b1\b", output[-1])


@pytest.fixture
def evaluation(tmp_path: Path) -> Evaluation:
    """Of two pairs, one that failed by a method and one that it lacks; nothing was written."""
    make_archive(tmp_path / "night", 3)
    make_archive(tmp_path / "[x] theirs", 1)
    (tmp_path / "[x] theirs" / "visible" / "of no pair.png").write_bytes(b"x")
    theirs = f"[x] theirs={tmp_path / '[x] theirs' / 'visible'}"
    config = EvaluateConfig(
        sets=(f"night={tmp_path / 'night'}",), out=f"{tmp_path}/[out]", methods=("mean", theirs), limit=2, metrics="en",
        no_tracking=True,
    )  # fmt: skip
    plan = plan_evaluation(config)
    states = {("0", "mean"): OK, ("1", "mean"): OK, ("0", "[x] theirs"): FAILED, ("1", "[x] theirs"): MISSING}
    rows = pa.Table.from_pylist(
        [
            {"key": "", "set": "night", "pair_id": f"street_00{pair}", "task": "ir_visible", "method": method}
            | {"status": status, "en": 7.0 if status == OK else None, "why_none": []}
            | {"error": None if status == OK else "1.png is damaged"}
            for (pair, method), status in states.items()
        ],
        measured_schema(("en",)),
    )
    values = to_values(rows, ("en",))
    return Evaluation(
        EvaluationFolder(config.out),
        plan,
        rows,
        values,
        compare(values, ("en",), ("mean", "[x] theirs"), "mean"),
        [],
        list_findings(plan, rows, {}),
        Fusions(),
        measured_now=1,
    )


def said_by(say: Callable[[Console], None], width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    say(console)
    return console.file.getvalue().splitlines()


def test_a_plan_says_what_is_left_out_and_what_lacks_a_partner(evaluation):
    of_set, of_method = said_by(lambda console: print_plan(console, evaluation.plan), width=120)
    assert re.search(r"\bnight\b.*\b2\b.*\(ir_visible\).*\b1\b", of_set)
    assert re.match(r"  \[x\] theirs\b.*\b1\b.*\b1\b", of_method)


def test_a_plan_in_which_all_fits_says_no_more_than_its_sets(tmp_path):
    make_archive(tmp_path / "night", 2)
    config = EvaluateConfig(
        sets=(str(tmp_path / "night"),), out="out", methods=(str(tmp_path / "night" / "visible"),), no_tracking=True
    )
    plan = plan_evaluation(config)
    (of_set,) = said_by(lambda console: print_plan(console, plan), width=120)
    assert re.search(r"\bnight\b.*\b2\b.*\(ir_visible\)$", of_set)


def test_what_was_noticed_is_said_by_kind_and_places_stay_on_one_line(evaluation, tmp_path):
    lines = said_by(lambda console: print_evaluation(console, evaluation), width=72)
    out = f"{tmp_path}/[out]"
    *findings, measured, failed, noticed, values, tables, pictures, results = lines[-13:]
    assert [numbers_in(kind) for kind in findings[::2]] == [["1"], ["1"], ["1"]]
    assert findings[1::2] == [
        "  night, [x] theirs: 1.png is damaged (1: street_000)",
        "  night, [x] theirs (1: street_001)",
        f"  night, [x] theirs (1: {tmp_path}/[x] theirs/visible/of no pair.png)",
    ]
    assert (numbers_in(measured), numbers_in(failed)) == (["1", "2"], ["1"])
    files = ("findings.csv", "values.parquet", "tables.csv", "pictures", "results.md")
    for line, file in zip((noticed, values, tables, pictures, results), files, strict=True):
        assert line.endswith(f" {out}/{file}")
    assert numbers_in(lines[0]) == ["2", "2"]
    assert "[x] theirs" in " ".join(lines[:-13])


def test_where_all_went_well_nothing_is_noticed_and_the_run_is_named(evaluation):
    rows = evaluation.rows.filter(pc.equal(evaluation.rows["status"], OK))
    fine = replace(evaluation, rows=rows, findings=[], measured_now=2, tracked="run [7] of upfusion")
    rows = [line.split(maxsplit=1) for line in said_by(lambda console: print_evaluation(console, fine))]
    text = {row[0]: row[1].strip() for row in rows if len(row) == 2}
    assert numbers_in(text["Measured"]) == ["2"]
    assert text["MLflow"] == "run [7] of upfusion"
    assert not {"Failed", "Noticed"} & set(text)


def test_many_findings_are_some_lines_and_how_many_more(evaluation):
    found = [Finding("odd", "night", "theirs", str(number), "grey") for number in range(5)]
    found += [Finding("odd", "night", f"method {number}", "1", "grey") for number in range(8)]
    lines = said_by(lambda console: print_evaluation(console, replace(evaluation, findings=found)))
    start = next(number for number, line in enumerate(lines) if numbers_in(line) == ["13"])
    assert re.match(r"  night, theirs: grey \(5: 0, 1, 2\b.*\b2\b", lines[start + 1])
    assert lines[start + 2 : start + 7] == [f"  night, method {number}: grey (1: 1)" for number in range(5)]
    assert re.search(r"\b3\b.*results\.md", lines[start + 7])


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[EvaluateConfig]:
    """What `upfusion evaluate` was asked for; it stops where it would plan."""
    configs: list[EvaluateConfig] = []

    def stop(config: EvaluateConfig) -> None:
        configs.append(config)
        raise KeyError("stop")

    monkeypatch.setattr("pipelines.evaluate.plan.plan_evaluation", stop)
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
    ("words", "named"),
    [
        (["--out", "o"], "SETS"),
        (["in", "--out", "o", "--methods", "best"], "'best'"),
        (["in", "--out", "o", "--metrics", "none"], "--metrics"),
        (["in", "--out", "o", "--methods", "mean", "--reference", "tiny"], "--reference"),
    ],
)
def test_a_wrong_request_is_refused_with_its_reason(tmp_path, monkeypatch, words, named):
    make_archive(tmp_path / "in", 1)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["evaluate", *words, "--no-tracking"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert named in " ".join(result.stderr.split())
    assert not (tmp_path / "o").exists()


def test_a_folder_of_pictures_that_were_not_drawn_is_not_named(evaluation):
    def named(one: Evaluation) -> bool:
        return any(one.folder.pictures in line for line in said_by(lambda console: print_evaluation(console, one)))

    config = evaluation.plan.config.model_copy(update={"no_pictures": True})
    assert named(evaluation)
    assert not named(replace(evaluation, plan=replace(evaluation.plan, config=config)))
