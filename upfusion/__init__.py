"""UP-Fusion as a plain PyTorch library: `upfusion.load("tiny").fuse(a, b)`."""

from upfusion.model import FusionModel, load
from upfusion.prompts import PROMPTS, TASKS
from upfusion.version import __version__

__all__ = ["PROMPTS", "TASKS", "FusionModel", "__version__", "load"]
