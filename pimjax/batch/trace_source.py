"""The requests of a sweep, read from their files block by block: memory holds one block, however many there are."""

from __future__ import annotations

import collections
import glob
import hashlib
from pathlib import Path
from typing import Any, NamedTuple

from pimjax.batch.sweep_config import Traces
from pimjax.errors import TraceError
from pimjax.trace.routing import RoutingTrace
from pimjax.trace.sources import find_trace, open_traces


class RequestAt(NamedTuple):
    """Where one request lies."""

    name: str
    path: str
    index: int
    num_tokens: int


class TraceSource:
    """Requests by number.

    Attributes:
        requests: all readable requests, in the order of the files.
        skipped: sentences about files that could not be read (`on_unreadable: skip`).
        digest: hash of the files' contents and of what is taken from them.
    """

    def __init__(self, spec: Traces | None) -> None:
        self.spec = spec
        self.requests: list[RequestAt] = []
        self.skipped: list[str] = []
        self.digest = "workload"
        self._held: tuple[str, RoutingTrace] | None = None
        if spec is not None:
            self._scan(spec)

    def __len__(self) -> int:
        return max(1, len(self.requests))

    @property
    def names(self) -> list[str]:
        """Name of every request; "workload" where the workload's own routing is used."""
        return [request.name for request in self.requests] or ["workload"]

    def _scan(self, spec: Traces) -> None:
        content = hashlib.sha256()
        paths = _files(spec.files)
        stems = collections.Counter(Path(path).stem for path in paths)
        for path in paths:
            try:
                traces = self._load(path)
            except TraceError as error:
                if spec.on_unreadable == "refuse":
                    raise TraceError(f"{error} (traces.on_unreadable: skip leaves such files out)") from None
                self.skipped.append(str(error))
                continue
            content.update(find_trace(path).read_bytes())
            stem = Path(path).stem
            if stems[stem] > 1:  # files of equal name in several folders: rows must say which
                stem = str(Path(path).with_suffix(""))
            for index in range(traces.num_requests):
                given = traces.metadata.get("request_names")
                place = index if spec.requests is None else spec.requests[index]
                label = str(given[index]) if given is not None else str(place)
                self.requests.append(RequestAt(f"{stem}/{label}", path, index, int(traces.num_tokens[index])))
        if not self.requests:
            raise TraceError(f"none of the trace files can be read: {'; '.join(self.skipped[:3])}")
        content.update(f"{spec.requests} {spec.max_tokens}".encode())
        self.digest = content.hexdigest()[:16]

    def _load(self, path: str) -> RoutingTrace:
        if self._held is None or self._held[0] != path:
            assert self.spec is not None
            self._held = (path, open_traces(path, self.spec.requests, self.spec.max_tokens))
        return self._held[1]

    def block(self, start: int, stop: int) -> list[RoutingTrace | None]:
        """Requests `start` to `stop - 1`; `[None]` for the workload's own routing.

        Raises:
            TraceError: a file changed or vanished since the sweep began.
        """
        if self.spec is None:
            return [None]
        return [self._load(request.path).request(request.index).trim() for request in self.requests[start:stop]]


def _files(patterns: list[str]) -> list[str]:
    found: list[str] = []
    for pattern in patterns:
        matches = sorted(glob.glob(pattern, recursive=True)) if glob.has_magic(pattern) else [pattern]
        if not matches:
            raise TraceError(f"{pattern}: no trace file matches; check traces.files")
        found += matches
    return list(dict.fromkeys(found))


def describe(source: TraceSource) -> dict[str, Any]:
    """What the manifest says of the requests."""
    return {"requests": len(source), "digest": source.digest, "skipped": source.skipped}
