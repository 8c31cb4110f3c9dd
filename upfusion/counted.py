"""Numbers with their nouns, as people write them."""


def counted(number: int, noun: str) -> str:
    """Return `1 pair`, `2 pairs`, `1,000 pairs`: a number and the noun of what it counts (one that takes an s)."""
    return f"{number:,} {noun}{'s' * (number != 1)}"
