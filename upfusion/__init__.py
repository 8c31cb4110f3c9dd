"""UP-Fusion as a plain PyTorch library: `upfusion.load("tiny").fuse(a, b)`."""

import importlib
from typing import TYPE_CHECKING, Any

from upfusion.image_errors import ImageError
from upfusion.prompts import PROMPTS, TASKS
from upfusion.version import __version__

if TYPE_CHECKING:
    from upfusion import metrics
    from upfusion.checkpoint import Checkpoint
    from upfusion.model import FusionModel, load
    from upfusion.priors import PriorUnavailableError
    from upfusion.quality import measure
    from upfusion.registration.estimate import estimate_rig
    from upfusion.registration.rig import RigError
    from upfusion.tiles import Tiles

__all__ = [
    "PROMPTS",
    "TASKS",
    "Checkpoint",
    "FusionModel",
    "ImageError",
    "PriorUnavailableError",
    "RigError",
    "Tiles",
    "__version__",
    "estimate_rig",
    "load",
    "measure",
    "metrics",
]

_MODULES = {
    "Checkpoint": "checkpoint",
    "FusionModel": "model",
    "PriorUnavailableError": "priors",
    "RigError": "registration.rig",
    "Tiles": "tiles",
    "estimate_rig": "registration.estimate",
    "load": "model",
    "measure": "quality",
}


def __getattr__(name: str) -> Any:
    # PyTorch takes seconds of CPU to import. A worker that only decodes images, or a command that
    # lists files, imports `upfusion.images` without them.
    if name in _MODULES:
        return getattr(importlib.import_module(f"upfusion.{_MODULES[name]}"), name)
    if name == "metrics":
        return importlib.import_module("upfusion.metrics")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
