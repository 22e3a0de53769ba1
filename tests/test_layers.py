"""Imports go downwards in the tree of CONTRIBUTING.md only."""

from __future__ import annotations

import ast
from pathlib import Path

import pimjax

ROOT = Path(pimjax.__file__).parent
#: data-flow order; a package may import from itself and from those above it in this list
ORDER = (
    "errors",
    "progress",
    "status",
    "array_typing",
    "arrays",
    "checks",
    "resources",
    "compiling",
    "registry",
    "schedule",
    "imports",
    "config",
    "trace",
    "cache",
    "runs",
    "numerics",
    "nn",
    "circuit",
    "event",
    "system",
    "chips",
    "estimation",
    "batch",
    "serving",
    "tuning",
    "reproduction",
    "report",
    "cli",
)


def _package(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def _imports(path: Path) -> set[str]:
    """First-level pimjax packages a module imports outside `if TYPE_CHECKING`, at any depth."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [node.module] + [f"{node.module}.{alias.name}" for alias in node.names if node.module == "pimjax"]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("pimjax.")}
    return found


MODULES = sorted(path for path in ROOT.rglob("*.py") if path.parent != ROOT or path.stem in ORDER)


def test_no_import_goes_upwards() -> None:
    wrong = []
    for path in MODULES:
        here, shown = _package(path), path.relative_to(ROOT)
        if here not in ORDER:
            wrong.append(f"{shown}: {here} is not in the tree of CONTRIBUTING.md")
            continue
        upward = {name for name in _imports(path) if name in ORDER and ORDER.index(name) > ORDER.index(here)}
        wrong += [f"{shown} imports {name}, which comes after {here}" for name in sorted(upward)]
    assert not wrong, "\n".join(wrong)


def test_modules_stay_small() -> None:
    long = {str(path.relative_to(ROOT)): n for path in MODULES if (n := len(path.read_text().splitlines())) > 400}
    assert not long, f"over 400 lines, is each still one idea? {long}"
