"""An evaluation in MLflow: a parent run, and in it a run for every method."""

import hashlib
import io
import posixpath
import re

from PIL import Image

from pipelines.evaluate.comparison import Comparison, main_comparisons
from pipelines.evaluate.methods import Method
from pipelines.evaluate.outcome import Evaluation
from pipelines.storage import objects as storage
from pipelines.tracking.mlflow_client import ONE_MINUTE, mlflow_retry_limits
from pipelines.tracking.run import TrackedRun

NOT_FOR_MLFLOW = re.compile(r"[^\w.\- /]")
TEXTS = ("run.json", "results.md", "tables.csv", "tables.tex")


@mlflow_retry_limits(ONE_MINUTE)
def track(evaluation: Evaluation, tracked: TrackedRun) -> None:
    """Record counts, tables and pictures in the run of the evaluation, and each method's means in a child of it."""
    if tracked.run_id is None:
        return
    import mlflow

    folder = evaluation.folder
    mlflow.log_metrics({name: float(count) for name, count in evaluation.counts.items()})
    for name in TEXTS:
        mlflow.log_text(storage.read_bytes(storage.join(folder.uri, name)).decode(), name)
    client = mlflow.MlflowClient()
    for uri in storage.list_files(folder.pictures):
        name = f"pictures/{posixpath.basename(uri)}"
        if uri.endswith(".svg"):
            mlflow.log_text(storage.read_bytes(uri).decode(), name)
        else:
            client.log_image(tracked.run_id, _opened(uri), name)
    for method in evaluation.plan.methods:
        _track_method(method, evaluation, tracked.run_id)


def _opened(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(storage.read_bytes(uri))).convert("RGB")


def _track_method(method: Method, evaluation: Evaluation, parent: str) -> None:
    """Write the child run of a method, the same one however often the evaluation is carried out."""
    import mlflow

    known = mlflow.search_runs(
        filter_string=f"tags.`mlflow.parentRunId` = '{parent}' AND tags.`upfusion.method` = '{_word(method.name)}'",
        max_results=1,
        output_format="list",
    )
    run_id = known[0].info.run_id if known else None
    with mlflow.start_run(run_id=run_id, run_name=method.name, nested=True):
        if not known:
            mlflow.set_tag("upfusion.method", _word(method.name))
            mlflow.log_params({"kind": method.kind, "what": method.what})
            if method.network:
                mlflow.log_param("model.digest", method.network.digest)
        mlflow.log_metrics(_means(method.name, evaluation.comparisons))


def _word(name: str) -> str:
    """Turn a name into what a filter of MLflow can hold."""
    return hashlib.sha256(name.encode()).hexdigest()[:32]


def _means(method: str, comparisons: list[Comparison]) -> dict[str, float]:
    """Return the means of the first comparison of each set that holds a method, by names that MLflow takes."""
    means: dict[str, float] = {}
    for one in main_comparisons(comparisons, method):
        for metric in one.metrics:
            mean = one.scores[method, metric].mean
            if mean is not None:
                means[f"{NOT_FOR_MLFLOW.sub('_', one.set)}/{metric}"] = mean
    return means
