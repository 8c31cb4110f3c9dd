"""Entry point of `upfusion info MODEL`: what a preset, a file or a registered model is, costs and comes from."""

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pydantic import Field

from jobs.command_line import job_command
from jobs.terminal import Terminal
from pipelines.config.base import JobConfig
from upfusion.presets import PRESETS

if TYPE_CHECKING:
    from pipelines.checkpoints.describe import ModelInfo


class InfoConfig(JobConfig):
    """Options of `upfusion info`."""

    model: str = Field(
        description=f"Preset ({', '.join(PRESETS)}), checkpoint file (local or s3://), or registered model in MLflow "
        "(models:/NAME@ALIAS or models:/NAME/VERSION); laplacian, mean or max; or onnx:FILE, a network of others."
    )
    as_json: bool = Field(False, alias="json", description="Print JSON.")


@job_command(InfoConfig, name="info", positional=("model",))
def command(config: InfoConfig, verbose: bool) -> int:  # noqa: ARG001  # every job takes it
    """Show the architecture of a model, its cost and the provenance of its weights."""
    with Terminal(stderr=True).status("counting operations"):
        from jobs.model_card import print_lines, print_model
        from pipelines.checkpoints.describe import ModelInfo, describe_model

        info = describe_model(config.model)
    if not isinstance(info, ModelInfo):
        about = info.about()
        if config.as_json:
            sys.stdout.write(json.dumps(about, indent=2) + "\n")
        else:
            print_lines(Terminal(), {name.capitalize(): str(value) for name, value in about.items()})
    elif config.as_json:
        sys.stdout.write(json.dumps(_to_json(info), indent=2) + "\n")
    else:
        print_model(Terminal(), info)
    return 0


def _to_json(info: "ModelInfo") -> dict[str, Any]:
    described: dict[str, Any] = {
        "name": info.name,
        "config": asdict(info.config),
        "parameters": asdict(info.parameters),
        "costs": [{"height": height, "width": width} | asdict(cost) for (height, width), cost in info.costs.items()],
    }
    if info.checkpoint:
        described |= {
            "digest": info.checkpoint.digest,
            "prompts": {name: prompt.text for name, prompt in info.checkpoint.prompts.items()},
            "provenance": asdict(info.checkpoint.provenance),
        }
    return described


if __name__ == "__main__":
    sys.exit(command())
