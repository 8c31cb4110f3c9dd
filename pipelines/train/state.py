"""The training state as a file: everything that the next step depends on, and the best validation so far.

It is safetensors: equal states give equal bytes, unlike pickles, and nothing in it can be executed.
"""

import json
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from pipelines.storage.schema_version import SCHEMA_VERSION, check_version

Best = dict[str, float]
"""Step and value of the best validation."""


def write_state(path: Path, state: dict[str, Tensor], best: Best | None) -> None:
    """Serialise `Learner.state`."""
    # Under one key, because safetensors does not keep the order of several.
    save_file(state, path, metadata={"upfusion": json.dumps({"schema_version": SCHEMA_VERSION, "best": best})})


def read_state(path: Path) -> tuple[dict[str, Tensor], Best | None]:
    """Deserialise a state for `Learner.load_state`; raises UsageError for the file of a later version."""
    with safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()["upfusion"])
        check_version(path.name, about["schema_version"])
        best: Best | None = about["best"]
        return {name: file.get_tensor(name) for name in file.keys()}, best  # noqa: SIM118  # safe_open is no mapping
