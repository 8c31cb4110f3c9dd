"""Describing a model (a preset or any checkpoint): its architecture and its cost."""

from dataclasses import dataclass

from pipelines.checkpoints.fusion_method import ONNX, FusionMethod, read_method
from pipelines.checkpoints.read import read_model
from upfusion.baselines import RULES
from upfusion.checkpoint import Checkpoint, locate_checkpoint
from upfusion.cost import Parameters, PassCost, cost_of_pass, count_parameters
from upfusion.presets import PRESETS, NetworkConfig

SIZES = ((480, 640), (1024, 1280))
"""Height and width in pixels: the size of most data sets, and LLVIP's."""


@dataclass(frozen=True)
class ModelInfo:
    """The description of a model."""

    name: str
    config: NetworkConfig
    checkpoint: Checkpoint | None
    """None for a preset that ships without trained weights."""
    parameters: Parameters
    costs: dict[tuple[int, int], PassCost]
    """Cost of one forward pass per pair, by height and width."""


def describe_model(model: str) -> ModelInfo | FusionMethod:
    """Describe a preset or a checkpoint, or return what else fuses: a baseline, another network (onnx:FILE).

    Raises UsageError if there is no such model.
    """
    if model in RULES or model.startswith(ONNX):
        return read_method(model)
    ships_untrained = model in PRESETS and locate_checkpoint(model) == model
    checkpoint = None if ships_untrained else read_model(model)[0]
    config = checkpoint.config if checkpoint else PRESETS[model]
    return ModelInfo(
        name=checkpoint.name if checkpoint else model,
        config=config,
        checkpoint=checkpoint,
        parameters=count_parameters(config),
        costs={size: cost_of_pass(config, *size) for size in SIZES},
    )
