"""Tables as bytes of one file: equally long columns, and a document about them, as Parquet, JSON or CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from pimjax.array_typing import HostArray
from pimjax.errors import MissingExtraError

SCHEMA_VERSION = 2


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


def plain(column: Column) -> HostArray:
    """A column as an array `[rows]`."""
    return column.plain() if isinstance(column, Coded) else np.asarray(column)


def num_rows(columns: Mapping[str, Column]) -> int:
    """Rows of a table.

    >>> num_rows({"point": np.arange(3)})
    3
    """
    first = next(iter(columns.values()), np.zeros(0))
    return len(first.codes) if isinstance(first, Coded) else len(first)


def to_bytes(suffix: str, columns: Mapping[str, Column], metadata: Mapping[str, Any]) -> bytes:
    """A table as a file named `*.suffix`; `csv` has no place for the metadata."""
    if suffix == ".parquet":
        return to_parquet(columns, metadata)
    return _to_csv(columns) if suffix == ".csv" else _to_json(columns, metadata)


def from_bytes(suffix: str, content: bytes) -> tuple[dict[str, HostArray], dict[str, Any]]:
    """Columns and metadata of a file named `*.suffix`.

    Raises:
        ValueError, KeyError, TypeError: the content is no such table.
    """
    if suffix == ".csv":
        return _from_csv(content), {}
    if suffix == ".parquet":
        pa, pq = arrow()
        # one file, not a data set: read_table would load half a second of modules for that
        table = pq.ParquetFile(pa.BufferReader(content)).read()
        metadata = json.loads((table.schema.metadata or {}).get(b"pimjax", b"{}"))
        return {name: table[name].to_numpy() for name in table.column_names}, metadata
    document = json.loads(content.decode())
    return {name: np.asarray(values) for name, values in document["columns"].items()}, dict(document["metadata"])


def to_parquet(columns: Mapping[str, Column], metadata: Mapping[str, Any]) -> bytes:
    """A Parquet file of equally long columns; `metadata` as JSON under the schema key "pimjax"."""
    pa, pq = arrow()
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


def _arrow_array(pa: Any, values: Column) -> Any:
    """A column, by its buffers: numbers are not copied, and `pa.array` would import pandas where it is installed."""

    def from_buffers(kind: Any, count: int, *buffers: Any) -> Any:
        return pa.Array.from_buffers(kind, count, [None, *map(pa.py_buffer, buffers)])

    if isinstance(values, Coded):
        used = np.zeros(len(values.names), bool)
        used[values.codes] = True
        codes = (np.cumsum(used, dtype=np.int32) - 1)[values.codes]
        texts = [str(name).encode() for name in values.names[used]]
        ends = np.cumsum([0, *map(len, texts)], dtype=np.int32)
        names = from_buffers(pa.string(), len(texts), ends, b"".join(texts))
        return pa.DictionaryArray.from_arrays(from_buffers(pa.int32(), len(codes), codes), names)
    if values.dtype.kind == "U":
        return _arrow_array(pa, coded(values))
    if values.dtype == bool:
        return from_buffers(pa.bool_(), len(values), np.packbits(values, bitorder="little"))
    return from_buffers(pa.from_numpy_dtype(values.dtype), len(values), np.ascontiguousarray(values))


def _to_json(columns: Mapping[str, Column], metadata: Mapping[str, Any]) -> bytes:
    def listed(values: HostArray) -> list[Any]:
        if values.dtype.kind == "f":
            return [value if np.isfinite(value) else None for value in values.tolist()]
        return values.tolist()

    document = {
        "metadata": {"schema_version": SCHEMA_VERSION, **metadata},
        "columns": {name: listed(plain(values)) for name, values in columns.items()},
    }
    return json.dumps(document).encode()


def _to_csv(columns: Mapping[str, Column]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows(zip(*(plain(column).tolist() for column in columns.values()), strict=True))
    return text.getvalue().encode()


def _from_csv(content: bytes) -> dict[str, HostArray]:
    names, *rows = csv.reader(io.StringIO(content.decode(), newline=""))
    found = {}
    for index, name in enumerate(names):
        texts = np.array([row[index] for row in rows], str)
        found[name] = texts
        for kind in (np.int64, np.float64):
            try:
                found[name] = texts.astype(kind)
                break
            except ValueError:
                continue
    return found


def arrow() -> tuple[Any, Any]:
    """pyarrow and its Parquet module, or the sentence that says how to install them."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingExtraError("pyarrow", "sweep", "format parquet") from None
    return pyarrow, pyarrow.parquet
