"""Shipped presets and the files that names mean, and the sentence for a key that does not exist."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from pimjax.errors import ConfigError, brief, shown
from pimjax.resources import config_folder

_LONGEST_NAME = 100
"""Characters of a key or a name for which a similar one is sought."""


def list_presets(section: str | None = None) -> list[str]:
    """Names of the shipped presets: whole configurations, or those of one section.

    >>> "paper_reference" in list_presets()
    True
    """
    folder = config_folder() / section if section else config_folder()
    return sorted(path.stem for path in folder.glob("*.yaml"))


def find_preset(name: str, section: str | None, beside: Path | None = None) -> Path:
    """The file a name or path means: an existing path, a file beside the including one, or a shipped preset."""
    for candidate in (Path(name), *((beside / name,) if beside else ())):
        if candidate.suffix in (".yaml", ".yml") and _is_file(candidate):
            return candidate
    folder = config_folder() / section if section else config_folder()
    preset = folder / f"{name}.yaml"
    if "/" not in name and "\\" not in name and _is_file(preset):
        return preset
    known = list_presets(section)
    hint = difflib.get_close_matches(name[:_LONGEST_NAME], known, 1)
    label = f"{section} preset" if section else "configuration"
    raise ConfigError(
        f"{shown(name)} is neither a YAML file nor a shipped {label}"
        + (f"; did you mean {hint[0]!r}?" if hint else "")
        + f"; shipped: {', '.join(known) or 'none'}"
    )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long, or with a NUL
        return False


def unknown_key_sentence(dotted: str, value: Any, key: str, known: list[str]) -> str:
    """The sentence for a key that does not exist, with the closest existing one."""
    key = key[:_LONGEST_NAME]
    hint = difflib.get_close_matches(key, known, 1)
    advice = f"did you mean {hint[0]!r}? " if hint else ""
    some = known if len(known) <= 12 else [*(difflib.get_close_matches(key, known, 5, 0.2) or known[:5]), "..."]
    return f"{brief(dotted)}: unknown key (value {shown(value)}); {advice}allowed: {', '.join(some)}"
