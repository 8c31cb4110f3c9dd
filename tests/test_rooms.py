"""Imports only point inwards (jobs -> pipelines -> upfusion), and downwards from package to package of pipelines/."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RINGS = ("upfusion", "pipelines", "jobs")
UNPICKLERS = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
WAITED_FOR = {"timm", "torchvision", "mlflow", "sklearn"}
FORBIDDEN = {
    "upfusion": {"ray", "mlflow", "fsspec", "s3fs", "pyarrow", "pydantic", "click", "rich", "pipelines", "jobs"},
    "pipelines": {"click", "rich", "jobs"},
    "jobs": {"ray", "mlflow"},
}

FLOORS = {
    "errors": 0,
    "config": 1,
    "pages": 1,
    "storage": 1,
    "demo": 1,
    "archive": 2,
    "cluster": 2,
    "tracking": 3,
    "rigs": 3,
    "checkpoints": 4,
    "sources": 4,
    "measure": 5,
    "fuse": 6,
    "train": 6,
    "evaluate": 7,
    "align": 7,
    "ablate": 8,
}
"""The packages of pipelines/; each imports lower floors only, and none on its own."""

USES_RAY = {
    *(
        f"pipelines.cluster.{name}"
        for name in ("dataset", "execute", "graph_watchdog", "heartbeat", "ray_cluster", "submit")
    ),
    *(f"pipelines.train.{name}" for name in ("callback", "trainer", "worker")),
}
"""Who imports ray, which elsewhere only annotates types."""


@dataclass(frozen=True)
class Import:
    """That a module imports another one, or a name of it."""

    importer: str
    imported: str
    only_types: bool = False
    """Whether it stands below `if TYPE_CHECKING`."""

    def __str__(self) -> str:
        return f"{self.importer} imports {self.imported}"


@pytest.mark.parametrize("room", RINGS)
def test_a_room_imports_nothing_from_outside(room: str) -> None:
    files = list((ROOT / room).rglob("*.py"))
    assert len(files) > 5
    strays = [f"{file.relative_to(ROOT)}: {name}" for file in files for name in _imported(file) & FORBIDDEN[room]]
    assert not strays


def test_every_package_has_a_floor_and_every_module_a_package() -> None:
    assert {path.parent.name for path in (ROOT / "pipelines").glob("*/__init__.py")} == set(FLOORS)
    assert [path.name for path in (ROOT / "pipelines").glob("*.py")] == ["__init__.py"]
    assert not [path for path in (ROOT / "pipelines").rglob("*.py") if not (path.parent / "__init__.py").exists()]


def test_packages_import_lower_floors_only() -> None:
    assert upward(imports_of(sources("pipelines"))) == []


def test_no_two_modules_import_each_other() -> None:
    assert cycle(imports_of(sources("pipelines") | sources("jobs"))) is None


def test_ray_is_imported_at_the_edge_alone() -> None:
    assert ray_users(imports_of(sources("pipelines"))) == USES_RAY


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("pipelines.archive.load", "from pipelines.fuse.schemas import WRITTEN"),
        ("pipelines.storage.names", "from pipelines.config import fields"),
        ("pipelines.fuse.plan", "import pipelines.train.job"),
        ("pipelines.errors.failures", "def late():\n    from pipelines.storage.objects import join"),
        ("pipelines.train.crops", "if TYPE_CHECKING:\n    from pipelines.evaluate.rows import WORK"),
    ],
)
def test_an_upward_import_is_found(module: str, line: str) -> None:
    planted = sources("pipelines")
    planted[module] += f"\n{line}\n"
    (found,) = upward(imports_of(planted))
    assert found.startswith(f"{module} imports pipelines.")


def test_a_cycle_is_found() -> None:
    planted = sources("pipelines")
    planted["pipelines.archive.schema"] += "\nfrom pipelines.archive.discover import discover\n"
    found = cycle(imports_of(planted))
    assert found is not None
    assert {"pipelines.archive.schema", "pipelines.archive.discover"} <= set(found)


def test_ray_where_it_does_not_belong_is_found() -> None:
    planted = sources("pipelines")
    planted["pipelines.fuse.writer"] += "\nimport ray.data\n"
    planted["pipelines.fuse.plan"] += "\nif TYPE_CHECKING:\n    import ray.data\n"
    assert ray_users(imports_of(planted)) == USES_RAY | {"pipelines.fuse.writer"}


def sources(ring: str) -> dict[str, str]:
    """The text of every module of a ring, by its dotted name."""
    files = sorted((ROOT / ring).rglob("*.py"))
    return {
        ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file.read_text()
        for file in files
    }


@cache
def parse(text: str) -> ast.Module:
    """Parse a module; its tree is not changed, and one test after the other reads it."""
    return ast.parse(text)


def imports_of(texts: dict[str, str]) -> list[Import]:
    """List every import, those within functions too, resolved to modules where they import one."""
    return [found for module, text in texts.items() for found in _imports(module, parse(text), set(texts))]


def upward(imports: list[Import]) -> list[str]:
    """Name the imports of pipelines/ that lead to the same floor in another package, or to a higher one."""
    found = []
    for one in imports:
        package, other = (name.split(".")[1:2] for name in (one.importer, one.imported))
        inside = one.imported.startswith("pipelines.") and package and package != other
        if inside and FLOORS[other[0]] >= FLOORS[package[0]]:
            found.append(str(one))
    return found


def cycle(imports: list[Import]) -> list[str] | None:
    """Return modules that import each other in a circle; what is imported for types alone counts as well."""
    after: dict[str, set[str]] = {}
    for one in imports:
        after.setdefault(one.importer, set()).add(one.imported)
    try:
        TopologicalSorter(after).prepare()
    except CycleError as error:
        return list(error.args[1])
    return None


def ray_users(imports: list[Import]) -> set[str]:
    """Return the modules that import ray when they run."""
    return {one.importer for one in imports if one.imported.split(".")[0] == "ray" and not one.only_types}


def _imports(module: str, tree: ast.AST, modules: set[str], *, only_types: bool = False) -> Iterator[Import]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield from _imports(module, node, modules, only_types=True)
        elif isinstance(node, ast.Import):
            yield from (Import(module, alias.name, only_types) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (Import(module, name if name in modules else str(node.module), only_types) for name in names)
        elif not isinstance(node, ast.expr):  # which holds no import
            yield from _imports(module, node, modules, only_types=only_types)


@pytest.mark.parametrize("room", RINGS)
def test_no_room_executes_data(room: str) -> None:
    """Ruff refuses `yaml.load`, `eval`, `exec` and shells besides; a `noqa` would silence it."""
    for file in (ROOT / room).rglob("*.py"):
        text = file.read_text()
        assert not _imported(file) & UNPICKLERS, file
        assert not re.search(r"noqa:.*\bS(102|301|307|506|60[24-6])", text), file
        for call in (node for node in ast.walk(parse(text)) if isinstance(node, ast.Call)):
            named = {word.arg: ast.unparse(word.value) for word in call.keywords}
            assert "allow_pickle" not in named, file
            assert named.get("trust_remote_code", "False") == "False", file
            if ast.unparse(call.func) == "torch.load":
                assert named.get("weights_only") == "True", file


def _imported(file: Path) -> set[str]:
    return {name.split(".")[0] for name in _names(parse(file.read_text()))}


def _names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module or ""


def test_who_fuses_waits_for_no_timm() -> None:
    """timm and torchvision take as long to import as PyTorch, and only training from pretrained priors needs them."""
    rooms = "pipelines.fuse.job, pipelines.evaluate.job, pipelines.fuse.actor, upfusion.model"
    driver = f"import sys, {rooms}; print({WAITED_FOR} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", driver], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
