"""Names and errors that others wrote, as text that only stands there."""

import unicodedata


def printable(text: str) -> str:
    r"""Write what a terminal or a page would act on, or turn around, as an escape: \x1b for the sign of a command."""
    if text.isprintable():
        return text
    return "".join(sign if _is_seen(sign) else sign.encode("unicode_escape").decode() for sign in text)


def _is_seen(sign: str) -> bool:
    return sign.isprintable() or sign in "\n\t" or unicodedata.category(sign) == "Zs"
