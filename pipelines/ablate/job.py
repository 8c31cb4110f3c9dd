"""The ablation: what each part of the network, and its text, contributes.

    train each variant (or take it as given) -> evaluate the variants -> exchange the prompts -> evaluate those

The folder of an ablation holds the training run of every variant and two evaluations, and the same command resumes
with whatever is missing.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipelines.ablate.config import FULL, AblateConfig
from pipelines.ablate.outcome import Ablation, Exchange, Variant, means_over_sets, write_ablation
from pipelines.checkpoints.read import read_model
from pipelines.cluster.ray_cluster import Cluster
from pipelines.cluster.shared_paths import check_shared_paths
from pipelines.errors.exceptions import UsageError
from pipelines.evaluate.config import EvaluateConfig, EvaluationSettings
from pipelines.evaluate.fusions import Listener
from pipelines.evaluate.job import evaluate
from pipelines.evaluate.outcome import Evaluation
from pipelines.evaluate.plan import plan_evaluation
from pipelines.storage import objects as storage
from pipelines.train.job import Listener as TrainListener
from pipelines.train.job import TrainPlan, plan_train, train
from upfusion.checkpoint import Checkpoint
from upfusion.color import luma8
from upfusion.cost import cost_of_pass, count_parameters
from upfusion.images import decode_image
from upfusion.prompt_exchange import EXCHANGES, exchange_prompts

COST_SIZE = (480, 640)
"""Height and width for which costs are stated."""

OnTraining = Callable[[str], TrainListener]
"""Called with the name of a variant; returns the listener of its training."""


@dataclass(frozen=True)
class AblationPlan:
    """Checked arguments."""

    config: AblateConfig
    runs: dict[str, TrainPlan]
    """Training plans of the variants that are not given."""


def plan_ablation(config: AblateConfig) -> AblationPlan:
    """Check the training of every variant, and the sets; raises UsageError."""
    check_shared_paths(config)
    runs = {
        name: plan_train(config.training(name, storage.join(storage.absolute(config.out), "variants", name)))
        for name in config.names
        if name not in config.trained
    }
    for place in (*config.trained.values(), *([config.model] if config.model else [])):
        read_model(place, config.tracking_uri)
    # Checks the sets before any training; a baseline stands in for the variants, which do not exist yet.
    plan_evaluation(_evaluation(config, "parts", {"mean": "mean"}))
    return AblationPlan(config, runs)


def ablate(
    plan: AblationPlan,
    listener: Listener | None = None,
    on_training: OnTraining | None = None,
    *,
    verbose: bool = False,
) -> Ablation:
    """Execute a plan, or the rest of it; raises as `train` and `evaluate` do."""
    config, out = plan.config, storage.absolute(plan.config.out)
    with Cluster(verbose=verbose):
        places = dict(config.trained)
        for name, run in plan.runs.items():
            training_listener = on_training(name) if on_training else TrainListener()
            places[name] = train(run, training_listener, verbose=verbose).folder.model
        models = {name: places[name] for name in config.names}
        checkpoints = {name: read_model(place, config.tracking_uri)[0] for name, place in models.items()}
        parts = evaluate(plan_evaluation(_evaluation(config, "parts", models)), listener, verbose=verbose)
        exchanged = _write_exchanged(config, out, checkpoints[FULL])
        texts = None
        if exchanged:
            texts = evaluate(plan_evaluation(_evaluation(config, "prompts", exchanged)), listener, verbose=verbose)
    exchanges = _exchanges(texts) if texts else []
    ablation = Ablation(_variants(checkpoints, parts), exchanges, parts, texts, storage.join(out, "results.md"))
    storage.write_bytes(ablation.page, write_ablation(ablation).encode())
    return ablation


def _evaluation(config: AblateConfig, folder: str, methods: dict[str, str]) -> EvaluateConfig:
    shared = {name: getattr(config, name) for name in EvaluationSettings.model_fields}
    given = {"out": storage.join(storage.absolute(config.out), folder), "reference": next(iter(methods))}
    return EvaluateConfig(**shared | given, methods=tuple(f"{name}={place}" for name, place in methods.items()))


def _write_exchanged(config: AblateConfig, out: str, full: Checkpoint) -> dict[str, str]:
    """Write one copy of the model per exchange of its prompts; none for a model without text."""
    model = read_model(config.model, config.tracking_uri)[0] if config.model else full
    if not model.config.takes_text:
        return {}
    places = {name: storage.join(out, "prompts", "models", f"{name}.safetensors") for name in EXCHANGES}
    for name, place in places.items():
        try:
            data = exchange_prompts(model, name).to_bytes()
        except ValueError as error:
            raise UsageError(str(error)) from error
        storage.write_bytes(place, data)
    return places


def _variants(checkpoints: dict[str, Checkpoint], parts: Evaluation) -> list[Variant]:
    return [
        Variant(
            name,
            count_parameters(checkpoint.config).total,
            cost_of_pass(checkpoint.config, *COST_SIZE).flops,
            means_over_sets(parts, name),
        )
        for name, checkpoint in checkpoints.items()
    ]


def _exchanges(texts: Evaluation) -> list[Exchange]:
    changes = _changes(texts)
    return [Exchange(name, means_over_sets(texts, name), changes[name]) for name in EXCHANGES]


def _changes(texts: Evaluation) -> dict[str, float]:
    """Return the mean difference in grey levels between the images of each exchange and those of the right prompt."""
    differences: dict[str, list[float]] = {name: [] for name in EXCHANGES}
    for one, pair in texts.plan.pairs:
        found = {name: texts.fusions.files.get((name, one.name, pair["pair_id"])) for name in EXCHANGES}
        lumas = {
            name: luma8(decode_image(storage.read_bytes(file["uri"])).pixels) for name, file in found.items() if file
        }
        for name in lumas if "right" in lumas else ():
            differences[name].append(float(np.abs(lumas[name] - lumas["right"]).mean()))
    return {name: float(np.mean(values)) if values else float("nan") for name, values in differences.items()}
