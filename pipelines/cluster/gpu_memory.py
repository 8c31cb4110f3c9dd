"""What a GPU has left for a forward pass, and what a forward pass takes."""

from collections.abc import Callable

import torch

# Of what is free, as much is left to fragments, to workspaces of kernels and to other processes.
SHARE = 0.8


class DeviceMemory:
    """The memory of the GPU that this process uses."""

    def free(self) -> int:
        """Return the bytes that could still be allocated, those that PyTorch keeps for itself included."""
        free, _ = torch.cuda.mem_get_info()
        return free + torch.cuda.memory_reserved() - torch.cuda.memory_allocated()

    def most_during(self, work: Callable[[], None]) -> int:
        """Do something and return the most bytes that it had allocated at once; nothing else may run beside it."""
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        work()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before

    def release(self) -> None:
        """Give back what PyTorch keeps for itself, so that larger parts can be allocated."""
        torch.cuda.empty_cache()


def fitting(free: int, a_pair: int, at_once: int) -> int:
    """Return how many pairs a pass can take, where so many passes run at once; at least one."""
    return max(1, int(free * SHARE) // max(1, a_pair) // at_once)
