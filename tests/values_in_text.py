"""The values in a text for people, so that a test can look for them without its words."""

import re


def numbers_in(text: str) -> list[str]:
    """Return the numbers of a text as they are written, such as `2,420` or `0.5`, without those of words like `s3`."""
    return re.findall(r"(?<![\w.])\d+(?:,\d{3})*(?:\.\d+)?(?![\w])", text)
