"""Text, or token ids, as windows of token ids for a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from pimjax import checks
from pimjax.array_typing import HostArray
from pimjax.errors import CheckpointError, MissingExtraError, shown
from pimjax.nn.checkpoint.safetensors_file import plain_file

TOKENIZER = "tokenizer.json"
MAX_TEXT_BYTES = 64_000_000
MAX_TOKENIZER_BYTES = 256_000_000


@checks.checked(CheckpointError, path=checks.path, folder=checks.path)
def read_tokens(path: str | Path, folder: str | Path) -> HostArray:
    """Token ids of a file, int64 ``[n]``.

    Args:
        path: UTF-8 text, which the folder's `tokenizer.json` cuts into tokens (package `tokenizers`); or token ids, as a
            JSON list of whole numbers (.json) or a one-dimensional NumPy array (.npy), which need neither.
        folder: of the checkpoint.

    Raises:
        CheckpointError: no such file, too large, not UTF-8, no token ids, no or a damaged tokenizer.json.
        MissingExtraError: text, without the package `tokenizers`.
    """
    file = Path(path)
    size = plain_file(file, "a text, or token ids as .json or .npy")
    if size > MAX_TEXT_BYTES:
        raise CheckpointError(
            f"{file}: is {size:,} bytes; a text may have at most {MAX_TEXT_BYTES:,}: cut out a part of it"
        )
    if file.suffix == ".npy":
        return _ids(file, _array(file))
    text = _utf8(file)
    if file.suffix == ".json":
        try:
            return _ids(file, json.loads(text))
        except (ValueError, RecursionError) as error:
            if isinstance(error, CheckpointError):
                raise
            raise CheckpointError(f"{file}: is not valid JSON; token ids are a list of whole numbers") from None
    return _tokenised(file, text, Path(folder))


def into_windows(ids: HostArray, length: int, most: int | None = None) -> HostArray:
    """Token ids ``[n]`` as windows ``[N, length + 1]``, of which each predicts its last `length` tokens.

    Args:
        ids: the text.
        length: tokens that a window predicts; a shorter text makes one shorter window.
        most: tokens to predict, at least one window; None: all whole windows.

    Raises:
        CheckpointError: fewer than two tokens.

    >>> into_windows(np.arange(8), 3).tolist()
    [[0, 1, 2, 3], [3, 4, 5, 6]]
    """
    if len(ids) < 2:
        raise CheckpointError(
            f"the text has {len(ids)} tokens: at least two are needed, of which the second is predicted"
        )
    length = min(length, len(ids) - 1)
    count = (len(ids) - 1) // length
    if most is not None:
        count = min(count, max(1, most // length))
    starts = np.arange(count)[:, None] * length
    return np.asarray(ids)[starts + np.arange(length + 1)[None]]


def _utf8(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            return stream.read(MAX_TEXT_BYTES).decode("utf-8-sig")
    except OSError as error:
        raise CheckpointError(f"{file}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise CheckpointError(f"{file}: is not UTF-8 text; give a text, or token ids as .json or .npy") from None


def _array(file: Path) -> HostArray:
    try:
        return np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        raise CheckpointError(
            f"{file}: is no NumPy array ({shown(str(error))}); token ids are one of whole numbers"
        ) from None


def _ids(file: Path, values: object) -> HostArray:
    try:
        ids = np.asarray(values)
    except ValueError:
        ids = np.zeros(())
    if ids.ndim != 1 or ids.dtype.kind not in "iu" or ids.size == 0:
        raise CheckpointError(f"{file}: holds {shown(values)}; token ids are a list of whole numbers")
    return ids.astype(np.int64)


def _tokenised(file: Path, text: str, folder: Path) -> HostArray:
    place = folder / TOKENIZER
    if not place.exists():
        raise CheckpointError(
            f"{folder}: has no {TOKENIZER}, which cuts {file.name} into tokens; copy it into the folder, or give token ids "
            "as .json or .npy"
        )
    if plain_file(place, "the tokenizer of the checkpoint") > MAX_TOKENIZER_BYTES:
        raise CheckpointError(
            f"{place}: is larger than {MAX_TOKENIZER_BYTES:,} bytes, which a tokenizer may have at most"
        )
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise MissingExtraError("tokenizers", "checkpoints", f"cutting {shown(file.name)} into tokens") from error
    try:
        ids = Tokenizer.from_file(str(place)).encode(text, add_special_tokens=True).ids
    except Exception as error:  # the library raises plain Exceptions for whatever a file holds
        raise CheckpointError(f"{place}: is no tokenizer that can be read ({shown(str(error))})") from None
    return np.asarray(ids, np.int64)
