"""Splits of a data set, named by folders (train, val, test)."""

TRAIN, VAL, TEST = "train", "val", "test"
SPLITS = frozenset({TRAIN, VAL, TEST})


def split_of(pair_id: str) -> str | None:
    """Return the innermost split named in a pair's path, or None."""
    named = [folder for folder in pair_id.split("/")[:-1] if folder in SPLITS]
    return named[-1] if named else None


def without_split(pair_id: str) -> str:
    """Return the id without the folders that name a split."""
    *folders, name = pair_id.split("/")
    return "/".join([*(folder for folder in folders if folder not in SPLITS), name])
