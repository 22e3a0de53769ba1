"""Reading a config.json that may be anything: a limit before parsing, one sentence for whatever is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn

from pimjax.errors import ConfigError

#: the largest known file of this kind has under 1 MB; a tokenizer or weights given by mistake have more
MAX_BYTES = 16_000_000
FILE_NAME = "config.json"


def read_json(path: Path) -> dict[str, Any]:
    """Read a file with one JSON object.

    Args:
        path: the file, or the folder of a checkpoint that holds a config.json.

    Raises:
        ConfigError: missing, no plain file, larger than `MAX_BYTES`, not UTF-8, not JSON, NaN or infinity in it,
            nested too deeply, or not an object.
    """
    try:
        path = path / FILE_NAME if path.is_dir() else path
        if not path.is_file():
            raise ConfigError(f"{path}: is not a file; give a config.json or the folder of a checkpoint")
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ConfigError(f"{path}: is {size:,} bytes; a config.json may have at most {MAX_BYTES:,}")
        with path.open("rb") as stream:  # a file that grows, or a device that says it is empty, ends here too
            content = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(f"{str(path)[:200]!r} cannot be read ({reason}); give the path of a config.json") from None
    if len(content) > MAX_BYTES:
        raise ConfigError(f"{path}: is larger than {MAX_BYTES:,} bytes, which a config.json may have at most")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8 text; give the config.json of a model") from None
    return parse_json(text, str(path))


def parse_json(text: str, where: str = "<text>") -> dict[str, Any]:
    """One JSON object as a dictionary (see :func:`read_json`).

    >>> parse_json('{"hidden_size": 8}')
    {'hidden_size': 8}
    """

    def refuse(constant: str) -> NoReturn:
        raise ConfigError(f"{where}: has the number {constant}; every number must be finite")

    try:
        data = json.loads(text, parse_constant=refuse)
    except ConfigError:
        raise
    except RecursionError:
        raise ConfigError(f"{where}: is nested too deeply to be the config.json of a model") from None
    except ValueError as error:  # JSONDecodeError, or a whole number of thousands of digits
        position = f", line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        reason = error.msg if isinstance(error, json.JSONDecodeError) else "a number has too many digits"
        raise ConfigError(f"{where}{position}: is not valid JSON ({reason})") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{where}: must be a JSON object of keys and values, but it is a {type(data).__name__}")
    return data
