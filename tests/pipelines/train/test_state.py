"""What a training resumes from: a file that is data, and that says which version wrote it."""

import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from pipelines.errors.exceptions import UsageError
from pipelines.storage.schema_version import SCHEMA_VERSION
from pipelines.train.state import read_state, write_state

STATE = {"step": torch.tensor(3), "network.weight": torch.ones(2, 2)}


class Trap:
    """Pickled, it makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("best", [None, {"step": 2.0, "value": 0.5}])
def test_a_state_comes_back_as_it_was(tmp_path, best):
    write_state(tmp_path / "state", STATE, best)
    state, there = read_state(tmp_path / "state")
    assert there == best
    assert state.keys() == STATE.keys()
    assert all(torch.equal(state[name], STATE[name]) for name in STATE)


def test_equal_states_are_equal_bytes(tmp_path):
    for name in ("one", "other"):
        write_state(tmp_path / name, STATE, None)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


def test_the_state_of_a_later_version_is_refused(tmp_path):
    write_state(tmp_path / "now", STATE, None)
    with safe_open(tmp_path / "now", framework="pt") as file:
        about = json.loads(file.metadata()["upfusion"]) | {"schema_version": SCHEMA_VERSION + 1}
    save_file(STATE, tmp_path / "later", metadata={"upfusion": json.dumps(about)})
    said = rf"later was written by a later version of upfusion \(schema_version {SCHEMA_VERSION + 1};"
    with pytest.raises(UsageError, match=said):
        read_state(tmp_path / "later")


@pytest.mark.parametrize("write", [torch.save, lambda trap, path: path.write_bytes(pickle.dumps(trap))])
def test_code_in_a_state_is_not_executed(tmp_path, write):
    write(Trap(tmp_path / "sprung"), tmp_path / "state")
    with pytest.raises(SafetensorError):
        read_state(tmp_path / "state")
    assert not (tmp_path / "sprung").exists()
