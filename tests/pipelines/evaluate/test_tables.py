import csv
import io
import json
import re
from dataclasses import fields

import numpy as np
import pytest
from markdown_it import MarkdownIt

from pipelines.evaluate.comparison import Comparison, Score, compare, overview
from pipelines.evaluate.tables import csv_rows, latex, markdown, markdown_overview
from upfusion.metrics import METRICS

from .measured_values import FAILED, MISSING, rows_of, table_of

NASTY = (
    r"a|b <script>&amp; *x* _y_ `z` [l](u) \| ~ ^ 50% #1 $m$ {q} https://x.y",
    "[first",
    "*star",
    'q"u,o\nte\r;',
    "trailing\\",
    "return\rof a carriage",
    "a--b",
    "<!-- c -->",
    "\u202egnp.exe",
)


def compared(measured, reference="mean", name="MSRS", metrics=None) -> list[Comparison]:
    methods = list(dict.fromkeys(m for by in measured.values() for m in by))
    return compare(table_of(rows_of(measured, name)), metrics or list(measured), methods, reference, resamples=199)


def plain(name: str) -> str:
    """A name as a table can show it: on one line, without signs that cannot be seen."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in name).split())


def tables_in(text: str) -> list[list[list[str]]]:
    """What a reader of Markdown sees in the cells of each table, with **, * left where they mean bold and italics."""
    tables: list[list[list[str]]] = []
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        if token.type == "table_open":
            tables.append([])
        elif token.type == "tr_open":
            tables[-1].append([])
        elif token.type == "inline" and token.level > 3:
            tables[-1][-1].append(shown(token))
    return tables


def shown(token) -> str:
    marks = {"strong_open": "<b>", "strong_close": "</b>", "em_open": "<i>", "em_close": "</i>"}
    found = []
    for child in token.children:
        assert child.type in {"text", "text_special", *marks}, f"{child.type} out of a name"
        found.append(marks.get(child.type, child.content))
    return "".join(found)


def text_of(markdown_text: str) -> str:
    inline = [
        token for token in MarkdownIt("commonmark").enable("table").parse(markdown_text) if token.type == "inline"
    ]
    return "\n".join(shown(token) for token in inline)


BASIC = {
    "nabf": {"mean": [0.1, 0.1], "tiny": [0.2, 0.2], "base": [0.3, 0.3]},
    "vif": {"mean": [0.5, 0.7], "tiny": [0.8, 0.8], "base": [0.1, None]},
    "vif_balanced": {"mean": [0.5, 0.5], "tiny": [0.7, 0.9], "base": [0.6004, 0.6004]},
}


def test_markdown_has_means_marks_directions_and_ranks():
    (table,) = tables_in(markdown(compared(BASIC)))
    assert table == [
        ["method", "vif_balanced ↑", "vif ↑", "nabf ↓", "balanced rank", "mean rank"],
        ["tiny", "<b>0.800</b>", "<b>0.800</b>", "<i>0.200</i>", "1.00", "1.33"],
        ["base", "<i>0.600</i>", "0.100", "0.300", "2.00", "2.67"],
        ["mean", "0.500", "<i>0.500</i>", "<b>0.100</b>", "3.00", "2.00"],
    ]


def test_markdown_marks_what_differs_from_the_reference():
    noise = np.random.default_rng(0).normal(size=12)
    by = {"mean": noise.tolist(), "tiny": (noise + 1).tolist(), "base": (noise - np.tile([1, -1], 6)).tolist()}
    (table,) = tables_in(markdown(compared({"vif": by})))
    cells = {row[0]: row[1] for row in table}
    assert cells["tiny"].endswith("</b>*")
    assert "*" not in cells["base"]
    assert "*" not in cells["mean"]
    assert r"$^{*}$ &" in latex(compared({"vif": by})).split("\\midrule")[1].splitlines()[1]


def test_metrics_choose_columns_and_leave_the_ranks():
    (table,) = tables_in(markdown(compared(BASIC), ["nabf", "vif"]))
    assert table[0] == ["method", "vif ↑", "nabf ↓", "balanced rank", "mean rank"]
    assert table[1][-2:] == ["1.00", "1.33"]
    assert "vif\\_balanced" not in latex(compared(BASIC), ["vif"])
    for render in (markdown, latex):
        with pytest.raises(ValueError, match=r"'qp'.*vif_balanced, vif, nabf"):
            render(compared(BASIC), ["qp"])


def test_notes_say_what_a_comparison_rests_on():
    measured = {
        "vif": {
            "mean": [1.0] * 7,
            "tiny": [2.0] * 6 + [None],
            "published": [3.0] * 2 + [FAILED] * 5,
            "gone": [MISSING] * 7,
        }
    }
    text = text_of(markdown(compared(measured)))
    first, second = text.split("MSRS (ir_visible), ")[1:]
    assert first.startswith("7 of 7 pairs")
    assert re.search(r"Reference\W+mean\b", first)
    assert re.search(r"\bvif 6\b", first)
    assert re.search(r"\bgone\.", first)
    assert "published." not in first
    assert second.startswith("2 of 7 pairs")
    assert re.search(r"\bpublished\.", second)
    assert re.search(r"Reference\W+mean\b[^.]*\b6 pairs", second)
    assert not re.search(r"\bvif \d", second)
    assert "corrected" in text


def test_notes_say_that_the_reference_is_not_there():
    measured = {"vif": {"tiny": [1.0] * 6, "base": [2.0] * 6, "mean": [MISSING] * 6}}
    text = text_of(markdown(compared(measured)))
    assert re.search(r"reference\W+mean\b", text)


def test_a_set_without_any_image_has_a_heading_and_no_table():
    nothing = compared({"vif": {"mean": [FAILED] * 2}})
    text = markdown(nothing)
    assert tables_in(text) == []
    assert re.search(r"MSRS \(ir_visible\)\D*0\D+2\b", text_of(text))
    assert re.search(r"\bmean\.", text_of(text))
    assert_well_formed(latex(nothing))
    assert len(csv_rows(nothing).splitlines()) == 1
    assert tables_in(markdown_overview(overview(nothing, "vif"))) == [
        [["set", "pairs", "mean"], ["MSRS", "0 of 2", "-"], ["average balanced rank", "", "-"]]
    ]


def test_what_has_no_value_is_a_dash_and_zero_has_no_sign():
    (table,) = tables_in(markdown(compared({"scd": {"mean": [-0.0001], "tiny": [None]}})))
    assert table[1:] == [["mean", "<b>0.000</b>", "-", "1.00"], ["tiny", "-", "-", "-"]]


def nasty() -> list[Comparison]:
    by = {name: [float(index)] for index, name in enumerate(NASTY)}
    return compared({"vif": by}, reference=NASTY[0], name=NASTY[0])


def test_names_in_markdown_are_text_and_nothing_else():
    text = markdown(nasty())
    (table,) = tables_in(text)
    assert [row[0] for row in table[1:]] == [plain(name) for name in reversed(NASTY)]
    assert all(len(row) == 4 for row in table)
    assert f"{plain(NASTY[0])} (ir_visible), 1 of 1 pair" in text_of(text)
    assert not re.search(r"(?<!\\)<", text), "some renderers let HTML through"
    (table,) = tables_in(markdown_overview(overview(nasty(), "vif")))
    assert sorted(table[0][2:]) == sorted(plain(name) for name in NASTY)
    assert table[1][0] == plain(NASTY[0])


def test_the_overview_has_sets_methods_and_average_ranks():
    tables = [
        rows_of({"vif_balanced": {"mean": [1.0, 3.0], "tiny": [5.0, 7.0], "x": [9.0, FAILED]}}, "MSRS"),
        rows_of({"vif_balanced": {"mean": [2.0], "tiny": [2.5], "x": [0.5]}}, "TNO"),
    ]
    comparisons = compare(table_of(*tables), ["vif_balanced"], ["x", "mean", "tiny"], "mean")
    text = markdown_overview(overview(comparisons, "vif_balanced"))
    assert text.startswith("## vif_balanced ↑\n")
    assert tables_in(text) == [
        [
            ["set", "pairs", "tiny", "mean", "x"],
            ["MSRS", "2 of 2", "<b>6.000</b>", "<i>2.000</i>", "-"],
            ["TNO", "1 of 1", "<b>2.500</b>", "<i>2.000</i>", "0.500"],
            ["average balanced rank", "", "1.00 (2)", "2.00 (2)", "3.00 (1)"],
        ]
    ]


def test_the_overview_names_the_methods_that_have_no_number_in_it():
    comparisons = compared({"vif": {"mean": [1.0, 3.0], "tiny": [5.0, 7.0], "x": [9.0, FAILED], "y": [MISSING] * 2}})
    text = markdown_overview(overview(comparisons, "vif"))
    assert tables_in(text)[0][0] == ["set", "pairs", "mean", "tiny"]
    assert text_of(text).rstrip().endswith(" x, y.")


def test_csv_holds_every_figure_unrounded():
    comparisons = compared({"vif": {"mean": [0.1] * 7, "tiny": [0.1 + 0.2] * 7, "x": [1 / 3] + [MISSING] * 6}})
    lines = list(csv.DictReader(io.StringIO(csv_rows(comparisons))))
    assert [(line["common_pairs"], line["limited_by"], line["method"]) for line in lines] == [
        ("7", "[]", "tiny"),
        ("7", "[]", "mean"),
        ("1", '["x"]', "x"),
        ("1", '["x"]', "tiny"),
        ("1", '["x"]', "mean"),
    ]
    tiny, mean, x = lines[:3]
    score = comparisons[0].scores["tiny", "vif"]
    assert {field.name: tiny[field.name] for field in fields(Score)} == {
        field.name: str(getattr(score, field.name)) for field in fields(Score)
    }
    assert float(tiny["mean"]) == score.mean
    assert tiny["significant"] == "True"
    assert (mean["difference"], mean["low"], mean["significant"], mean["rank"]) == ("", "", "", "2.0")
    assert (x["set"], x["task"], x["set_pairs"], x["reference"], x["metric"]) == (
        "MSRS",
        "ir_visible",
        "7",
        "mean",
        "vif",
    )
    assert (x["mean"], x["std"], x["mean_rank"], x["balanced_rank"]) == (str(1 / 3), "", "1.0", "")


def test_csv_gives_names_back_as_they_are():
    lines = list(csv.DictReader(io.StringIO(csv_rows(nasty()), newline="")))
    assert [line["method"] for line in lines] == list(reversed(NASTY))
    assert lines[0]["set"] == lines[0]["reference"] == NASTY[0]
    (limited,) = compared({"vif": {NASTY[3]: [1.0, FAILED]}}, reference=NASTY[3])
    assert json.loads(next(csv.DictReader(io.StringIO(csv_rows([limited]), newline="")))["limited_by"]) == [NASTY[3]]


def assert_well_formed(text: str) -> None:
    """Fail where TeX would: braces and environments that do not close, signs that mean something, bad columns."""
    body = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    depth = 0
    for sign in re.sub(r"\\[\\{}]", "", body):
        depth += (sign == "{") - (sign == "}")
        assert depth >= 0, "a brace closes what was not opened"
    assert depth == 0
    open_environments = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", body):
        if kind == "begin":
            open_environments.append(name)
        else:
            assert open_environments.pop() == name
    assert not open_environments
    assert not re.search(r"(?<!\\)[%#~]", body)
    mathless = re.sub(r"\$(\^\{\*\}|\\uparrow|\\downarrow)\$", "", body)
    assert not re.search(r"(?<!\\)[$_^]", mathless)
    assert not re.search(r"\\\\\s*[\[*]", body), "taken for an argument of the line end"
    for tabular in re.findall(r"\\begin\{tabular\}(.*?)\\end\{tabular\}", body, re.DOTALL):
        columns, rest = re.match(r"\{(l?r*)\}(.*)", tabular, re.DOTALL).groups()
        lines = [line for line in rest.strip().splitlines() if line not in {r"\toprule", r"\midrule", r"\bottomrule"}]
        assert all(len(re.findall(r"(?<!\\)&", line)) == len(columns) - 1 and line.endswith(r" \\") for line in lines)


def test_latex_is_well_formed_whatever_the_names():
    text = latex(nasty())
    assert_well_formed(text)
    assert "--" not in text, "a longer dash in LaTeX"
    body = text.split("\\midrule\n")[1].split("\n\\bottomrule")[0]
    assert [unescaped(line.split(" & ")[0]) for line in body.splitlines()] == [plain(n) for n in reversed(NASTY)]


def unescaped(name: str) -> str:
    for written, sign in {
        r"\textasciitilde{}": "~",
        r"\textasciicircum{}": "^",
        r"\textless{}": "<",
        r"\textgreater{}": ">",
        r"\textbar{}": "|",
        "-{}": "-",
        "''": '"',
        "{[}": "[",
        "{*}": "*",
    }.items():
        name = name.replace(written, sign)
    name = re.sub(r"\\([_%&#${}])", r"\1", name)
    return name.replace("\\textbackslash{}", "\\")


def test_latex_marks_with_the_commands_of_papers():
    text = latex(compared(BASIC), ["vif_balanced", "nabf"])
    assert_well_formed(text)
    assert re.search(r"\\caption\{MSRS \(ir\\_visible\)\D*2\D+2\b", text)
    assert r"method & vif\_balanced $\uparrow$ & nabf $\downarrow$ & balanced rank & mean rank \\" in text
    assert r"tiny & \textbf{0.800} & \underline{0.200} & 1.00 & 1.33 \\" in text
    assert r"mean & 0.500 & \textbf{0.100} & 3.00 & 2.00 \\" in text
    for command in (r"\usepackage{booktabs}", r"\toprule", r"\midrule", r"\bottomrule"):
        assert command in text


def test_all_metrics_fit_into_every_table():
    by = {name: [1.0, 2.0] for name in ("mean", "tiny")}
    comparisons = compared(dict.fromkeys(METRICS, by))
    (table,) = tables_in(markdown(comparisons))
    assert len(table[0]) == len(METRICS) + 3
    assert_well_formed(latex(comparisons))
    assert len(csv_rows(comparisons).splitlines()) == 1 + 2 * len(METRICS)
