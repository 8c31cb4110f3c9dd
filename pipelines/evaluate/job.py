"""The evaluation: methods compared on sets of pairs, as values, tables and pictures.

    find sets and methods -> fuse (each network, by the fuse job) -> fetch -> measure -> compare -> draw

A method is a network, a baseline, or a folder of fused images. Whatever was measured before, by this
command or by one with other sets or methods, is not measured again.
"""

from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.cluster.destination_lock import own_destination
from pipelines.cluster.ray_cluster import Cluster
from pipelines.cluster.runner import Built, Progress, Runner, Workers
from pipelines.errors.exceptions import UsageError
from pipelines.errors.failures import Row
from pipelines.evaluate.comparison import compare
from pipelines.evaluate.detection.detection import judge_detections
from pipelines.evaluate.findings import list_findings
from pipelines.evaluate.folder import EvaluationFolder
from pipelines.evaluate.fusions import Fusions, Listener, find_fusions
from pipelines.evaluate.measure_actor import MeasureActor, fetch_fusions
from pipelines.evaluate.outcome import Evaluation
from pipelines.evaluate.plan import EvaluationPlan, join_manifests
from pipelines.evaluate.rows import FAILED, WORK, key_of, measured_schema, to_values
from pipelines.storage import objects as storage
from pipelines.storage.parquet import write_table
from pipelines.tracking.run import InputData, open_run
from upfusion.metrics import METRICS_VERSION

# Measuring a pair with all its fusions takes seconds.
PAIRS_A_BLOCK = 2


def evaluate(plan: EvaluationPlan, listener: Listener | None = None, *, verbose: bool = False) -> Evaluation:
    """Execute a plan: fuse, measure what has no value yet, compare, draw, and write the results.

    Raises UsageError if DIR belongs to a different job, or another one is writing it.
    """
    say = listener or (lambda _what, _progress: None)
    folder = EvaluationFolder(plan.config.out)
    folder.check(plan.run)  # no lock is left in a folder that is refused

    def on_wait(sentence: str) -> None:
        say("waiting", Progress(0, notice=sentence))

    with own_destination(folder.uri, "evaluation", on_wait) as lock:

        def report(what: str, progress: Progress) -> None:
            lock.check()
            say(what, progress)

        return _evaluate(plan, folder, report, verbose=verbose)


def _evaluate(plan: EvaluationPlan, folder: EvaluationFolder, on_progress: Listener, *, verbose: bool) -> Evaluation:
    from pipelines.evaluate.output import write_output  # imports matplotlib

    _claim(folder, plan)
    data = InputData("manifest", folder.manifest, plan.run["digest"])
    with open_run(plan.config, plan.run, kind="evaluate", uri=folder.uri, data=data) as tracked:
        with Cluster(verbose=verbose) as cluster:
            tracked.tag_ray_job(cluster)
            fusions = find_fusions(plan, folder, on_progress, verbose=verbose)
            wanted = _list_wanted(plan, fusions)
            measured_now = _measure(wanted, plan, folder, cluster, on_progress)
        rows = _collect(plan, wanted, fusions, folder)
        values = to_values(rows, plan.config.metrics)
        names = tuple(method.name for method in plan.methods)
        order = [one.name for one in plan.sets]
        comparisons = compare(values, plan.config.metrics, names, plan.reference)
        comparisons.sort(key=lambda one: order.index(one.set))
        detected, unusable = judge_detections(plan.detection, plan.sets, list(names), rows, plan.sources.preparation)
        findings = list_findings(plan, rows, unusable)
        done = Evaluation(
            folder, plan, rows, values, comparisons, detected, findings, fusions, measured_now, tracked.where
        )
        write_output(done, tracked, on_progress)
    return done


def _claim(folder: EvaluationFolder, plan: EvaluationPlan) -> None:
    try:
        folder.claim(plan.run)
        write_table(folder.manifest, join_manifests(plan.sets))
    except OSError as error:
        raise UsageError(f"--out cannot be used: {storage.redact(str(error))}") from error


