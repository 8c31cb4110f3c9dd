"""What the configurations of all jobs share."""

from pydantic import BaseModel, ConfigDict, field_validator

from pipelines.errors.redaction import BY_ENVIRONMENT, holds_credentials


class JobConfig(BaseModel):
    """Base of all configurations: frozen, without unknown fields, without credentials."""

    # pydantic's own errors must not quote the input, which may hold a secret.
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, hide_input_in_errors=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_credentials(cls, given: object) -> object:
        # They would end up in run.json, in rows, in MLflow and in the process list.
        words = given if isinstance(given, list | tuple) else [given]
        if any(isinstance(word, str) and holds_credentials(word) for word in words):
            raise ValueError(f"it contains a key, a password or a signature. {BY_ENVIRONMENT}")
        return given

    def shared_paths(self) -> list[tuple[str, str]]:
        """Return the paths that all nodes of a cluster read or write, as (option, path or URI)."""
        return []
