"""`Requests`: when requests arrive, how long their prompts and answers are, and whose routing they follow. Host."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pimjax import checks
from pimjax.array_typing import HostArray
from pimjax.errors import ServingError, shown

MAX_REQUESTS = 4_000_000
MAX_TOKENS = 16_777_216
"""Longest prompt or answer: what `workload.max_context_tokens` may be."""
LAST_ARRIVAL_NS = 1e18
"""About 31 years: later arrivals would lose whole microseconds to rounding."""


@dataclass(frozen=True)
class Requests:
    """Requests in the order in which they arrive; `R` of them. Made by :func:`make_requests`, which checks.

    Attributes:
        arrival_ns: float64 `[R]`, rising, from 0.
        prompt_tokens: int64 `[R]`, at least 1.
        output_tokens: int64 `[R]`, at least 1; the prefill emits the first.
        routing: int64 `[R]`, which request of a routing trace a request is routed like (modulo those it has).
    """

    arrival_ns: HostArray
    prompt_tokens: HostArray
    output_tokens: HostArray
    routing: HostArray

    def __len__(self) -> int:
        return len(self.arrival_ns)

    @property
    def rate_per_s(self) -> float:
        """Mean arrivals per second from the first to the last arrival; infinite where all arrive at once.

        >>> make_requests([0, 1e9, 2e9], 4, 2).rate_per_s
        1.0
        """
        span = float(self.arrival_ns[-1] - self.arrival_ns[0])
        return (len(self) - 1) * 1e9 / span if span > 0 else float("inf")

    @property
    def longest_context(self) -> int:
        """Tokens of the longest prompt with its answer.

        >>> make_requests([0, 1], [4, 9], [3, 1]).longest_context
        10
        """
        return int((self.prompt_tokens + self.output_tokens).max())

    def scaled(self, factor: float) -> Requests:
        """The same requests at `factor` times the rate: every gap between arrivals divided by it.

        Raises:
            ServingError: `factor` is no positive number.

        >>> make_requests([0, 8], 4, 2).scaled(4.0).arrival_ns.tolist()
        [0.0, 2.0]
        """
        checks.require(ServingError, "factor", factor, checks.numbers(1e-9, 1e9, dims=0))
        return replace(self, arrival_ns=_arrivals(self.arrival_ns / float(factor)))

    def first(self, count: int) -> Requests:
        """The first `count` requests.

        Raises:
            ServingError: `count` is not from 1 to the number of requests.

        >>> len(make_requests([0, 8], 4, 2).first(1))
        1
        """
        checks.require(ServingError, "count", count, checks.whole(1, len(self)))
        return Requests(*(getattr(self, name)[:count] for name in self.__dataclass_fields__))


@checks.checked(
    ServingError,
    arrival_ns=checks.numbers(0, LAST_ARRIVAL_NS, dims=1, filled=True),
    prompt_tokens=checks.numbers(1, MAX_TOKENS, dims=(0, 1), integer=True),
    output_tokens=checks.numbers(1, MAX_TOKENS, dims=(0, 1), integer=True),
    routing=checks.optional(checks.numbers(0, dims=1, integer=True)),
)
def make_requests(arrival_ns: Any, prompt_tokens: Any, output_tokens: Any, *, routing: Any = None) -> Requests:
    """Requests from arrays.

    Args:
        arrival_ns: `[R]` ns, rising.
        prompt_tokens: `[R]` or one number, whole, at least 1.
        output_tokens: `[R]` or one number, whole, at least 1.
        routing: `[R]` whole numbers, see :class:`Requests`; default 0, 1, 2, ...

    Raises:
        ServingError: not rising, empty, of different lengths, lengths of zero, more than `MAX_REQUESTS`.

    >>> make_requests([0.0, 5.0], 8, [2, 3]).prompt_tokens.tolist()
    [8, 8]
    """
    arrivals = _arrivals(np.asarray(arrival_ns, np.float64))
    count = len(arrivals)
    if count > MAX_REQUESTS:
        raise ServingError(f"arrival_ns has {count:,} requests; at most {MAX_REQUESTS:,} are served in one run")
    columns = []
    for name, given in (("prompt_tokens", prompt_tokens), ("output_tokens", output_tokens), ("routing", routing)):
        values = np.arange(count) if given is None else np.asarray(given, np.int64)
        if values.ndim and len(values) != count:
            raise ServingError(f"{name} has {len(values)} entries for {count} arrivals: give one each")
        columns.append(np.broadcast_to(values, (count,)).astype(np.int64))
    return Requests(arrivals, *columns)


def _arrivals(values: HostArray) -> HostArray:
    falling = np.flatnonzero(np.diff(values) < 0)
    if len(falling):
        at = int(falling[0]) + 1
        raise ServingError(
            f"arrival_ns[{at}] is {shown(values[at])}, before its predecessor's {shown(values[at - 1])}: sort the requests "
            "by their arrival"
        )
    return values
