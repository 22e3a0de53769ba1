"""`slo_capacity`: the largest rate of requests at which a server keeps its service-level objective, for many chips."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pimjax import checks
from pimjax.array_typing import HostArray
from pimjax.errors import ServingError
from pimjax.progress import part, report
from pimjax.serving.batch import ENGINES, ServingBatch, simulate_batch
from pimjax.serving.loads import RoutingLoads
from pimjax.serving.requests import Requests
from pimjax.serving.server import Server
from pimjax.serving.step_table import StepTable

_LIMIT = checks.numbers(0, dims=0, above=True)
_RATE = checks.numbers(1e-9, 1e9, dims=0)


@dataclass(frozen=True)
class SloCapacity:
    """Capacities of `N` chips, and every rate that was tried.

    Attributes:
        rate_per_s: float64 `[N]`, largest rate that was seen to keep the objective; 0 where none did.
        fails_at_per_s: float64 `[N]`, smallest rate above it that was seen to miss; infinite where none did.
        tried_per_s, ttft_ns, tpot_ns: float64 `[N, K]`, rates in rising order and the quantiles there.
    """

    rate_per_s: HostArray
    fails_at_per_s: HostArray
    tried_per_s: HostArray
    ttft_ns: HostArray
    tpot_ns: HostArray


@checks.checked(
    ServingError,
    requests=checks.instance(Requests, "Requests"),
    server=checks.instance(Server, "a Server"),
    table=checks.instance(StepTable, "a StepTable"),
    ttft_slo_ns=_LIMIT,
    tpot_slo_ns=_LIMIT,
    quantile=checks.numbers(0, 1, dims=0),
    low_per_s=_RATE,
    high_per_s=_RATE,
    rounds=checks.whole(1, 32),
    points=checks.whole(2, 64),
    loads=checks.optional(checks.instance(RoutingLoads, "RoutingLoads from ChipSteps")),
    engine=checks.word(*ENGINES),
)
def slo_capacity(
    requests: Requests,
    server: Server,
    table: StepTable,
    *,
    ttft_slo_ns: float,
    tpot_slo_ns: float,
    quantile: float = 0.99,
    low_per_s: float = 0.01,
    high_per_s: float = 100.0,
    rounds: int = 4,
    points: int = 5,
    loads: RoutingLoads | None = None,
    engine: str = "host",
) -> SloCapacity:
    """Search the largest rate that keeps the quantiles of TTFT and TPOT, by bisection with several rates per round.

    The requests are replayed at other rates (:meth:`~pimjax.serving.Requests.scaled`): the pattern of arrivals stays. The
    search takes it that a higher rate is never kept where a lower one is missed; with few requests a quantile is the
    worst of a handful, and the answer as coarse.

    Args:
        requests: at least two, not all at once.
        server, table, loads, engine: as for :func:`~pimjax.serving.simulate_batch`.
        ttft_slo_ns, tpot_slo_ns: limits in ns.
        quantile: of both times.
        low_per_s, high_per_s: mean rates between which is searched.
        rounds: each round narrows the bracket `points` + 1 times, in equal ratios.
        points: rates of a round, all in one batch.

    Raises:
        ServingError: the requests have no rate, or `low_per_s` is not below `high_per_s`.

    >>> from pimjax.serving import Server, generate_requests, make_step_table
    >>> lone = generate_requests("poisson", count=50, rate_per_s=1.0, output_tokens=4)
    >>> found = slo_capacity(lone, Server(max_num_seqs=1), make_step_table(tokens=[1e6]), ttft_slo_ns=5e6, tpot_slo_ns=2e6)
    >>> bool(0 < found.rate_per_s[0] < found.fails_at_per_s[0] < 250)
    True
    """
    if not low_per_s < high_per_s:
        raise ServingError(f"low_per_s is {low_per_s:g} and high_per_s is {high_per_s:g}: the first must be smaller")
    base = requests.rate_per_s
    if not np.isfinite(base) or base <= 0:
        raise ServingError("requests arrive all at once: a rate needs two arrivals at different times")
    chips = len(table.tokens) if np.ndim(table.tokens) == 3 else 1
    low, high = np.zeros(chips), np.full(chips, np.inf)
    tried: list[HostArray] = []
    seen: list[tuple[HostArray, HostArray]] = []
    for turn in range(rounds):
        rates = _rates(low, high, float(low_per_s), float(high_per_s), points, first=turn == 0)
        report(f"round {turn + 1} of {rounds}", turn / rounds)
        lanes = [requests.scaled(rate / base) for rate in rates.ravel()]
        repeated = table if chips == 1 else StepTable(*(np.repeat(leaf, rates.shape[1], axis=0) for leaf in table))
        with part(turn / rounds, (turn + 1) / rounds):
            found = simulate_batch(lanes, server, repeated, loads=loads, engine=engine)
        ttft, tpot = _quantiles(found, float(quantile), rates.shape)
        met = (ttft <= ttft_slo_ns) & (tpot <= tpot_slo_ns)
        kept = np.cumprod(met, axis=1).astype(bool)  # all lower rates of the round kept it too
        low = np.maximum(low, np.where(kept, rates, 0.0).max(axis=1))
        high = np.minimum(high, np.where(kept, np.inf, rates).min(axis=1))
        tried.append(rates)
        seen.append((ttft, tpot))
    order = np.argsort(np.concatenate(tried, axis=1), axis=1, kind="stable")
    rows = [np.concatenate(part_of, axis=1) for part_of in (tried, *zip(*seen, strict=True))]
    return SloCapacity(low, high, *(np.take_along_axis(row, order, axis=1) for row in rows))


def _rates(low: Any, high: Any, least: float, most: float, points: int, *, first: bool) -> HostArray:
    """Rates `[N, points]` in equal ratios: over the whole range with its ends first, inside the bracket later."""
    start = np.where(low > 0, low, least)
    stop = np.where(np.isfinite(high), high, most)
    share = np.linspace(0.0, 1.0, points) if first else np.arange(1, points + 1) / (points + 1)
    return start[:, None] * (stop / start)[:, None] ** share


def _quantiles(found: ServingBatch, quantile: float, shape: tuple[int, ...]) -> tuple[HostArray, HostArray]:
    ttft = np.quantile(found.ttft_ns, quantile, axis=1)
    tpot = np.where(np.isnan(found.tpot_ns), 0.0, found.tpot_ns)  # an answer of one token waits for no further one
    real = ~np.isnan(found.tpot_ns)
    last = np.array(
        [np.quantile(row[mask], quantile) if mask.any() else 0.0 for row, mask in zip(tpot, real, strict=True)]
    )
    return ttft.reshape(shape), last.reshape(shape)
