"""Types of fields that several configurations have."""

from typing import Annotated

from pydantic import BeforeValidator, Field


def split_at_commas(given: object) -> object:
    """Split comma-separated words into a tuple; `none` and empty words are dropped."""
    if isinstance(given, str):
        return tuple(word.strip() for word in given.split(",") if word.strip() not in ("", "none"))
    return given


Words = Annotated[tuple[str, ...], BeforeValidator(split_at_commas)]


Allow = Annotated[
    Words,
    Field(
        description="Further locations that a manifest may name, as comma-separated prefixes, such as "
        "s3://other/archive,https://host/images. Without it a manifest in a bucket may name objects of that bucket "
        "only, and a local one local files and s3://."
    ),
]
