"""What the configurations of all jobs share."""

from pydantic import BaseModel, ConfigDict, field_validator

from pipelines.errors.redaction import BY_ENVIRONMENT, holds_credentials


class JobConfig(BaseModel):
    """A configuration: one frozen object that knows all its fields, and holds no credentials."""

    # An error that is not ours to word must not repeat what was given.
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, hide_input_in_errors=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_credentials(cls, given: object) -> object:
        # It would stand in run.json, in rows and in MLflow, and in the list of processes.
        words = given if isinstance(given, list | tuple) else [given]
        if any(isinstance(word, str) and holds_credentials(word) for word in words):
            raise ValueError(f"it carries a key, a password or a signature. {BY_ENVIRONMENT}")
        return given

    def shared_paths(self) -> list[tuple[str, str]]:
        """Return what all nodes of a cluster read and write, as (option, path or URI)."""
        return []
