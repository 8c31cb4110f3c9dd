"""The page docs/results.md as sections that are written one by one, each by what measured it."""

import re
from collections.abc import Mapping

from benchmarks.results.sets import ROOT

PAGE = ROOT / "docs" / "results.md"

ABOUT = "# Results"
"""The heading of what stands before the first section."""

ORDER = (
    ABOUT,
    "## Infrared + visible",
    "## CT, PET and SPECT + MRI",
    "## Modalities that neither the paper nor the training has",
    "## Pictures",
    "## Balance and texts",
    "## Beside the published figures",
    "## Ablation",
    "## Retention",
    "## Costs",
    "## Detection",
)
"""Headings, as they follow each other."""


def write_sections(sections: Mapping[str, str]) -> None:
    """Replace sections of the page, each a text by its heading of ORDER, and leave all others as they are."""
    unknown = set(sections) - set(ORDER)
    if unknown:
        raise ValueError(f"unknown sections: {', '.join(sorted(unknown))}")
    there = read_sections() | {heading: text.strip() for heading, text in sections.items()}
    parts = (f"{heading}\n\n{there[heading]}".strip() for heading in ORDER if heading in there)
    PAGE.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def read_sections() -> dict[str, str]:
    """Return the sections that the page has, by heading."""
    page = PAGE.read_text(encoding="utf-8") if PAGE.is_file() else ""
    headings = re.compile("|".join(f"^{re.escape(heading)}$" for heading in ORDER), re.MULTILINE)
    starts = [*headings.finditer(page)]
    ends = [start.start() for start in starts[1:]] + [len(page)]
    return {start[0]: page[start.end() : end].strip() for start, end in zip(starts, ends, strict=True)}


def deeper(text: str) -> str:
    """Put headings one level down."""
    return "\n".join(f"#{line}" if line.startswith("#") else line for line in text.strip().splitlines())
