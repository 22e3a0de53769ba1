"""Results on disk: files that are there whole or not at all, and records that say what they must be.

```
folder/manifest.json                   what the sweep is: hash, versions, device, git revision, seed, chunks
folder/points/part-00000000.parquet    every point of a chunk (store: all)
folder/selected/part-00000000.json     what the selection kept of a chunk; counts and histograms in its metadata
folder/done/chunk-00000000.json        the chunk is complete: its sweep, and size, rows and checksum of its parts
folder/selection.csv, summary.json     the whole sweep's selection, once every chunk is done
```
Parquet files hold one set of rows: every point, or with `store: selected` the selected ones (`selection.parquet`). So one
glob reads all there is: `duckdb.sql("from 'folder/**/*.parquet'")`, `polars.read_parquet("folder/points/*.parquet")`.
With format csv or json the parts are JSON and the last step writes `points.csv` or `points.json`.

A file is written under a temporary name, flushed to the disk, and renamed; a chunk's record comes last. A part that is
missing, cut short, changed, or from another sweep does not match its record, and its chunk is computed again.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pimjax.array_typing import HostArray
from pimjax.batch.tables import SCHEMA_VERSION as SCHEMA_VERSION
from pimjax.batch.tables import Coded as Coded
from pimjax.batch.tables import Column as Column
from pimjax.batch.tables import arrow, from_bytes, num_rows, to_bytes
from pimjax.batch.tables import coded as coded
from pimjax.errors import ConfigError, PimjaxError

_PART = re.compile(r"^(?:part|chunk)-(\d{8})\.(parquet|json)$")
_KINDS = ("points", "selected", "done")
_OURS = {*_KINDS, "manifest.json", "summary.json"} | {
    f"{name}.{suffix}" for name in ("selection", "points") for suffix in ("parquet", "csv", "json")
}
MAX_SMALL_ROWS = 1_000_000


class StorageError(PimjaxError):
    """Results cannot be written or read: says where, why and how to go on."""


class Store:
    """The folder of one sweep's results.

    Attributes:
        schema: version of the layout. Folders of version 1 can be read: their selections are Parquet beside the points.
    """

    def __init__(self, folder: Path, form: str, schema: int = SCHEMA_VERSION) -> None:
        self.folder, self.form, self.schema = folder, form, schema
        self.suffix = "parquet" if form == "parquet" else "json"
        if form == "parquet":
            arrow()

    # --- manifest -------------------------------------------------------------------------------------------
    def open(self, manifest: dict[str, Any]) -> dict[str, Any]:
        """Start or resume: write the manifest, or check that the folder holds this very sweep.

        A manifest that is lost or damaged is written anew where all that the folder holds is of this sweep.

        Raises:
            ConfigError: the folder holds another sweep, another version's, or files of something else.
            StorageError: it cannot be written.
        """
        with failures(self.folder):
            try:
                found = self.manifest()
            except ConfigError:
                if not self._only_of(manifest["digest"]):
                    raise
                found = None
            if found is not None:
                self._check(found, manifest)
                for name in _KINDS:
                    (self.folder / name).mkdir(exist_ok=True)
                return found
            if self.folder.is_dir() and not self._only_of(manifest["digest"]):
                raise ConfigError(
                    f"{self.folder}: is not empty and holds no manifest.json of a sweep; choose an empty folder (--output)"
                )
            for name in _KINDS:
                (self.folder / name).mkdir(parents=True, exist_ok=True)
            write_bytes(self.folder / "manifest.json", json.dumps(manifest, indent=1).encode())
            return manifest

    def _check(self, found: dict[str, Any], manifest: dict[str, Any]) -> None:
        made, now = version_of(found), version_of(manifest)
        if found["schema_version"] != SCHEMA_VERSION or made != now:
            raise ConfigError(
                f"{self.folder}: was written by pimjax {made} (layout {found['schema_version']}), this is pimjax {now} "
                f"(layout {SCHEMA_VERSION}), and rows of two versions are not mixed: go on with that version, or choose "
                "another folder (--output)"
            )
        if found["digest"] == manifest["digest"] and found["chunks"] != manifest["chunks"]:
            raise ConfigError(
                f"{self.folder}: holds this sweep cut into other chunks, by another version of pimjax (now "
                f"{manifest['chunks']['count']} chunks): finish it with that version, or choose another folder (--output)"
            )
        if found["digest"] != manifest["digest"]:
            changed = ", ".join(_changed(found["sweep"], manifest["sweep"])) or "the base configuration or traces"
            raise ConfigError(
                f"{self.folder}: holds results of another sweep (hash {str(found['digest'])[:40]}, this one is "
                f"{manifest['digest']}; different: {changed[:200]}): choose another folder (--output), or delete this one"
            )

    def _only_of(self, digest: str) -> bool:
        """Whether nothing in the folder is of anything but the sweep with this hash."""
        for path in self.folder.iterdir():
            if path.name not in _OURS and not path.name.startswith("."):
                return False
        records = [self._record(chunk) for chunk in self.done("done")]
        if any(record is None or record.get("sweep") != digest for record in records):
            return False
        return bool(records) or not (self.done("points") or self.done("selected"))

    def manifest(self) -> dict[str, Any] | None:
        """The manifest in the folder, or None.

        Raises:
            ConfigError: it is damaged, or cannot be read.
        """
        path = self.folder / "manifest.json"
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:
            raise ConfigError(
                f"{path}: is damaged or cannot be read ({str(error)[:200]}); choose another folder (--output), or delete "
                "this one"
            ) from None
        kinds = {"schema_version": int, "digest": str, "sweep": dict, "chunks": dict}
        if not isinstance(found, dict) or not all(isinstance(found.get(key), kind) for key, kind in kinds.items()):
            raise ConfigError(
                f"{path}: is damaged: it does not say what the sweep is; choose another folder (--output), or delete this one"
            )
        return found

    def clean(self, num_chunks: int) -> None:
        """Remove temporary files of killed runs, and refuse what would be read with the results but is not of the sweep.

        Raises:
            StorageError: a file that no chunk of the sweep has.
        """
        with failures(self.folder):
            for kind in _KINDS:
                for path in (self.folder / kind).iterdir():
                    if path.name.startswith("."):
                        if path.name.endswith(".partial"):
                            path.unlink(missing_ok=True)
                        continue
                    match = _PART.match(path.name)
                    if match is None or int(match[1]) >= num_chunks or path != self.part(kind, int(match[1])):
                        raise StorageError(
                            f"{str(path)[:200]}: is no part of this sweep of {num_chunks} chunks but would be read with "
                            "its results: move it away and run the same command again"
                        )

    def reopen(self, chunks: Iterable[int]) -> None:
        """Chunks are about to be computed (again): nothing may say that they, or the sweep, are complete."""
        whole = ("summary.json", *(name for name in _OURS if name.startswith(("selection.", "points."))))
        with failures(self.folder):
            for path in (*(self.folder / name for name in whole), *(self.part("done", chunk) for chunk in chunks)):
                path.unlink(missing_ok=True)

    # --- parts ----------------------------------------------------------------------------------------------
    def part(self, kind: str, chunk: int) -> Path:
        """Where a part of a chunk lies; `kind` is "points", "selected", or "done" for its record."""
        if kind == "done":
            return self.folder / kind / f"chunk-{chunk:08d}.json"
        suffix = self.suffix if kind == "points" or self.schema < 2 else "json"
        return self.folder / kind / f"part-{chunk:08d}.{suffix}"

    def done(self, kind: str) -> set[int]:
        """Chunks whose part of a kind (or record: "done") is there, whatever is in it."""
        folder = self.folder / kind
        matches = [(path, _PART.match(path.name)) for path in (folder.iterdir() if folder.is_dir() else ())]
        return {int(match[1]) for path, match in matches if match and path == self.part(kind, int(match[1]))}

    def commit(self, chunk: int, digest: str, written: Mapping[str, dict[str, int]]) -> None:
        """Say that a chunk is complete: `written` holds what :meth:`write` returned for every kind of part."""
        record = {"sweep": digest, "chunk": chunk, "parts": dict(written)}
        write_bytes(self.part("done", chunk), json.dumps(record).encode())

    def sound(self, chunks: Iterable[int], digest: str, kinds: Iterable[str]) -> tuple[set[int], list[str]]:
        """Chunks whose parts are what their records say, and a sentence for each of the others of which something is there."""
        kinds = tuple(kinds)
        good, faults = set(), []
        for chunk in chunks:
            fault = self._fault(chunk, digest, kinds)
            if fault is None:
                good.add(chunk)
            elif any(os.path.lexists(self.part(kind, chunk)) for kind in _KINDS):
                faults.append(fault)
        return good, faults

    def _fault(self, chunk: int, digest: str, kinds: tuple[str, ...]) -> str | None:
        record = self._record(chunk)
        if record is None:
            return f"{self.part('done', chunk).name}: missing or damaged"
        if record.get("sweep") != digest or record.get("chunk") != chunk:
            return f"{self.part('done', chunk).name}: from another sweep or chunk"
        parts = record.get("parts")
        for kind in kinds:
            path = self.part(kind, chunk)
            known = parts.get(kind) if isinstance(parts, dict) else None
            name = f"{kind}/{path.name}"
            if not isinstance(known, dict):
                return f"{name}: not in the chunk's record"
            try:
                size = path.stat().st_size
                if size != known.get("bytes"):
                    return f"{name}: {size:,} bytes, not {known.get('bytes')!s:.20}"
                if _checksum(path) != known.get("crc32"):
                    return f"{name}: other content than was written"
            except OSError as error:
                return f"{name}: {error.strerror}"
        return None

    def _record(self, chunk: int) -> dict[str, Any] | None:
        try:
            found = json.loads(self.part("done", chunk).read_bytes())
        except (OSError, ValueError, RecursionError):
            return None
        return found if isinstance(found, dict) else None

    def write(self, path: Path, columns: Mapping[str, Column], metadata: Mapping[str, Any]) -> dict[str, int]:
        """Write a table atomically; returns what a record says of it.

        Raises:
            StorageError: disk full, or the folder cannot be written.
        """
        content = to_bytes(path.suffix, columns, metadata)
        write_bytes(path, content)
        return {"rows": num_rows(columns), "bytes": len(content), "crc32": zlib.crc32(content)}

    def read(self, path: Path) -> tuple[dict[str, HostArray], dict[str, Any]]:
        """Columns and metadata of a table.

        Raises:
            StorageError: it is missing, damaged, or no table.
        """
        try:
            return from_bytes(path.suffix, path.read_bytes())
        except PimjaxError:
            raise
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise StorageError(
                f"{path}: is damaged or missing ({reason}): run the same sweep again, which computes such parts anew"
            ) from None

    def selection(self, keeps: str) -> Path:
        """File of the whole sweep's selection: Parquet where no other Parquet file lies beside it.

        Args:
            keeps: key `store` of the sweep: "all" or "selected".
        """
        if self.schema < 2:
            return self.folder / f"selection.{self.suffix}"
        if self.form == "parquet":
            return self.folder / ("selection.parquet" if keeps == "selected" else "selection.csv")
        return self.folder / f"selection.{self.form}"

    def export(self) -> Path | None:
        """With format csv or json: one file of all points, at most MAX_SMALL_ROWS. None with parquet (the parts are the
        data set)."""
        if self.form == "parquet":
            return None
        parts = [self.read(self.part("points", chunk))[0] for chunk in sorted(self.done("points"))]
        names = list(parts[0]) if parts else []
        columns = {name: np.concatenate([part[name] for part in parts]) for name in names}
        target = self.folder / f"points.{self.form}"
        self.write(target, columns, {})
        return target


def version_of(manifest: Mapping[str, Any]) -> str:
    """Version of pimjax that made a manifest; "unknown" where it does not say."""
    versions = manifest["made"].get("versions") if isinstance(manifest.get("made"), dict) else None
    return str(versions.get("pimjax", "unknown"))[:40] if isinstance(versions, dict) else "unknown"


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, also after a kill or a power cut.

    Raises:
        StorageError: disk full, no permission, or another failure of the file system.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with failures(path):
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
    except StorageError:
        with contextlib.suppress(OSError, ValueError):
            partial.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def failures(path: Path) -> Iterator[None]:
    """Failures of the file system as one sentence."""
    try:
        yield
    except PimjaxError:
        raise
    except ValueError as error:
        if "null" not in str(error):
            raise
        raise StorageError(f"{str(path)[:200]!r}: is no path of a file system ({error}); choose another") from None
    except OSError as error:
        reason = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else error.strerror or str(error)
        if error.errno in (errno.EEXIST, errno.ENOTDIR):
            reason = f"a file lies where a folder should be: {str(error.filename)[:200]}"
        raise StorageError(
            f"{str(path)[:200]}: could not be written ({reason}); what is complete stays: make room or choose another "
            "folder, then run the same command again to go on"
        ) from None


def _opened(path: Path) -> Any:
    return open(path, "wb")


def _checksum(path: Path) -> int:
    found = 0
    with open(path, "rb") as stream:
        while block := stream.read(1 << 22):
            found = zlib.crc32(block, found)
    return found


def _changed(old: Any, new: Any, prefix: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            found
            for key in sorted({*old, *new}, key=str)
            for found in _changed(old.get(key), new.get(key), f"{prefix}.{key}" if prefix else str(key))
        ]
    return [] if old == new else [prefix]
