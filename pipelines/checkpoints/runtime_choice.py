"""Which runtime computes a method, as `--runtime` says."""

from pipelines.checkpoints.fusion_method import FusionMethod
from pipelines.config.fields import RuntimeChoice
from pipelines.errors.exceptions import UsageError
from upfusion.model import Precision
from upfusion.runtimes import RuntimeMissingError


def in_runtime(method: FusionMethod, runtime: RuntimeChoice, precision: Precision) -> FusionMethod:
    """Return a method in the runtime that was chosen, exporting its network where that is needed, up to a minute once.

    Raises UsageError where the method has no such runtime, or that is not installed.
    """
    if runtime == "torch":
        return method
    if precision == "bf16" and runtime != "auto":
        raise UsageError(f"--runtime {runtime} computes in fp32; leave out --precision bf16")
    try:
        return method.in_runtime(runtime)
    except (RuntimeMissingError, ValueError) as error:
        raise UsageError(f"--runtime {runtime}: {error}") from error
