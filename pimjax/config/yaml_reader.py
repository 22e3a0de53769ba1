"""Safe YAML: no aliases, no duplicate keys, no tags, a size limit, and the line of every key."""

from __future__ import annotations

import copy
import functools
import re
from pathlib import Path
from typing import Any

import yaml

from pimjax.errors import ConfigError

MAX_BYTES = 1_000_000
MAX_DEPTH = 20


class _Loader(yaml.SafeLoader):
    """SafeLoader that also reads `1e-4` as a number (YAML 1.2), which YAML 1.1 takes for text."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9][0-9_]*\.?[0-9_]*(?:[eE][-+]?[0-9]+)|\.[0-9_]+(?:[eE][-+]?[0-9]+)?)$"),
    list("-+0123456789."),
)


def read_yaml(path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """Read a YAML mapping; returns it and the line (from 1) of every dotted key.

    Raises:
        ConfigError: the file is missing, too large, not a mapping, or uses aliases, tags or a key twice.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ConfigError(f"{path}: is {size:,} bytes; a configuration may have at most {MAX_BYTES:,}")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); give the path of a YAML file") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8 text; give a YAML file") from None
    return copy.deepcopy(_parsed(text, str(path)))


@functools.lru_cache(maxsize=64)
def _parsed(text: str, name: str) -> tuple[dict[str, Any], dict[str, int]]:
    """Presets are read again and again, once for every point of a host axis."""
    return parse_yaml(text, name)


def parse_yaml(text: str, name: str = "<text>") -> tuple[dict[str, Any], dict[str, int]]:
    """Parse YAML text into a mapping and the line of every dotted key (see :func:`read_yaml`).

    >>> parse_yaml("hardware: {mvm_latency_ns: 1e2}")[0]
    {'hardware': {'mvm_latency_ns': 100.0}}
    """
    try:
        depth = 0
        for event in yaml.parse(text, Loader=_Loader):  # streaming: hostile nesting ends here, before it costs time
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise ConfigError(f"{name}: is nested too deeply; at most {MAX_DEPTH} levels are accepted")
            if isinstance(event, yaml.AliasEvent):
                line = event.start_mark.line + 1 if event.start_mark else "?"
                raise ConfigError(
                    f"{name}:{line}: YAML aliases (*{event.anchor}) are not accepted; write the value out"
                )
        loader = _Loader(text)
        node = loader.get_single_node()
        lines: dict[str, int] = {}
        if node is None:
            return {}, lines
        _walk(node, "", lines, name)
        data = loader.construct_document(node)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{name}:{mark.line + 1}" if mark is not None else name
        problem = getattr(error, "problem", None) or "cannot be parsed"
        raise ConfigError(f"{where}: is not valid YAML ({problem})") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{name}: must be a mapping of keys to values, but it is a {type(data).__name__}")
    return data, lines


def _walk(node: yaml.Node, prefix: str, lines: dict[str, int], name: str) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            path = f"{prefix}.{key.value}" if prefix else str(key.value)
            if path in lines:
                raise ConfigError(
                    f"{name}:{key.start_mark.line + 1}: key {path!r} appears twice (first on line {lines[path]}); keep one"
                )
            lines[path] = key.start_mark.line + 1
            _walk(value, path, lines, name)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _walk(value, f"{prefix}.{index}", lines, name)
