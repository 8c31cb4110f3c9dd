"""Entry point of `upfusion export-model MODEL`: a model as one ONNX file."""

import sys

from jobs.command_line import job_command
from jobs.terminal import Terminal
from pipelines.checkpoints.config import ExportModelConfig


@job_command(ExportModelConfig, name="export-model", positional=("model",))
def command(config: ExportModelConfig, verbose: bool) -> int:  # noqa: ARG001  # every job takes it
    """Write a model as one ONNX file for other runtimes, compared with PyTorch before it is written."""
    with Terminal(stderr=True).status("exporting, which takes up to a minute"):
        from pipelines.checkpoints.export import export_model

        exported = export_model(config)
    console = Terminal()
    sizes = ", ".join(f"{height}x{width}" for height, width in exported.compared)
    lines = {
        "File": f"{exported.uri}, {exported.bytes / 1e6:.1f} MB, {config.size}, {config.precision}",
        "Inputs": ", ".join(exported.inputs),
        "Compared": f"with PyTorch at {sizes}: differs by at most {max(exported.compared.values()):.4f} of 255 levels",
    }
    for heading, text in lines.items():
        console.print(f"[bold]{heading:10s}[/]", end=" ", highlight=False)
        console.print(text, markup=False, highlight=False, soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(command())
