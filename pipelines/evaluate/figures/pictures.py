"""The figures of an evaluation: contact sheets, distributions, differences to the reference, costs."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.figure import Figure

from pipelines.errors.failures import Row
from pipelines.evaluate.comparison import Comparison, main_comparisons
from pipelines.evaluate.figures.contact_sheet import SheetRow, choose_pairs, draw_contact_sheet
from pipelines.evaluate.figures.cost_plot import Cost, draw_costs
from pipelines.evaluate.figures.plots import Effect, draw_distributions, draw_effects
from pipelines.evaluate.measure_actor import fuse_by_baseline
from pipelines.evaluate.outcome import Evaluation
from pipelines.evaluate.plan import EvaluationPlan
from pipelines.evaluate.sets import EvaluationSet
from pipelines.storage import objects as storage
from pipelines.storage.names import image_name
from upfusion.baselines import COPIES
from upfusion.color import Pixels
from upfusion.images import ImageError, decode_image

COST_UNIT = "milliseconds per megapixel"


def draw_pictures(evaluation: Evaluation) -> Iterator[tuple[str, Figure]]:
    """Yield every figure with the name of its file without extension."""
    plan = evaluation.plan
    main = main_comparisons(evaluation.comparisons)
    for metric in plan.config.metrics:
        # A metric may be undefined everywhere: qy is, if both sources are black.
        if values := _values_by_set(evaluation, metric):
            yield f"distribution_{metric}", draw_distributions(metric, values)
    for metric in headlines(plan.config.metrics):
        effects = {one.set: _effects(one, metric) for one in main if plan.reference in one.methods}
        if any(effects.values()):
            yield f"differences_{metric}", draw_effects(metric, plan.reference, effects)
        yield f"cost_{metric}", draw_costs(metric, costs_of(evaluation, metric), COST_UNIT)
    for one in plan.sets:
        if rows := _sheet_rows(evaluation, one):
            yield f"sheet_{image_name(one.name, '').replace('/', '_')}", draw_contact_sheet(one.name, rows)


def count_pictures(plan: EvaluationPlan) -> int:
    """Return an upper bound of the number of figures."""
    return len(plan.config.metrics) + 2 * len(headlines(plan.config.metrics)) + len(plan.sets)


def headlines(metrics: tuple[str, ...]) -> list[str]:
    """Return the headline metrics: the balanced forms, or the first metric if none was measured."""
    return [metric for metric in metrics if metric.endswith("_balanced")] or [metrics[0]]


def costs_of(evaluation: Evaluation, metric: str) -> list[Cost]:
    """Return milliseconds per megapixel of every method, and its mean of a metric over sets weighted equally."""
    means = {
        (one.set, method): one.scores[method, metric].mean
        for one in main_comparisons(evaluation.comparisons)
        for method in one.methods
    }
    costs = []
    for method in evaluation.plan.methods:
        values = [mean for (_, name), mean in means.items() if name == method.name and mean is not None]
        cost = evaluation.plan.config.milliseconds.get(method.name, measured_cost(evaluation.rows, method.name))
        costs.append(Cost(method.name, cost, float(np.mean(values)) if values else float("nan")))
    return costs


def measured_cost(rows: pa.Table, method: str) -> float | None:
    """Return the median of a method's milliseconds per megapixel; None if not measured here."""
    chosen = rows.filter(pc.and_(pc.equal(rows["method"], method), pc.is_valid(rows["fuse_ms"])))
    if not len(chosen):
        return None
    megapixels = chosen["width"].to_numpy().astype(float) * chosen["height"].to_numpy() / 1e6
    return float(np.median(chosen["fuse_ms"].to_numpy() / megapixels))


def _values_by_set(evaluation: Evaluation, metric: str) -> dict[str, dict[str, np.ndarray]]:
    values = evaluation.values.filter(pc.equal(evaluation.values["metric"], metric))
    values = values.filter(pc.is_valid(values["value"]))
    found: dict[str, dict[str, np.ndarray]] = {}
    for one in evaluation.plan.sets:
        of_set = values.filter(pc.equal(values["set"], one.name))
        for method in evaluation.plan.methods:
            chosen = of_set.filter(pc.equal(of_set["method"], method.name))["value"].to_numpy()
            if len(chosen):
                found.setdefault(one.name, {})[method.name] = chosen
    return found


def _effects(one: Comparison, metric: str) -> list[Effect]:
    effects = []
    for method in one.methods:
        figure = one.scores[method, metric]
        if figure.difference is not None:
            low, high = (float("nan") if end is None else end for end in (figure.low, figure.high))
            effects.append(Effect(method, figure.difference, low, high))
    return effects


def _sheet_rows(evaluation: Evaluation, one: EvaluationSet) -> list[SheetRow]:
    """Read the images of the pairs on which the methods differ most; deleted ones are skipped."""
    pairs = {pair["pair_id"]: pair for pair in one.pairs.to_pylist()}
    chosen = choose_pairs(_spread(evaluation, one), evaluation.plan.config.sheet_pairs)
    rows = [SheetRow(pair_id, _images(evaluation, one, pairs[pair_id])) for pair_id in chosen]
    return [row for row in rows if row.images]


def _spread(evaluation: Evaluation, one: EvaluationSet) -> dict[str, float]:
    """Return the spread of the methods on every pair in the first headline metric."""
    values = evaluation.values
    metric = headlines(evaluation.plan.config.metrics)[0]
    chosen = values.filter(pc.and_(pc.equal(values["set"], one.name), pc.equal(values["metric"], metric)))
    copies = {method.name for method in evaluation.plan.methods if method.what in COPIES}
    of_pairs: dict[str, list[float]] = {pair_id: [] for pair_id in one.ids}
    for row in chosen.select(["pair_id", "method", "value"]).to_pylist():
        if row["value"] is not None and row["method"] not in copies:
            of_pairs[row["pair_id"]].append(row["value"])
    return {pair_id: max(of_pair) - min(of_pair) if of_pair else float("nan") for pair_id, of_pair in of_pairs.items()}


def _images(evaluation: Evaluation, one: EvaluationSet, pair: Row) -> dict[str, Pixels]:
    most = evaluation.plan.config.max_pixels
    files = storage.read_many([pair["a_uri"], pair["b_uri"]], evaluation.plan.config.max_bytes)
    if any(isinstance(file, Exception) for file in files):
        return {}
    row = pair | {"a_file": files[0], "b_file": files[1], "error_code": None, "error": None}
    found = evaluation.plan.sources.of(one.name).preparation.pair(row, most)
    if found is None:
        return {}
    a, b = found
    images = {"A": a, "B": b}
    for method in evaluation.plan.methods:
        if method.kind == "baseline":
            image: Pixels | None = None if method.what in COPIES else fuse_by_baseline(method.what, a, b, pair["task"])
        else:
            file = evaluation.fusions.files.get((method.name, one.name, pair["pair_id"]))
            image = _read(file["uri"], most) if file else None
        if image is not None and image.shape[:2] == a.shape[:2]:
            images[method.name] = image
    return images


def _read(uri: str, max_pixels: int) -> Pixels | None:
    try:
        return decode_image(storage.read_bytes(uri), max_pixels).pixels
    except (OSError, ImageError):
        return None
