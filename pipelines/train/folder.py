"""The output folder or prefix of a training run."""

from pipelines.storage import objects as storage

PICTURES = "triptychs"
"""Folder of a checkpoint with the validation pairs that its network fused."""


class RunFolder:
    """Names everything below DEST."""

    def __init__(self, uri: str) -> None:
        self.uri = storage.absolute(uri)
        self.start = storage.join(self.uri, "start.safetensors")
        self.teacher = storage.join(self.uri, "teacher.safetensors")
        self.data = storage.join(self.uri, "data.parquet")
        self.checkpoints = storage.join(self.uri, "checkpoints")
        self.log = storage.join(self.uri, "log.parquet")
        self.model = storage.join(self.uri, "model.safetensors")
        self.report = storage.join(self.uri, "report.html")
        self.success = storage.join(self.uri, "_SUCCESS.json")
