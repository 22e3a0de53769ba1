"""One safetensors file: its header checked, its tensors as views of a memory map.

The format (https://github.com/huggingface/safetensors, "Format"): 8 bytes, the length of the header as a little-endian
whole number; the header, a JSON object from each tensor's name to its `dtype`, `shape` and `data_offsets` [begin, end)
in the bytes behind the header; those bytes, covered by the tensors without gap or overlap.
"""

from __future__ import annotations

import math
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from pimjax.array_typing import HostArray
from pimjax.errors import CheckpointError, shown
from pimjax.imports.json_file import parse_json

#: the library refuses longer ones too; a header has about 100 bytes for each tensor
MAX_HEADER_BYTES = 100_000_000
MAX_AXES = 8
#: kinds of numbers that are read -> NumPy's
DTYPES: dict[str, Any] = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": jnp.bfloat16,
    "F8_E4M3": jnp.float8_e4m3fn, "F8_E5M2": jnp.float8_e5m2,
    "I64": np.int64, "I32": np.int32, "I16": np.int16, "I8": np.int8,
    "U64": np.uint64, "U32": np.uint32, "U16": np.uint16, "U8": np.uint8, "BOOL": np.bool_,
}  # fmt: skip


class StoredTensor(NamedTuple):
    """Where one tensor lies: kind of its numbers, shape, first byte in the file."""

    dtype: str
    shape: tuple[int, ...]
    begin: int


class SafetensorsFile:
    """The tensors of one file by name; nothing but the header is read before a tensor is used.

    Raises:
        CheckpointError: no plain file, no safetensors, or a header whose tensors overlap, leave gaps or end elsewhere
            than the file; one sentence.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tensors = _read_header(path)
        self._bytes: HostArray | None = None

    def array(self, name: str) -> HostArray:
        """One tensor as a read-only view of the mapped file, in its stored kind of numbers.

        Raises:
            CheckpointError: no such tensor, or numbers of a kind that is not read.
        """
        if name not in self.tensors:
            raise CheckpointError(f"{self.path}: has no tensor {shown(name)}; it holds {len(self.tensors)} others")
        tensor = self.tensors[name]
        if tensor.dtype not in DTYPES:
            raise CheckpointError(
                f"{self.path}: {shown(name)} holds numbers of kind {shown(tensor.dtype)}; kinds that are read: "
                f"{', '.join(DTYPES)}"
            )
        if self._bytes is None:
            self._bytes = np.memmap(self.path, np.uint8, mode="r")
        kind = np.dtype(DTYPES[tensor.dtype])
        size = math.prod(tensor.shape) * kind.itemsize
        return self._bytes[tensor.begin : tensor.begin + size].view(kind).reshape(tensor.shape)

    def close(self) -> None:
        """Let the map go, so that the system may drop its pages; the next tensor maps the file anew."""
        self._bytes = None


def plain_file(path: Path, what: str) -> int:
    """The size of a plain file [bytes]; a folder, a pipe or a device is refused before it is opened."""
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise CheckpointError(f"{str(path)[:200]}: cannot be read ({reason}); give {what}") from None
    if not stat.S_ISREG(status.st_mode):
        raise CheckpointError(f"{path}: is not a plain file; give {what}")
    return status.st_size


def _read_header(path: Path) -> dict[str, StoredTensor]:
    size = plain_file(path, "a safetensors file")
    try:
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if size < 8 or length > min(size - 8, MAX_HEADER_BYTES):
                raise CheckpointError(
                    f"{path}: says that its header has {length:,} bytes, but the file has {size:,} and a header at most "
                    f"{MAX_HEADER_BYTES:,}; it is no safetensors file, or cut short"
                )
            text = stream.read(length).decode("utf-8")
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}); give a safetensors file") from None
    except UnicodeDecodeError:
        raise CheckpointError(f"{path}: its header is not UTF-8 text; it is no safetensors file") from None
    content = parse_json(text, f"{path}: header", error=CheckpointError)
    tensors = {name: _entry(path, name, value) for name, value in content.items() if name != "__metadata__"}
    _check_cover(path, tensors, size - 8 - length)
    start = 8 + length
    return {name: StoredTensor(one.dtype, one.shape, start + begin) for name, (one, begin, _) in tensors.items()}


def _entry(path: Path, name: str, value: Any) -> tuple[StoredTensor, int, int]:
    where = f"{path}: header entry {shown(name)}"
    if not isinstance(value, Mapping) or not {"dtype", "shape", "data_offsets"} <= value.keys():
        raise CheckpointError(f"{where} is {shown(value)}; it must have dtype, shape and data_offsets")
    kind, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(kind, str):
        raise CheckpointError(f"{where}: dtype is {shown(kind)}; it must be text")
    if not _wholes(shape) or len(shape) > MAX_AXES:
        raise CheckpointError(f"{where}: shape is {shown(shape)}; it must be at most {MAX_AXES} whole numbers from 0")
    if not _wholes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise CheckpointError(f"{where}: data_offsets is {shown(offsets)}; it must be [begin, end], whole numbers")
    stored = offsets[1] - offsets[0]
    if kind in DTYPES and stored != math.prod(shape) * np.dtype(DTYPES[kind]).itemsize:
        raise CheckpointError(
            f"{where}: has {stored:,} bytes, but its shape {shown(shape)} of {kind} takes "
            f"{math.prod(shape) * np.dtype(DTYPES[kind]).itemsize:,}"
        )
    return StoredTensor(kind, tuple(shape), 0), offsets[0], offsets[1]


def _wholes(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(one, int) and not isinstance(one, bool) and 0 <= one < 2**63 for one in value
    )


def _check_cover(path: Path, tensors: Mapping[str, tuple[StoredTensor, int, int]], stored: int) -> None:
    end = 0
    before = "the header"
    for name, (_, begin, stop) in sorted(tensors.items(), key=lambda item: item[1][1:]):
        if begin != end:
            relation = "overlaps" if begin < end else "leaves a gap after"
            raise CheckpointError(
                f"{path}: {shown(name)} begins at byte {begin:,} and so {relation} {before}, which ends at {end:,}; the "
                "file is damaged"
            )
        end, before = stop, shown(name)
    if end != stored:
        raise CheckpointError(
            f"{path}: its tensors take {end:,} bytes, but {stored:,} follow the header; the file is damaged or cut short"
        )
