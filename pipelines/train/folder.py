"""The output folder or prefix of a training run."""

from pipelines.storage import objects as storage


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
        self.success = storage.join(self.uri, "_SUCCESS.json")
