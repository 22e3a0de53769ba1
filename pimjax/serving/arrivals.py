"""Arrivals that are drawn: Poisson, gamma-distributed gaps, bursts. Host, NumPy; equal seeds give equal arrivals.

A recorded sequence at another rate is :meth:`pimjax.serving.Requests.scaled`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pimjax import checks
from pimjax.array_typing import HostArray
from pimjax.errors import ServingError
from pimjax.serving.requests import LAST_ARRIVAL_NS, MAX_REQUESTS, MAX_TOKENS, Requests, make_requests

ARRIVALS = ("poisson", "gamma", "bursts")
_LENGTHS = checks.any_of(checks.whole(1, MAX_TOKENS), checks.numbers(1, MAX_TOKENS, dims=1, integer=True, filled=True))


@checks.checked(
    ServingError,
    arrivals=checks.word(*ARRIVALS),
    count=checks.whole(1, MAX_REQUESTS),
    rate_per_s=checks.numbers(1e-9, 1e9, dims=0),
    prompt_tokens=_LENGTHS,
    output_tokens=_LENGTHS,
    seed=checks.whole(0, 2**63 - 1),
    variation=checks.numbers(0.01, 100, dims=0),
    burst=checks.whole(1, MAX_REQUESTS),
)
def generate_requests(
    arrivals: str,
    *,
    count: int,
    rate_per_s: float,
    prompt_tokens: int | Sequence[int] | HostArray = 512,
    output_tokens: int | Sequence[int] | HostArray = 128,
    seed: int = 0,
    variation: float = 2.0,
    burst: int = 8,
) -> Requests:
    """Requests whose arrivals and lengths are drawn.

    Args:
        arrivals: "poisson": gaps are exponential. "gamma": gaps are gamma-distributed with coefficient of variation
            `variation` (1 is Poisson, above 1 is burstier). "bursts": `burst` requests at once, bursts are Poisson.
        count: how many.
        rate_per_s: mean requests per second.
        prompt_tokens: one length for all, or lengths of which each request draws one, together with the answer of
            the same place where both are lists of equal length (real pairs stay pairs).
        output_tokens: likewise.
        seed: of the draws.
        variation: of "gamma".
        burst: of "bursts".

    Raises:
        ServingError: something is out of range.

    >>> made = generate_requests("poisson", count=2000, rate_per_s=10.0, seed=1)
    >>> bool(9 < made.rate_per_s < 11)
    True
    """
    draw = np.random.default_rng(seed)
    mean_gap_ns = 1e9 / float(rate_per_s)
    if arrivals == "poisson":
        gaps = draw.exponential(mean_gap_ns, count)
    elif arrivals == "gamma":
        shape = 1.0 / float(variation) ** 2
        gaps = draw.gamma(shape, mean_gap_ns / shape, count)
    else:
        gaps = np.zeros(count)
        gaps[::burst] = draw.exponential(mean_gap_ns * burst, -(-count // burst))
    times = np.cumsum(gaps)
    times -= times[0]
    if times[-1] > LAST_ARRIVAL_NS:
        raise ServingError(
            f"rate_per_s is {rate_per_s:g}: {count:,} requests would take {times[-1] / 1e9:.3g} s, more than the "
            f"{LAST_ARRIVAL_NS / 1e9:.3g} s that are simulated; raise the rate or draw fewer"
        )
    prompts, outputs = np.atleast_1d(prompt_tokens), np.atleast_1d(output_tokens)
    index = draw.integers(0, len(prompts), count)
    other = index if len(outputs) == len(prompts) else draw.integers(0, len(outputs), count)
    chosen: Any = prompts[index], outputs[other]
    return make_requests(times, *chosen)
