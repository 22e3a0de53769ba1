"""Reading a config.json that may be anything: a limit before parsing, one sentence for whatever is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn

from pimjax.errors import ConfigError, PimjaxError

#: the largest known file of this kind has under 1 MB; a tokenizer or weights given by mistake have more
MAX_BYTES = 16_000_000
FILE_NAME = "config.json"


def read_json(
    path: Path, *, most: int = MAX_BYTES, what: str = "a config.json", error: type[PimjaxError] = ConfigError
) -> dict[str, Any]:
    """Read a file with one JSON object.

    Args:
        path: the file, or the folder of a checkpoint that holds a config.json.
        most: bytes that the file may have.
        what: what the file is, for the sentence.
        error: class of the error.

    Raises:
        error: missing, no plain file, larger than `most`, not UTF-8, not JSON, NaN or infinity in it, nested too
            deeply, or not an object.
    """
    try:
        path = path / FILE_NAME if path.is_dir() else path
        if not path.is_file():
            raise error(f"{path}: is not a file; give {what} or the folder of a checkpoint")
        size = path.stat().st_size
        if size > most:
            raise error(f"{path}: is {size:,} bytes; {what} may have at most {most:,}")
        with path.open("rb") as stream:  # a file that grows, or a device that says it is empty, ends here too
            content = stream.read(most + 1)
    except (OSError, ValueError) as problem:
        if isinstance(problem, PimjaxError):
            raise
        reason = problem.strerror if isinstance(problem, OSError) else str(problem)
        raise error(f"{str(path)[:200]!r} cannot be read ({reason}); give the path of {what}") from None
    if len(content) > most:
        raise error(f"{path}: is larger than {most:,} bytes, which {what} may have at most")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise error(f"{path}: is not UTF-8 text; give {what}") from None
    return parse_json(text, str(path), error=error)


def parse_json(text: str, where: str = "<text>", *, error: type[PimjaxError] = ConfigError) -> dict[str, Any]:
    """One JSON object as a dictionary (see :func:`read_json`).

    >>> parse_json('{"hidden_size": 8}')
    {'hidden_size': 8}
    """

    def refuse(constant: str) -> NoReturn:
        raise error(f"{where}: has the number {constant}; every number must be finite")

    try:
        data = json.loads(text, parse_constant=refuse)
    except PimjaxError:
        raise
    except RecursionError:
        raise error(f"{where}: is nested too deeply to describe a model") from None
    except ValueError as problem:  # JSONDecodeError, or a whole number of thousands of digits
        position = f", line {problem.lineno}" if isinstance(problem, json.JSONDecodeError) else ""
        reason = problem.msg if isinstance(problem, json.JSONDecodeError) else "a number has too many digits"
        raise error(f"{where}{position}: is not valid JSON ({reason})") from None
    if not isinstance(data, dict):
        raise error(f"{where}: must be a JSON object of keys and values, but it is a {type(data).__name__}")
    return data
