"""Comparisons as text: Markdown to read, LaTeX to print, CSV to compute with.

Names of sets and methods come from users; each renderer writes them so that nothing in them is markup.
"""

import csv
import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields

from pipelines.evaluate.comparison import Comparison, Overview, best_and_second
from pipelines.evaluate.paired_bootstrap import FEWEST_PAIRS
from pipelines.evaluate.scores import Score
from upfusion.counted import counted
from upfusion.metrics import METRICS

NOTHING = "-"


def markdown(comparisons: Sequence[Comparison], metrics: Sequence[str] | None = None) -> str:
    """Return a heading, a table of means and a line about the pairs for each comparison.

    `metrics` chooses columns; the ranks are over all that were compared all the same.
    Raises ValueError for a metric that was not compared.
    """
    sections = [MARKDOWN.legend]
    for one in comparisons:
        header, *rows = _table(one, _chosen(one, metrics), MARKDOWN)
        sections.append(f"## {_title(one, MARKDOWN)}")
        sections += [markdown_table(header, rows)] if rows else []
        sections.append(_notes(one, MARKDOWN))
    return "\n\n".join(sections) + "\n"


def markdown_overview(overview: Overview) -> str:
    """Return a table of sets and methods in one metric, with the average of the balanced ranks below.

    Methods without a number in it, whose images are of some pairs only, are named below instead.
    """
    numbered = {method for (_, method), mean in overview.means.items() if mean is not None}
    methods = [method for method in overview.methods if method in numbered] or list(overview.methods)
    header = ["set", "pairs", *(MARKDOWN.escape(method) for method in methods)]
    rows = [
        [
            MARKDOWN.escape(one.set),
            f"{one.pairs} of {one.of}",
            *(
                _marked(
                    overview.means.get((one.set, method)),
                    MARKDOWN,
                    best=method in overview.best[one.set],
                    second=method in overview.second[one.set],
                )
                for method in methods
            ),
        ]
        for one in overview.comparisons
    ]
    averages = [(overview.average_rank[method], overview.ranked_sets[method]) for method in methods]
    ranks = [NOTHING if rank is None else f"{rank:.2f} ({sets})" for rank, sets in averages]
    title = f"## {_heading(overview.metric, MARKDOWN)}"
    explanation = (
        "Means over the pairs of each set's main comparison. **Bold**: best. *Italics*: second best. "
        f"{NOTHING}: not an image of each of these pairs, or no value. Average balanced rank: over the sets counted in "
        "brackets; averages over different sets are not comparable."
    )
    if others := [MARKDOWN.escape(method) for method in overview.methods if method not in methods]:
        explanation += f" In none of these comparisons: {', '.join(others)}."
    return (
        "\n\n".join([title, markdown_table(header, [*rows, ["average balanced rank", "", *ranks]]), explanation]) + "\n"
    )


def latex(comparisons: Sequence[Comparison], metrics: Sequence[str] | None = None) -> str:
    r"""Return a booktabs table for each comparison; the document needs `\usepackage{booktabs}`.

    A page is wide enough for about eight `metrics`; without them there is a column for each that was compared.
    Raises ValueError for a metric that was not compared.
    """
    tables = [_latex_table(one, _table(one, _chosen(one, metrics), LATEX)) for one in comparisons]
    return "\n".join(["% \\usepackage{booktabs}", *tables])


def csv_rows(comparisons: Sequence[Comparison]) -> str:
    """Return CSV text with a line for each set, comparison, method and metric: all that a Score holds, unrounded.

    Text is quoted, None is an empty string. `limited_by`, which tells the comparisons of a set apart, is a JSON list.
    """
    text = io.StringIO()
    # Without quotes a carriage return in a name would end the line for some readers.
    writer = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    score_fields = [field.name for field in fields(Score)]
    about = ["set", "task", "common_pairs", "set_pairs", "limited_by", "reference"]
    writer.writerow([*about, "method", "balanced_rank", "mean_rank", "metric", *score_fields])
    for one in comparisons:
        limited_by = json.dumps(one.limited_by, ensure_ascii=False)
        described = [one.set, one.task, one.pairs, one.of, limited_by, one.reference]
        for method in one.methods:
            ranks = [one.balanced_rank[method], one.mean_rank[method]]
            for metric in one.metrics:
                score = asdict(one.scores[method, metric])
                writer.writerow([*described, method, *ranks, metric, *(score[name] for name in score_fields)])
    return text.getvalue()


@dataclass(frozen=True, kw_only=True)
class Style:
    """How a kind of text writes names, marks and directions."""

    escape: Callable[[str], str]
    best: str
    second: str
    differs: str
    directions: dict[bool | None, str]
    legend: str


def _chosen(comparison: Comparison, metrics: Sequence[str] | None) -> list[str]:
    if unknown := [name for name in metrics or () if name not in comparison.metrics]:
        raise ValueError(f"{unknown[0]!r} was not compared; known: {', '.join(comparison.metrics)}")
    return [name for name in comparison.metrics if metrics is None or name in metrics]


