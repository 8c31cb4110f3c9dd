"""What a configuration costs, without its weights and without computing anything: on PyTorch's meta device."""

import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from upfusion.network import UPFusion
from upfusion.presets import NetworkConfig


@dataclass(frozen=True)
class Parameters:
    """How many numbers are learned, and how many come from a frozen prior."""

    total: int
    trainable: int


@dataclass(frozen=True)
class PassCost:
    """One forward pass over one pair in float32."""

    flops: int
    """Floating point operations of convolutions and matrix products; a multiply-add counts as two."""
    memory: int
    """Bytes of weights and of all tensors alive at the worst moment, without what kernels use inside."""


def count_parameters(config: NetworkConfig) -> Parameters:
    """Count the parameters of a configuration."""
    sizes = [(p.numel(), p.requires_grad) for p in _on_meta(config).parameters()]
    return Parameters(sum(size for size, _ in sizes), sum(size for size, trained in sizes if trained))


def cost_of_pass(config: NetworkConfig, height: int, width: int) -> PassCost:
    """Count what fusing one pair of `height` x `width` pixels takes."""
    network = _on_meta(config).eval()
    with torch.device("meta"), torch.inference_mode():
        luma_B1HW, text_BT = torch.empty(1, 1, height, width), torch.empty(1, config.text_dim)
        with FlopCounterMode(display=False) as counted, _LiveBytes() as live:
            network(luma_B1HW, luma_B1HW, text_BT)
    weights = sum(p.numel() * p.element_size() for p in network.parameters())
    return PassCost(counted.get_total_flops(), weights + live.most)


def _on_meta(config: NetworkConfig) -> UPFusion:
    with torch.device("meta"):
        return UPFusion(config)


class _LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows the storages that operations make, and remembers the most bytes that were alive together."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.most = 0
        self.known: weakref.WeakSet[Any] = weakref.WeakSet()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self._follow(tensor.untyped_storage())
        return made

    def _follow(self, storage: torch.UntypedStorage) -> None:
        if storage in self.known:
            return
        self.known.add(storage)
        self.now += storage.nbytes()
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._forget, storage.nbytes())

    def _forget(self, size: int) -> None:
        self.now -= size
