"""Types of fields that several configurations have."""

from typing import Annotated

from pydantic import BeforeValidator, Field


def split_at_commas(given: object) -> object:
    """Turn words with commas between into a tuple of them; none and empty are no word."""
    if isinstance(given, str):
        return tuple(word.strip() for word in given.split(",") if word.strip() not in ("", "none"))
    return given


Words = Annotated[tuple[str, ...], BeforeValidator(split_at_commas)]


Allow = Annotated[
    Words,
    Field(
        description="Where else the pairs of a manifest may lie, as prefixes with commas between, such as "
        "s3://other/archive,https://host/images. Without it a manifest in a bucket names objects of that bucket "
        "alone, and a local one local files and s3://."
    ),
]
