"""A network of ours in another runtime, called as PyTorch's is."""

import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from upfusion.checkpoint import Checkpoint
from upfusion.onnx_export import export_onnx
from upfusion.runtimes import OnnxRuntimeName, open_session
from upfusion.version import __version__


class ExportedNetwork:
    """An exported network (any size, text and balance as inputs) on the CPU; a batch is fused pair by pair."""

    def __init__(self, onnx: bytes, runtime: OnnxRuntimeName, threads: int | None = None) -> None:
        self.session = open_session(onnx, "the exported network", threads or torch.get_num_threads(), runtime)
        self.names = {port.name for port in self.session.inputs}

    def __call__(self, a_B1HW: Tensor, b_B1HW: Tensor, text_BT: Tensor, balance_B: Tensor) -> Tensor:
        """Fuse lumas in [0, 1] into unclamped luma (B, 1, H, W)."""
        given = {"a": a_B1HW, "b": b_B1HW, "text": text_BT, "balance": balance_B}
        arrays = {name: np.ascontiguousarray(x.float().numpy()) for name, x in given.items() if name in self.names}
        fused = [
            self.session.run({name: array[pair : pair + 1] for name, array in arrays.items()})
            for pair in range(len(a_B1HW))
        ]
        return torch.from_numpy(np.concatenate(fused))


def export_for_runtime(checkpoint: Checkpoint) -> bytes:
    """Export a checkpoint for any size, once: the file is kept in the user's cache.

    Raises RuntimeMissingError and ValueError as `export_onnx` does.
    """
    name = f"{checkpoint.digest[:32]}-{__version__}-torch-{torch.__version__}.onnx"
    kept = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "upfusion" / name
    if kept.is_file():
        return kept.read_bytes()
    data = export_onnx(checkpoint)
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        unfinished = kept.with_name(f"{name}.{os.getpid()}")
        unfinished.write_bytes(data)
        unfinished.replace(kept)
    except OSError:
        pass  # no home to write to: it is exported again next time
    return data
