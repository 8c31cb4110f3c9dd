"""Escaping of untrusted text (file names, errors) for terminals and pages."""

import unicodedata


def printable(text: str) -> str:
    r"""Escape control and bidirectional characters: an ESC becomes \x1b."""
    if text.isprintable():
        return text
    return "".join(sign if _is_seen(sign) else sign.encode("unicode_escape").decode() for sign in text)


def _is_seen(sign: str) -> bool:
    return sign.isprintable() or sign in "\n\t" or unicodedata.category(sign) == "Zs"
