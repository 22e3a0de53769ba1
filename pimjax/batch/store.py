"""Results on disk: part files that are there whole or not at all, and a manifest that says whose they are.

```
folder/manifest.json              what the sweep is: hash, versions, device, git revision, seed, chunks
folder/points/part-00000000.parquet     every point of a chunk (store: all)
folder/selected/part-00000000.parquet   what the selection kept of a chunk; counts and histograms in its metadata
folder/selection.parquet, summary.json  the whole sweep's selection, once every chunk is done
```
A part is written under a temporary name, flushed to the disk, and renamed: a reader, or the next run after a kill,
sees it complete or not at all. One line reads all points: `duckdb.sql("from 'folder/points/*.parquet'")`,
`polars.read_parquet("folder/points/*.parquet")`, `pandas.read_parquet("folder/points")`.
With format csv or json the parts are JSON and the last step writes `points.csv` or `points.json`.
"""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pimjax.array_typing import HostArray
from pimjax.errors import ConfigError, MissingExtraError, PimjaxError

SCHEMA_VERSION = 1
_PART = re.compile(r"^part-(\d{8})\.(parquet|json)$")
MAX_SMALL_ROWS = 1_000_000


class Coded(NamedTuple):
    """A column of text: few distinct strings, and which of them every row has."""

    codes: HostArray  # int32 [rows]
    names: HostArray  # str [distinct]

    def plain(self) -> HostArray:
        """str `[rows]`."""
        return self.names[self.codes]

    def at(self, rows: HostArray) -> Coded:
        """Some of the rows."""
        return Coded(self.codes[rows], self.names)


def coded(texts: HostArray) -> Coded:
    """Strings `[rows]` as a column.

    >>> coded(np.array(["b", "a", "b"])).codes.tolist()
    [1, 0, 1]
    """
    names, codes = np.unique(texts, return_inverse=True)
    return Coded(codes.astype(np.int32), names)


Column = HostArray | Coded


class StorageError(PimjaxError):
    """Results cannot be written or read: says where, why and how to go on."""


