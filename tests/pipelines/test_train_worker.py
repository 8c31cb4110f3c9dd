"""What a worker of a training run does with what lies in its folder; whole runs are in test_train.py."""

import os
import pickle
from pathlib import Path

import pytest
import ray.train
import torch
from safetensors import SafetensorError

from pipelines.train_worker import STATE, Worker


class Trap:
    """Pickled, it makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("write", [torch.save, lambda trap, path: path.write_bytes(pickle.dumps(trap))])
def test_code_in_the_state_of_a_training_is_not_executed(tmp_path, monkeypatch, write):
    (tmp_path / "step").mkdir()
    write(Trap(tmp_path / "sprung"), tmp_path / "step" / STATE)
    checkpoint = ray.train.Checkpoint.from_directory(str(tmp_path / "step"))
    monkeypatch.setattr(ray.train, "get_checkpoint", lambda: checkpoint)
    with pytest.raises(SafetensorError):
        object.__new__(Worker)._resume()
    assert not (tmp_path / "sprung").exists()
