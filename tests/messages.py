"""Every message in the code, collected from its source: errors, help, notes, lines on the terminal.

`python -m tests.messages` writes messages.txt anew; a change of wording then shows in one diff.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
GOLDEN = Path(__file__).with_name("messages.txt")
RINGS = ("upfusion", "pipelines", "jobs")
TRAINED_ON = ("phrases.py", "phrases_unrelated.py", "reader_sentences.py")  # texts for the network, not for people
TWO_WORDS = re.compile(r"[A-Za-z]{2,}[,;:)]* +\(?[A-Za-z{]")


def collected() -> str:
    """Return the messages of all files of the product, each file's in the order of its lines."""
    return "\n".join(f"## {path}\n{text}" for path, text in _by_file() if text)


def repeated_in_tests() -> list[str]:
    """Return where a test asserts the wording of a message: four of its words in a row, in an assert or a `match`."""
    known = {run for text in collected().splitlines() for run in _runs(re.sub(r"\{[^}]*\}", "|", text))}
    return [
        f"{file.relative_to(ROOT)}:{text.lineno}: {text.value!r}"
        for file in sorted(GOLDEN.parent.rglob("*.py"))
        for text in _asserted(ast.parse(file.read_text(encoding="utf-8")))
        if not known.isdisjoint(_runs(text.value))
    ]


def _asserted(tree: ast.AST) -> Iterator[ast.Constant]:
    for node in ast.walk(tree):
        looked_for: list[ast.AST] = []
        if isinstance(node, ast.Assert):
            looked_for = [node.test]
        elif isinstance(node, ast.Call):
            looked_for = [word.value for word in node.keywords if word.arg == "match"]
            if isinstance(node.func, ast.Attribute) and node.func.attr == "parametrize":
                looked_for = [*node.args[1:]]
        for part in looked_for:
            yield from (one for one in ast.walk(part) if isinstance(one, ast.Constant) and isinstance(one.value, str))


def _runs(text: str) -> Iterator[tuple[str, ...]]:
    """Yield every four words in a row between other characters."""
    for part in re.split(r"[^A-Za-z'\- ]+", text.replace("\\b", "|")):
        words = part.lower().split()
        yield from (tuple(words[at : at + 4]) for at in range(len(words) - 3))


def _by_file() -> Iterator[tuple[Path, str]]:
    files = (file for ring in RINGS for file in (ROOT / ring).rglob("*.py") if file.name not in TRAINED_ON)
    for path in sorted(files):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        yield path.relative_to(ROOT), "".join(f"{_escaped(text)}\n" for text in _texts(tree))


def _texts(tree: ast.AST) -> Iterator[str]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.JoinedStr):
            text = "".join(
                str(part.value) if isinstance(part, ast.Constant) else f"{{{ast.unparse(part.value)}}}"
                for part in node.values
                if isinstance(part, ast.Constant | ast.FormattedValue)
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
        else:
            if not _is_docstring(node):
                yield from _texts(node)
            continue
        if TWO_WORDS.search(text):
            yield text


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


if __name__ == "__main__":
    GOLDEN.write_text(collected(), encoding="utf-8")
