"""How many pairs fit into what is free."""

import pytest
import torch

from pipelines.cluster.gpu_memory import DeviceMemory, fitting


def test_passes_that_run_at_once_share_four_fifths_of_what_is_free():
    assert fitting(free=100, a_pair=8, at_once=1) == 10
    assert fitting(free=100, a_pair=8, at_once=3) == 3
    assert fitting(free=100, a_pair=1000, at_once=3) == 1
    assert fitting(free=0, a_pair=0, at_once=3) == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpus_memory_is_measured():
    memory = DeviceMemory()
    free = memory.free()
    made = []
    assert memory.most_during(lambda: made.append(torch.empty(1 << 24, device="cuda"))) >= 1 << 26
    assert memory.free() <= free - (1 << 26)
    made.clear()
    memory.release()
    assert memory.free() >= free - (1 << 24)
