"""The state of a training run as a file: everything that the next step depends on, and the best validation so far.

It is safetensors: equal states are equal bytes, which pickles are not, and nothing in it can be executed.
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
    """Write what `Learner.state` gives."""
    # Under one name, because safetensors writes several in any order.
    save_file(state, path, metadata={"upfusion": json.dumps({"schema_version": SCHEMA_VERSION, "best": best})})


def read_state(path: Path) -> tuple[dict[str, Tensor], Best | None]:
    """Read what `Learner.load_state` takes; raises RequestError for the file of a later version."""
    with safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()["upfusion"])
        check_version(path.name, about["schema_version"])
        best: Best | None = about["best"]
        return {name: file.get_tensor(name) for name in file.keys()}, best  # noqa: SIM118  # safe_open is no mapping