class Store:
    """The folder of one sweep's results."""

    def __init__(self, folder: Path, form: str) -> None:
        self.folder, self.form = folder, form
        self.suffix = "parquet" if form == "parquet" else "json"
        if form == "parquet":
            _arrow()

    # --- manifest -------------------------------------------------------------------------------------------
    def open(self, manifest: dict[str, Any]) -> dict[str, Any]:
        """Start or resume: write the manifest, or check that the folder holds this very sweep.

        Raises:
            ConfigError: the folder holds another sweep, or files of something else.
            StorageError: it cannot be written.
        """
        path = self.folder / "manifest.json"
        found = self.manifest()
        if found is None:
            if self.folder.is_dir() and any(self.folder.iterdir()):
                raise ConfigError(
                    f"{self.folder}: is not empty and holds no manifest.json of a sweep; choose an empty folder (--output)"
                )
            for name in ("points", "selected"):
                (self.folder / name).mkdir(parents=True, exist_ok=True)
            write_bytes(path, json.dumps(manifest, indent=1).encode())
            return manifest
        if found.get("schema_version") != SCHEMA_VERSION:
            raise ConfigError(
                f"{path}: has schema version {found.get('schema_version')}, this pimjax writes {SCHEMA_VERSION}; "
                "choose another folder (--output)"
            )
        if found.get("digest") == manifest["digest"] and found.get("chunks") != manifest["chunks"]:
            raise ConfigError(
                f"{self.folder}: holds this sweep cut into other chunks, by another version of pimjax (now "
                f"{manifest['chunks']['count']} chunks): finish it with that version, or choose another folder (--output)"
            )
        if found.get("digest") != manifest["digest"]:
            changed = (
                ", ".join(_changed(found.get("sweep", {}), manifest["sweep"])) or "the base configuration or traces"
            )
            raise ConfigError(
                f"{self.folder}: holds results of another sweep (hash {found.get('digest')}, this one is "
                f"{manifest['digest']}; different: {changed}): choose another folder (--output), or delete this one"
            )
        return found

    def manifest(self) -> dict[str, Any] | None:
        """The manifest in the folder, or None."""
        try:
            return json.loads((self.folder / "manifest.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{self.folder / 'manifest.json'}: cannot be read ({error}); choose another folder (--output)"
            ) from None

    def clean(self) -> None:
        """Remove temporary files of killed runs."""
        for name in ("points", "selected"):
            for path in (self.folder / name).glob(".*.partial"):
                path.unlink(missing_ok=True)

    # --- parts ----------------------------------------------------------------------------------------------
    def part(self, kind: str, chunk: int) -> Path:
        """Where a part of a chunk lies; `kind` is "points" or "selected"."""
        return self.folder / kind / f"part-{chunk:08d}.{self.suffix}"

    def done(self, kind: str) -> set[int]:
        """Chunks whose part of a kind is there."""
        names = (_PART.match(path.name) for path in (self.folder / kind).iterdir())
        return {int(match[1]) for match in names if match and match[2] == self.suffix}

    def write(self, path: Path, columns: Mapping[str, Column], metadata: dict[str, Any]) -> None:
        """Write a table atomically.

        Raises:
            StorageError: disk full, or the folder cannot be written.
        """
        write_bytes(path, to_parquet(columns, metadata) if path.suffix == ".parquet" else _to_json(columns, metadata))

    def read(self, path: Path) -> tuple[dict[str, HostArray], dict[str, Any]]:
        """Columns and metadata of a table."""
        if path.suffix == ".parquet":
            pa, pq = _arrow()
            # one file, not a data set: read_table would load half a second of modules for that
            table = pq.ParquetFile(pa.BufferReader(path.read_bytes())).read()
            metadata = json.loads((table.schema.metadata or {}).get(b"pimjax", b"{}"))
            return {name: table[name].to_numpy() for name in table.column_names}, metadata
        document = json.loads(path.read_text(encoding="utf-8"))
        return {name: np.asarray(values) for name, values in document["columns"].items()}, document["metadata"]

    def export(self) -> Path | None:
        """With format csv or json: one file of all points, at most MAX_SMALL_ROWS. None with parquet (the parts are the
        data set)."""
        if self.form == "parquet":
            return None
        parts = [self.read(self.part("points", chunk))[0] for chunk in sorted(self.done("points"))]
        names = list(parts[0]) if parts else []
        columns = {name: np.concatenate([part[name] for part in parts]) for name in names}
        target = self.folder / f"points.{self.form}"
        if self.form == "json":
            write_bytes(target, _to_json(columns, {}))
            return target
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(names)
        writer.writerows(zip(*(column.tolist() for column in columns.values()), strict=True))
        write_bytes(target, text.getvalue().encode())
        return target


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, also after a kill or a power cut.

    Raises:
        StorageError: disk full, no permission, or another failure of the file system.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with _opened(partial) as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        partial.unlink(missing_ok=True)
        reason = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else error.strerror or str(error)
        raise StorageError(
            f"{path}: could not be written ({reason}); what is complete stays: make room or choose another folder, "
            "then run the same command again to go on"
        ) from None


def _opened(path: Path) -> Any:
    return open(path, "wb")


def to_parquet(columns: Mapping[str, Column], metadata: dict[str, Any]) -> bytes:
    """A Parquet file of equally long columns; `metadata` as JSON under the schema key "pimjax"."""
    pa, pq = _arrow()
    arrays = {name: _arrow_array(pa, values) for name, values in columns.items()}
    text = [name for name, array in arrays.items() if pa.types.is_dictionary(array.type)]
    document = json.dumps({"schema_version": SCHEMA_VERSION, **metadata}).encode()
    table = pa.table(arrays).replace_schema_metadata({b"pimjax": document})
    sink = pa.BufferOutputStream()
    # numbers rarely repeat as whole columns: without a dictionary they are written five times faster, and smaller
    pq.write_table(
        table,
        sink,
        compression="zstd",
        compression_level=1,
        use_dictionary=text,
        row_group_size=max(1, table.num_rows),
    )
    return sink.getvalue().to_pybytes()


def _arrow_array(pa: Any, values: HostArray | Coded) -> Any:
    """A column, by its buffers: numbers are not copied, and `pa.array` would import pandas where it is installed."""

    def from_bytes(kind: Any, count: int, *buffers: Any) -> Any:
        return pa.Array.from_buffers(kind, count, [None, *map(pa.py_buffer, buffers)])

    if isinstance(values, Coded):
        used = np.zeros(len(values.names), bool)
        used[values.codes] = True
        codes = (np.cumsum(used, dtype=np.int32) - 1)[values.codes]
        texts = [str(name).encode() for name in values.names[used]]
        ends = np.cumsum([0, *map(len, texts)], dtype=np.int32)
        names = from_bytes(pa.string(), len(texts), ends, b"".join(texts))
        return pa.DictionaryArray.from_arrays(from_bytes(pa.int32(), len(codes), codes), names)
    if values.dtype.kind == "U":
        return _arrow_array(pa, coded(values))
    if values.dtype == bool:
        return from_bytes(pa.bool_(), len(values), np.packbits(values, bitorder="little"))
    return from_bytes(pa.from_numpy_dtype(values.dtype), len(values), np.ascontiguousarray(values))


def _to_json(columns: Mapping[str, Column], metadata: dict[str, Any]) -> bytes:
    def plain(values: HostArray | Coded) -> list[Any]:
        values = values.plain() if isinstance(values, Coded) else np.asarray(values)
        if values.dtype.kind == "f":
            return [value if np.isfinite(value) else None for value in values.tolist()]
        return values.tolist()

    document = {
        "metadata": {"schema_version": SCHEMA_VERSION, **metadata},
        "columns": {name: plain(values) for name, values in columns.items()},
    }
    return json.dumps(document).encode()


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingExtraError("pyarrow", "sweep", "format parquet") from None
    return pyarrow, pyarrow.parquet


def _changed(old: Any, new: Any, prefix: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            found
            for key in sorted({*old, *new})
            for found in _changed(old.get(key), new.get(key), f"{prefix}.{key}" if prefix else key)
        ]
    return [] if old == new else [prefix]
