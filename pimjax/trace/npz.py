"""``.npz`` archives from strangers: no pickles, sizes checked before memory is asked for, atomic writes."""

from __future__ import annotations

import math
import os
import tempfile
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import numpy as np

from pimjax.array_typing import HostArray
from pimjax.errors import TraceError, shown
from pimjax.trace.checks import check_path

#: Most bytes that the arrays of one file may take when unpacked, unless the caller allows more.
MAX_FILE_BYTES = 2 << 30

_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    tokenize.TokenError,  # a header of .npy that is no Python literal
    OSError,
    ValueError,
    RuntimeError,  # encrypted member
    NotImplementedError,  # unknown compression
    SyntaxError,  # header that is not a literal
    OverflowError,
)


def read_npz(path: str | os.PathLike[str], *, max_bytes: int = MAX_FILE_BYTES) -> dict[str, HostArray]:
    """All arrays of an ``.npz`` file by name.

    Object arrays are refused (they would need pickle, which can run code). The sizes that the archive's
    directory and each array's header claim are compared with `max_bytes` and with each other before anything
    is unpacked.

    Args:
      path: the file.
      max_bytes: most bytes of all arrays together, unpacked.

    Raises:
      TraceError: missing, not an ``.npz`` archive, truncated or damaged, holds objects, or too large.
    """
    file = check_path(path, "an .npz trace")
    if not file.is_file():
        raise TraceError(f"{shown(file)} is not a file: give the path of an .npz trace")
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            claimed = sum(member.file_size for member in members)
            if claimed > max_bytes:
                raise TraceError(
                    f"{shown(file)} unpacks to {claimed:,} bytes, more than the {max_bytes:,} allowed: "
                    "split it, or pass a larger max_bytes if you trust it"
                )
            return {
                member.filename.removesuffix(".npy"): _read_member(archive, member, file)
                for member in members
                if member.filename.endswith(".npy")
            }
    except TraceError:
        raise
    except _DAMAGE as error:
        raise TraceError(
            f"{shown(file)} is not a readable .npz file ({_reason(error)}): it is truncated or damaged"
        ) from error


def read_npy(path: str | os.PathLike[str], *, max_bytes: int = MAX_FILE_BYTES) -> HostArray:
    """The array of an ``.npy`` file, with the same care as :func:`read_npz`.

    Raises:
      TraceError: missing, truncated or damaged, holds objects, or too large.
    """
    file = check_path(path, "an .npy array")
    if not file.is_file():
        raise TraceError(f"{shown(file)} is not a file: give the path of an .npy array")
    size = file.stat().st_size
    if size > max_bytes:
        raise TraceError(
            f"{shown(file)} has {size:,} bytes, more than the {max_bytes:,} allowed: split it, or pass a larger "
            "max_bytes if you trust it"
        )
    try:
        with file.open("rb") as stream:
            return _read_array(stream, size, file.stem, file)
    except TraceError:
        raise
    except _DAMAGE as error:
        raise TraceError(
            f"{shown(file)} is not a readable .npy file ({_reason(error)}): it is truncated or damaged"
        ) from error


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, file: Path) -> HostArray:
    with archive.open(member) as stream:
        return _read_array(stream, member.file_size, member.filename.removesuffix(".npy"), file)


def npz_names(file: Path) -> set[str] | None:
    """Names of the arrays of an ``.npz`` file, without reading them; None where it is no readable archive."""
    try:
        with zipfile.ZipFile(file) as archive:
            return {name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")}
    except _DAMAGE:
        return None


def _read_array(stream: IO[bytes], room: int, name: str, file: Path) -> HostArray:
    """One array in NumPy's format from `room` bytes, header included."""
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(stream)
    elif version == (2, 0):
        shape, fortran_order, dtype = np.lib.format.read_array_header_2_0(stream)
    else:
        raise ValueError(f"array format {version} is unknown")
    if dtype.hasobject:
        raise TraceError(
            f"{shown(file)} holds Python objects in {shown(name)}: only plain numbers and strings are read, "
            "because unpickling can run code"
        )
    size = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or size > room:
        raise ValueError(f"the header of {shown(name)} claims {size} bytes, the archive {room}")
    data = stream.read(size)
    if len(data) != size or stream.read(1):
        raise ValueError(f"{shown(name)} holds {len(data)} of {size} bytes")
    if dtype.itemsize == 0:
        return np.zeros(shape, dtype)
    array = np.frombuffer(data, dtype=dtype)
    return array.reshape(shape[::-1]).T if fortran_order else array.reshape(shape)


def _reason(error: BaseException) -> str:
    return shown((str(error) or type(error).__name__).splitlines()[0]).strip("'\"").rstrip(".")


def write_npz(path: str | os.PathLike[str], arrays: Mapping[str, object]) -> None:
    """Write arrays compressed; the file appears complete or not at all, and equal arrays give equal bytes.

    Raises:
      TraceError: an entry cannot be stored without pickle, or the folder cannot be written.
    """
    target = check_path(path, "a file to write")
    plain = {key: _plain(key, value) for key, value in arrays.items()}
    objects = [key for key, value in plain.items() if value.dtype.hasobject]
    if objects:
        raise TraceError(
            f"metadata {shown(objects[0])} cannot be stored: only numbers, strings and rectangular arrays of them can"
        )
    try:
        handle, temporary = tempfile.mkstemp(dir=target.parent, suffix=".partial")
    except OSError as error:
        raise TraceError(
            f"{shown(target)} cannot be written ({error.strerror}): choose a folder that exists"
        ) from error
    try:
        with os.fdopen(handle, "wb") as stream:
            np.savez_compressed(stream, **plain)  # pyrefly: ignore
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, target)
    except OSError as error:
        raise TraceError(f"{shown(target)} cannot be written ({error.strerror})") from error
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)


def _plain(key: str, value: object) -> HostArray:
    try:
        return np.asarray(value)
    except (ValueError, TypeError, OverflowError) as error:
        raise TraceError(
            f"metadata {shown(key)} cannot be stored: only numbers, strings and rectangular arrays of them can"
        ) from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
