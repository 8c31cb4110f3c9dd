"""Cuts a text that names both sources into parts that name one each.

The embedding of a sentence hardly says which of two sources it wants more of: "less visible, more thermal" lies beside
"more visible, less thermal". Of one source it does. So a text that names both is read by its parts (guidance.py).
"""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

_A = (
    r"visible|vis|visual|daylight|day camera|colou?rs?|true-colou?r|rgb|photos?|photographs?|optical|electro-optical|"
    r"eo|cctv|tv|webcam|aerial|orthophotos?|multispectral|sentinel-2|ct|computed|tomograms?|tomography|pet|spect|"
    r"functional|nuclear|(?:radio)?tracer|metabolic|metabolism|perfusion|bones?|skull|"
    r"(?:first|1st) (?:image|picture|source|input|sensor|one)|(?:image|picture|source|input|sensor) (?:one|1|a)"
)
_B = (
    r"infrared|infra-red|near-infrared|thermal|thermograms?|thermographic|ir|lwir|mwir|flir|long-wave|heat|temperatures?|"
    r"warmth|microbolometer|nir|mri|mr|magnetic|t1|t2|flair|soft[ -]tissue|anatomy|anatomical|sar|radar|microwave|"
    r"sentinel-1|"
    r"(?:second|2nd) (?:image|picture|source|input|sensor|one)|(?:image|picture|source|input|sensor) (?:two|2|b)"
)
_NAME = re.compile(rf"(?<![\w-])(?:(?P<a>{_A})|(?P<b>{_B}))(?:'s)?(?![\w-])", re.IGNORECASE)

_PREDICATE = re.compile(
    r"\b(?:be|is|are|was|were|stays?|remains?|becomes?|not|\w+ly)\s+(?:more\s+|less\s+)?$", re.IGNORECASE
)
"""What precedes "visible" where it says how something looks, and names no source."""

_BOUNDARY = re.compile(
    r"(?:\s*(?:[,;:.!?()\u2013\u2014]+(?=\s|$)|\b(?:and|but|while|whereas|so|because|since|though|although)\b))+",
    re.IGNORECASE,
)
"""Where one statement ends and another begins."""

_LINK = re.compile(
    r"(?:\b(?:rather|instead|in preference|ahead|as opposed|relative|compared|than|over|before|above|behind|against|"
    r"to|of|for|by|from|with|in|the|an?)\s+)+$",
    re.IGNORECASE,
)
"""What leads from a statement about one source to the source that it is compared with."""


class Mention(NamedTuple):
    """A word that names a source: `a` or `b`, and where it begins in the text."""

    source: str
    start: int


def parts_naming_one_source(text: str) -> list[str]:
    """Return the parts of a text that name one source each, in their order; the text itself unless it names both.

    Where two sources stand in one statement ("the CT rather than the MRI"), what follows the first is left out.
    """
    mentions = list(find_mentions(text))
    if len({mention.source for mention in mentions}) < 2:
        return [text]
    parts, start = [], 0
    for before, mention in pairwise(mentions):
        if mention.source == before.source or before.start < start:
            continue
        boundaries = list(_BOUNDARY.finditer(text, before.start, mention.start))
        if boundaries:
            parts.append(text[start : boundaries[-1].start()])
            start = boundaries[-1].end()
        else:
            parts.append(_LINK.sub("", text[start : mention.start]))
            after = _BOUNDARY.search(text, mention.start)
            start = after.end() if after else len(text)
    parts.append(text[start:])
    return [part.strip(" ,;:.!?") for part in parts if any(find_mentions(part))] or [text]


def find_mentions(text: str) -> Iterator[Mention]:
    """Find the words that name a source, in their order."""
    for name in _NAME.finditer(text):
        if name[0].casefold() == "visible" and _PREDICATE.search(text, 0, name.start()):
            continue
        yield Mention("a" if name["a"] else "b", name.start())
