"""Safe YAML: no aliases, no duplicate keys, no tags, a size limit, and the line of every key."""

from __future__ import annotations

import copy
import functools
import re
from pathlib import Path
from typing import Any

import yaml

from pimjax.errors import ConfigError, brief, shown

MAX_BYTES = 1_000_000
MAX_DEPTH = 20
MAX_VALUES = 20_000
"""Keys and values of one file, which bounds the time of reading it; the longest shipped file has about 100."""
MAX_DIGITS = 400
"""Characters of one number: Python takes time and memory that grow with their square."""

# libyaml's parser is ten times as fast as the one in Python; wheels of PyYAML have it.
_Base: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):
    """SafeLoader that also reads `1e-4` as a number (YAML 1.2), which YAML 1.1 takes for text; dates stay text."""

    def construct_number(self, node: yaml.ScalarNode) -> int | float:
        """A number that is short enough to be one."""
        if len(node.value) > MAX_DIGITS:
            problem = f"a number of {len(node.value):,} characters; at most {MAX_DIGITS} are read"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        is_whole = node.tag.endswith(":int")
        return self.construct_yaml_int(node) if is_whole else self.construct_yaml_float(node)


for _kind in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _Loader.construct_number)
_Loader.add_constructor("tag:yaml.org,2002:timestamp", _Loader.construct_yaml_str)


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
            raise ConfigError(f"{shown(path)}: is {size:,} bytes; a configuration may have at most {MAX_BYTES:,}")
        with path.open("rb") as stream:  # a file that grows, or a device that says it is empty, ends here too
            content = stream.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise ConfigError(f"{shown(path)}: is larger than {MAX_BYTES:,} bytes, which a configuration may have")
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{shown(path)}: cannot be read ({error.strerror}); give the path of a YAML file") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{shown(path)}: is not UTF-8 text; give a YAML file") from None
    except ConfigError:
        raise
    except ValueError:  # a NUL in the name
        raise ConfigError(f"{shown(path)}: is no name that a file can have; give the path of a YAML file") from None
    return copy.deepcopy(_parsed(text, shown(path)))


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
        depth = values = 0
        for event in yaml.parse(text, Loader=_Loader):  # streaming: hostile text ends here, before it costs time
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            values += isinstance(event, yaml.NodeEvent)
            if depth > MAX_DEPTH:
                raise ConfigError(f"{name}: is nested too deeply; at most {MAX_DEPTH} levels are accepted")
            if values > MAX_VALUES:
                raise ConfigError(f"{name}: has more than {MAX_VALUES:,} keys and values; write fewer")
            if isinstance(event, yaml.AliasEvent):
                line = event.start_mark.line + 1 if event.start_mark else "?"
                raise ConfigError(
                    f"{name}:{line}: YAML aliases (*{shown(event.anchor)[1:-1]}) are not accepted; write the value out"
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
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "cannot be parsed"
        if "nesting depth" in problem:  # libyaml's own limit, before ours
            raise ConfigError(f"{where}: is nested too deeply; at most {MAX_DEPTH} levels are accepted") from None
        raise ConfigError(f"{where}: is not valid YAML ({brief(problem)})") from None
    except (ValueError, UnicodeError) as error:  # what a tag like !!int finds in its text
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{name}: is not valid YAML ({brief(error)})") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{name}: must be a mapping of keys to values, but it is a {type(data).__name__}")
    return data, lines


def _walk(node: yaml.Node, prefix: str, lines: dict[str, int], name: str) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            path = f"{prefix}.{key.value}" if prefix else str(key.value)
            if path in lines:
                raise ConfigError(
                    f"{name}:{key.start_mark.line + 1}: key {shown(path)} appears twice (first on line {lines[path]}); keep one"
                )
            lines[path] = key.start_mark.line + 1
            _walk(value, path, lines, name)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _walk(value, f"{prefix}.{index}", lines, name)