def _table(comparison: Comparison, metrics: list[str], style: Style) -> list[list[str]]:
    """Return the header and a row a method; cells are marked up."""
    marks = {metric: best_and_second(comparison, metric) for metric in metrics}
    rows = [["method", *(_heading(metric, style) for metric in metrics), "balanced rank", "mean rank"]]
    for method in comparison.methods:
        cells = []
        for metric in metrics:
            score, (best, second) = comparison.scores[method, metric], marks[metric]
            cell = _marked(score.mean, style, best=method in best, second=method in second)
            cells.append(cell + style.differs * bool(score.significant))
        ranks = (comparison.balanced_rank[method], comparison.mean_rank[method])
        rows.append([style.escape(method), *cells, *(NOTHING if rank is None else f"{rank:.2f}" for rank in ranks)])
    return rows


def _heading(metric: str, style: Style) -> str:
    return style.escape(metric) + style.directions[METRICS[metric].higher_is_better]


def _marked(mean: float | None, style: Style, *, best: bool, second: bool) -> str:
    if mean is None:
        return NOTHING
    return (style.best if best else style.second if second else "{}").format(f"{mean:z.3f}")


def _title(comparison: Comparison, style: Style) -> str:
    task = f" ({style.escape(comparison.task)})" if comparison.task else ""
    return f"{style.escape(comparison.set)}{task}, {comparison.pairs} of {counted(comparison.of, 'pair')}"


def _notes(comparison: Comparison, style: Style) -> str:
    """Say what this comparison rests on, in sentences."""

    def names(methods: tuple[str, ...]) -> str:
        return ", ".join(style.escape(method) for method in methods)

    reference = style.escape(comparison.reference)
    notes = [f"Reference: {reference}."]
    if comparison.reference not in comparison.methods:
        notes = [f"The reference, {reference}, is not in this comparison: no difference is marked."]
    elif comparison.pairs < FEWEST_PAIRS:
        notes = [f"Reference: {reference}; with fewer than {FEWEST_PAIRS} pairs no difference is marked."]
    if comparison.limited_by:
        notes.insert(0, f"Only the pairs that all of these have an image of: {names(comparison.limited_by)}.")
    if short := _short_of_values(comparison):
        counts = ", ".join(f"{style.escape(metric)} {pairs}" for metric, pairs in short.items())
        notes.append(f"Metrics without a value on some pairs are compared on fewer: {counts}.")
    if comparison.absent:
        notes.append(f"No image at all from: {names(comparison.absent)}.")
    return " ".join(notes)


def _short_of_values(comparison: Comparison) -> dict[str, int]:
    counts = {
        metric: max((comparison.scores[method, metric].pairs for method in comparison.methods), default=0)
        for metric in comparison.metrics
    }
    return {metric: pairs for metric, pairs in counts.items() if pairs < comparison.pairs}


def markdown_table(header: list[str], rows: list[list[str]]) -> str:
    """Return a table of cells that are Markdown already, all columns but the first to the right."""
    lines = [header, [":--", *["--:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _latex_table(comparison: Comparison, table: list[list[str]]) -> str:
    header, *rows = (" & ".join(cells) + r" \\" for cells in table)
    caption = f"{_title(comparison, LATEX)}. {_notes(comparison, LATEX)} {LATEX.legend}"
    lines = [r"\begin{table}", r"\centering", rf"\caption{{{caption}}}"]
    lines += [rf"\begin{{tabular}}{{l{'r' * (len(table[0]) - 1)}}}", r"\toprule", header, r"\midrule", *rows]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def _one_line(name: str) -> str:
    """Return `name` without line ends, control characters and those that turn the direction of writing."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in name).split())


def escape_markdown(name: str) -> str:
    """Write a name such that nothing in it is markup."""
    # An underscore between letters is no markup, and names of metrics stay readable.
    return re.sub(r"[\\`*{}\[\]<>&|~#!$:]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", _one_line(name))


LATEX_SIGNS = str.maketrans(
    {sign: f"\\{sign}" for sign in "_%&#${}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    # Others would be another character in LaTeX's first font encoding, or after `\\` an argument of it.
    | {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': "''", "[": "{[}", "*": "{*}"}
)


def _escape_latex(name: str) -> str:
    return _one_line(name).translate(LATEX_SIGNS).replace("--", "-{}-{}")


MARKDOWN = Style(
    escape=escape_markdown,
    best="**{}**",
    second="*{}*",
    differs=r"\*",
    directions={True: " ↑", False: " ↓", None: ""},
    legend=(
        "Means over the pairs. **Bold**: best. *Italics*: second best. \\*: differs from the reference: the 95 % "
        "bootstrap interval of the mean paired difference leaves out 0 (too narrow where pairs are neighbouring "
        "frames, and not corrected for the number of comparisons). ↑: higher is better. ↓: lower is better. "
        "Ranks: 1 is best; over the balanced metrics, and over all with a direction but those against one source."
    ),
)
LATEX = Style(
    escape=_escape_latex,
    best=r"\textbf{{{}}}",
    second=r"\underline{{{}}}",
    differs=r"$^{*}$",
    directions={True: r" $\uparrow$", False: r" $\downarrow$", None: ""},
    legend=(
        r"\textbf{Bold}: best. \underline{Underlined}: second best. $^{*}$: differs from the reference (95\,\% "
        "bootstrap interval of the mean paired difference, not corrected for the number of comparisons)."
    ),
)