def _list_wanted(plan: EvaluationPlan, fusions: Fusions) -> list[Row]:
    """List all fusions of every pair (WORK), whether already measured or not."""
    detection = plan.detection
    decisive = [plan.config.metrics, METRICS_VERSION, plan.config.precision, detection and detection.identity]
    changed = {one.name: plan.sources.of(one.name).changed for one in plan.sets}
    wanted = []
    for one, pair in plan.pairs:
        row = {"set": one.name} | {name: pair[name] for name in ("pair_id", "task", "a_uri", "b_uri")}
        row["detect"] = detection is not None and detection.has_boxes(one.name, pair["pair_id"])
        made = [_fusion(method.name, fusions, row) for method in plan.methods if method.kind != "baseline"]
        made += [{"method": m.name, "baseline": m.what} for m in plan.methods if m.kind == "baseline"]
        pair_key = [list(row.values()), decisive + ([changed[one.name]] if changed[one.name] else [])]
        row["fusions"] = [fusion | {"key": _key(fusion, pair_key, plan)} for fusion in made if fusion]
        wanted.append(row)
    return wanted


def _fusion(method: str, fusions: Fusions, row: Row) -> Row:
    """Return the fused image of a pair as an entry of WORK; empty if there is none."""
    image = fusions.files.get((method, row["set"], row["pair_id"]))
    return {"method": method, **image} if image else {}


def _key(fusion: Row, pair_key: list[Any], plan: EvaluationPlan) -> str:
    identity = next(method.identity for method in plan.methods if method.name == fusion["method"])
    return key_of(*pair_key, fusion["method"], identity, fusion.get("uri"), fusion.get("version"))


def _measure(
    wanted: list[Row], plan: EvaluationPlan, folder: EvaluationFolder, runner: Runner, on_progress: Listener
) -> int:
    """Measure the fusions that have no row yet, and return how many."""
    todo = _list_left(wanted, plan, folder)
    if not todo:
        return 0
    storage.delete(folder.success)
    is_first = True

    def build() -> Built | None:
        nonlocal is_first
        left = todo if is_first else _list_left(wanted, plan, folder)
        is_first = False
        if not left:
            return None
        workers = runner.workers(plan.config.actors, plan.config.gpus_per_actor, len(left))
        return Built(_graph(left, plan, folder, workers, runner), _count_fusions(left), workers)

    runner.run_to_end(build, partial(on_progress, "measuring"), "fusions")
    return _count_fusions(todo)


def _list_left(wanted: list[Row], plan: EvaluationPlan, folder: EvaluationFolder) -> list[Row]:
    """List what has no row yet, or, where these are to be retried, a failed one."""
    there = folder.read_rows(plan.config.metrics)
    if plan.config.retry_failed:
        there = there.filter(pc.not_equal(there["status"], FAILED))
    keys = set(there["key"].to_pylist())
    left = [row | {"fusions": [fusion for fusion in row["fusions"] if fusion["key"] not in keys]} for row in wanted]
    return [row for row in left if row["fusions"]]


def _count_fusions(rows: list[Row]) -> int:
    return sum(len(row["fusions"]) for row in rows)


def _graph(todo: list[Row], plan: EvaluationPlan, folder: EvaluationFolder, workers: Workers, runner: Runner) -> Any:
    """Build the graph that returns the outcome of each fusion (WRITTEN)."""
    blocks = [pa.Table.from_pylist(todo[i : i + PAIRS_A_BLOCK], WORK) for i in range(0, len(todo), PAIRS_A_BLOCK)]
    measured = runner.add_actors(
        runner.add_tasks(runner.begin_with(blocks), fetch_fusions, plan.config.max_bytes, workers=workers),
        MeasureActor,
        workers,
        metrics=plan.config.metrics,
        threads=workers.threads,
        on_gpu=workers.gpus > 0,
        detector=plan.detection and (plan.detection.config, plan.detection.weights),
        max_pixels=plan.config.max_pixels,
        preparations={one.name: plan.sources.of(one.name).preparation for one in plan.sets},
    )
    return runner.add_tasks(measured, folder.put_rows, workers=workers)


def _collect(plan: EvaluationPlan, wanted: list[Row], fusions: Fusions, folder: EvaluationFolder) -> pa.Table:
    """Return the rows of all requested fusions, and those of pairs without an image."""
    keys = pa.array([fusion["key"] for row in wanted for fusion in row["fusions"]], pa.string())
    rows = folder.read_rows(plan.config.metrics)
    rows = rows.filter(pc.is_in(rows["key"], keys))
    if len(rows) != len(keys):
        raise RuntimeError(f"{len(keys) - len(rows)} fusions have no row; rerun the same command to resume")
    return pa.concat_tables([rows, pa.Table.from_pylist(fusions.without, measured_schema(plan.config.metrics))])
