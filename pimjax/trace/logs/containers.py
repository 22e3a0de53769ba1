"""Files that hold routing logs, as plain dictionaries, lists and NumPy arrays. Nothing in a file is ever executed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from pimjax.errors import MissingExtraError, TraceError, shown
from pimjax.trace.checks import check_path
from pimjax.trace.npz import read_npy, read_npz

#: Endings of files that are read.
LOG_FORMATS = (".npz", ".npy", ".jsonl", ".json", ".pt", ".pth", ".csv")
#: Longest line of a JSON Lines file [characters]: a line may hold all tokens of a request.
_MAX_LINE = 1 << 28


def read_container(path: str | os.PathLike[str], max_bytes: int) -> Any:
    """What the file holds; JSON Lines as a list of dictionaries, PyTorch tensors as arrays.

    Raises:
      TraceError: missing, too large, damaged, of an unknown ending, or holding objects that would have to be executed.
      MissingExtraError: a PyTorch file, without PyTorch.
    """
    file = check_path(path, "a routing log")
    if not file.is_file():
        raise TraceError(f"{shown(file)} is not a file: give the path of a routing log")
    if file.stat().st_size > max_bytes:
        raise TraceError(
            f"{shown(file)} has {file.stat().st_size:,} bytes, more than the {max_bytes:,} allowed: split it, or pass a "
            "larger max_bytes if you trust it"
        )
    match file.suffix:
        case ".npz":
            return read_npz(file, max_bytes=max_bytes)
        case ".npy":
            return read_npy(file, max_bytes=max_bytes)
        case ".json":
            return _json(file.read_bytes(), shown(file))
        case ".jsonl":
            return list(json_lines(file))
        case ".pt" | ".pth":
            return _torch(file)
    raise TraceError(
        f"{shown(file)} ends in {shown(file.suffix) if file.suffix else 'nothing'}: a routing log ends in "
        f"{', '.join(LOG_FORMATS)}"
    )


def json_lines(file: Path) -> Any:
    """Dictionaries of a JSON Lines file, one by one."""
    with file.open("rb") as stream:
        number = 0
        while line := stream.readline(_MAX_LINE):
            number += 1
            if line.strip():
                where = f"{shown(file)}, line {number}"
                entry = _json(line, where)
                if not isinstance(entry, dict):
                    raise TraceError(f"{where} is not a JSON object: a routing log has one object per line")
                yield entry


def _json(text: bytes, where: str) -> Any:
    try:
        return json.loads(text.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise TraceError(f"{where} is not UTF-8 text: is it JSON?") from error
    except RecursionError as error:
        raise TraceError(f"{where} is nested too deeply: is it JSON?") from error
    except ValueError as error:  # also a number of thousands of digits
        reason = getattr(error, "msg", "a number is too long")
        raise TraceError(f"{where} is not JSON ({reason}): is it cut off?") from error


def _torch(file: Path) -> Any:
    try:
        import torch  # pyrefly: ignore
    except ImportError as error:
        raise MissingExtraError("torch", "hf", f"reading {shown(file)}, a PyTorch file,") from error
    try:
        return _plain(torch.load(file, map_location="cpu", weights_only=True), torch)
    except Exception as error:  # torch raises many kinds, and none of them is a bug here: the file is at fault
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise TraceError(
            f"{shown(file)} is no PyTorch file of plain tensors ({shown(first)}): other objects are refused, because "
            "unpickling can run code; save dictionaries, lists and tensors only"
        ) from error


def _plain(value: Any, torch: Any) -> Any:
    """Tensors as arrays, numbers of 16 bits as float32; containers kept."""
    if isinstance(value, torch.Tensor):
        tensor = value.detach().cpu()
        return (tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor).numpy()
    if isinstance(value, dict):
        return {str(key): _plain(item, torch) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, torch) for item in value]
    return value


def as_array(value: Any, name: str) -> np.ndarray:
    """A rectangular array of numbers.

    >>> as_array([[1, 2]], "ids").shape
    (1, 2)
    """
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError) as error:
        raise TraceError(f"{name} is ragged: it must be a rectangular array of numbers") from error
    if not (np.issubdtype(array.dtype, np.number) or array.dtype == np.bool_):
        raise TraceError(f"{name} holds {array.dtype} and no numbers: it must be a rectangular array of numbers")
    return array
