"""API reference: one page per package, every public name of every module, from the docstrings."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from types import ModuleType
from typing import Any

import pimjax

#: Package -> title of its page, in data-flow order.
PACKAGES = {
    "config": "Configuration",
    "trace": "Routing traces",
    "schedule": "Grouping and schedules",
    "cache": "Caches",
    "numerics": "Crossbar numerics",
    "nn": "Neural networks",
    "circuit": "Circuit components",
    "event": "Event engine",
    "system": "The system around the crossbars",
    "chips.reference": "Chip model `reference`",
    "chips.multiplexed": "Chip model `multiplexed`",
    "estimation": "Estimates",
    "batch": "Batches and sweeps",
    "serving": "Serving",
    "tuning": "Tuning",
    "reproduction": "Reproduction",
    "report": "Reports",
}
#: Modules that belong to no package of the list.
LOOSE = ("errors", "status", "array_typing", "chips.run_cost")

_BACKTICKS = re.compile(r"(?<![`:\w])`([^`\n]+)`(?![`_])")
_FIELD = re.compile(r"^    (\w+)\s*:\s*[^#]+?#\s*(.+?)\s*$")


def api_pages() -> dict[str, str]:
    """File name -> reStructuredText of every page."""
    pages = {f"api/{name}.rst": _page(f"pimjax.{name}", title) for name, title in PACKAGES.items()}
    pages["api/public.rst"] = _public()
    pages["api/loose.rst"] = "\n".join(
        [_heading("Errors, status bits, shared types", "="), *(_module(f"pimjax.{name}") for name in LOOSE)]
    )
    return pages


def _page(name: str, title: str) -> str:
    package = importlib.import_module(name)
    modules = [_package(name)]
    for found in sorted(_inside(package), key=lambda found: found.name):
        modules.append(_package(found.name) if found.ispkg else _module(found.name))
    label = re.sub("`", "``", title)
    return "\n".join([_heading(label, "="), *modules])


def _inside(package: ModuleType) -> list[Any]:
    found = pkgutil.walk_packages(package.__path__, package.__name__ + ".")
    return [each for each in found if not each.name.rpartition(".")[2].startswith("_")]


def _package(name: str) -> str:
    """Its text alone: a package only repeats names of its modules."""
    return f".. automodule:: {name}\n   :no-members:\n"


def _module(name: str) -> str:
    return "\n".join([_heading(name, "-"), f".. automodule:: {name}", "   :members:", ""])


def _heading(text: str, underline: str) -> str:
    return f"{text}\n{underline * len(text)}\n"


def _public() -> str:
    """Everything that `import pimjax` offers, as a table that leads to the descriptions."""
    lines = [_heading("Public names", "="), _PUBLIC_TEXT, ".. list-table::", "   :widths: 25 75", ""]
    for name in pimjax.__all__:
        thing = getattr(pimjax, name)
        if name == "__version__" or inspect.ismodule(thing):
            continue
        lines += [f"   * - {_link(name, thing)}", f"     - {_first_line(name, thing)}"]
    lines += ["   * - :py:mod:`pimjax.event <pimjax.event>`", "     - The discrete-event engine, as a module.", ""]
    return "\n".join(lines)


_PUBLIC_TEXT = """\
``import pimjax`` loads a name on first use, so importing the package costs little. These names are stable; what
lies deeper may change. Constants are described with the functions that use them.
"""


def _link(name: str, thing: Any) -> str:
    if not (inspect.isclass(thing) or inspect.isroutine(thing)):
        return f"``pimjax.{name}``"
    role = "class" if inspect.isclass(thing) else "func"
    if inspect.isclass(thing) and issubclass(thing, Exception):
        role = "exc"
    return f":py:{role}:`pimjax.{name} <{thing.__module__}.{thing.__qualname__}>`"


def _first_line(name: str, thing: Any) -> str:
    if inspect.isclass(thing) or inspect.isroutine(thing):
        return (inspect.getdoc(thing) or "").splitlines()[0]
    shown = ", ".join(str(part) for part in thing) if isinstance(thing, tuple) else repr(thing)
    return f"``{shown}``"


def add_field_comments(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Autodoc hook: the comments beside the fields of a data class (shape, unit, meaning) join its description."""
    if what != "class" or not inspect.isclass(thing):
        return
    try:
        source = inspect.getsource(thing)
    except (OSError, TypeError):
        return
    fields = [match.groups() for match in map(_FIELD.match, source.splitlines()) if match]
    fields = [(field, text) for field, text in fields if field in getattr(thing, "__annotations__", {})]
    if not fields or any(":ivar" in line or ":attr" in line for line in lines):
        return
    lines += ["", "Fields:", ""]
    for field, text in fields:
        if not text.startswith(("noqa", "type:", "pyrefly")):
            lines.append(f"* ``{field}``: {_escaped(text)}")
    lines.append("")


def _escaped(text: str) -> str:
    return re.sub(r"([*|_])(?![^`]*`[^`]*$)", r"\\\1", text) if "`" not in text else text


def code_in_backticks(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Autodoc hook, before napoleon: docstrings write code in single backticks, reStructuredText wants two."""
    lines[:] = [line if line.lstrip().startswith(">>>") else _BACKTICKS.sub(r"``\1``", line) for line in lines]


def skip_aliases(app: Any, what: str, name: str, thing: Any, skip: bool, options: Any) -> bool | None:
    """Autodoc hook: leave out what Python and flax generate for every tuple or data class."""
    text = getattr(thing, "__doc__", None) or ""
    generated = text.startswith(("Alias for field number", "Returns a new object replacing"))
    return True if generated or name in {"model_config", "replace"} else None
