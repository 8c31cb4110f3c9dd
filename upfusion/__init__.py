"""UP-Fusion as a plain PyTorch library: `upfusion.load("tiny").fuse(a, b)`."""

import importlib
from typing import TYPE_CHECKING, Any

from upfusion.prompts import PROMPTS, TASKS
from upfusion.version import __version__

if TYPE_CHECKING:
    from upfusion.model import FusionModel, load
    from upfusion.registration.estimate import estimate_rig

__all__ = ["PROMPTS", "TASKS", "FusionModel", "__version__", "estimate_rig", "load"]


def __getattr__(name: str) -> Any:
    # PyTorch takes seconds of CPU to import. A worker that only decodes images, or a command that
    # lists files, imports `upfusion.images` without them.
    if name in ("FusionModel", "load"):
        return getattr(importlib.import_module("upfusion.model"), name)
    if name == "estimate_rig":
        return getattr(importlib.import_module("upfusion.registration.estimate"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
