"""Options that hold several words."""

from typing import Annotated

from pydantic import BeforeValidator


def split_at_commas(given: object) -> object:
    """Turn words with commas between into a tuple of them; none and empty are no word."""
    if isinstance(given, str):
        return tuple(word.strip() for word in given.split(",") if word.strip() not in ("", "none"))
    return given


Words = Annotated[tuple[str, ...], BeforeValidator(split_at_commas)]
