"""What the configurations of all jobs share."""

from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator
from pydantic_core import to_jsonable_python

from pipelines.config.fields import RUNTIME_ONLY
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

    @classmethod
    def runtime_only_fields(cls) -> frozenset[str]:
        """Return the fields that do not affect the result."""
        return frozenset(name for name, info in cls.model_fields.items() if RUNTIME_ONLY in info.metadata)

    @classmethod
    def result_defaults(cls) -> dict[str, Any]:
        """Return the defaults of the fields that affect the result, as JSON values; None for required ones."""
        fields = {name: info for name, info in cls.model_fields.items() if name not in cls.runtime_only_fields()}
        return {
            name: None if info.is_required() else to_jsonable_python(info.get_default(call_default_factory=True))
            for name, info in fields.items()
        }

    def result_settings(self) -> dict[str, Any]:
        """Return the settings that affect the result, as JSON values: all fields but RuntimeOnly ones."""
        return self.model_dump(mode="json", exclude=set(self.runtime_only_fields()))

    def shared_paths(self) -> list[tuple[str, str]]:
        """Return the paths that all nodes of a cluster read or write, as (option, path or URI)."""
        return []
