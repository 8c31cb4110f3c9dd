"""Write docs/results.md, or some of its parts.

    make results        or: python -m benchmarks.results [comparison] [steering] [ablation] [retention] [pictures]

`comparison` compares what ships with other methods and baselines on all test pairs, `steering` measures balances and
texts, `ablation` trains variants of the network without a part, `retention` with other shares of channels, and
`pictures` draws a contact sheet. What evaluations and trainings leave is kept in `results/`, so that the same command
resumes where it stopped.
"""

import sys
from importlib import import_module

from benchmarks.results.page import PAGE
from benchmarks.results.sets import DATA, ROOT

PARTS = ("comparison", "steering", "ablation", "retention", "pictures")


def main(parts: list[str]) -> None:
    """Measure, and write the sections of each part when it is done."""
    if unknown := set(parts) - set(PARTS):
        sys.exit(f"unknown parts: {', '.join(sorted(unknown))}; known are {', '.join(PARTS)}")
    if not DATA.is_dir():
        sys.exit(f"{DATA} is not there: the page needs the pairs and images that lie beside a development checkout")
    for part in parts or PARTS:
        import_module(f"benchmarks.results.{part}").write(ROOT / "results")
        sys.stdout.write(f"wrote {part} into {PAGE}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
