"""Which runtime computes a method, as `--runtime` says."""

import torch

from pipelines.checkpoints.fusion_method import FusionMethod
from pipelines.cluster.environment import is_remote
from pipelines.config.fields import RuntimeChoice
from pipelines.errors.exceptions import UsageError
from upfusion.model import Precision
from upfusion.runtimes import RuntimeMissingError


def in_runtime(
    method: FusionMethod, runtime: RuntimeChoice, gpus_per_actor: float | None, precision: Precision
) -> FusionMethod:
    """Return a method in the runtime that was chosen, exporting its network where that is needed, up to a minute once.

    Raises UsageError where the method has no such runtime, or that is not installed.
    """
    if runtime == "torch":
        return method
    if precision == "bf16" and runtime != "auto":
        raise UsageError(f"--runtime {runtime} computes in fp32; leave out --precision bf16")
    on_cpu = gpus_per_actor == 0 or not (torch.cuda.is_available() or is_remote())
    try:
        return method.in_runtime(runtime, on_cpu=on_cpu, bf16=precision == "bf16")
    except (RuntimeMissingError, ValueError) as error:
        raise UsageError(f"--runtime {runtime}: {error}") from error
