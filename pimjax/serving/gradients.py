"""How figures of serving change with the hardware: derivatives of smooth surrogates through the scan over steps.

Means of times and energy are sums of step costs as long as the schedule stays, so they have derivatives almost everywhere;
percentiles, goodput and capacities jump and have none here. What the derivative leaves out: see :mod:`.scan`.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pimjax import checks
from pimjax.errors import ServingError
from pimjax.serving.batch import scan_inputs, slots_of
from pimjax.serving.chip_tables import StepGrid
from pimjax.serving.host import simulate
from pimjax.serving.requests import Requests
from pimjax.serving.server import Server

SURROGATES = ("mean_ttft_ns", "mean_tpot_ns", "mean_latency_ns", "energy_per_request_nj")


@checks.checked(
    ServingError,
    grid=checks.instance(StepGrid, "a StepGrid"),
    requests=checks.instance(Requests, "Requests"),
    server=checks.instance(Server, "a Server"),
    keys=checks.each(checks.text, "names of hardware numbers", least=1),
    routed=checks.flag,
)
def serving_gradients(
    grid: StepGrid, requests: Requests, server: Server, keys: Any, *, routed: bool = False
) -> dict[str, dict[str, float]]:
    """Derivatives of :data:`SURROGATES` with respect to hardware numbers.

    Args:
        grid: the chip's sampled steps.
        requests, server: what is served; one rank.
        keys: hardware numbers, with or without "hardware.".
        routed: the routing of every step's own tokens instead of mean batches.

    Returns:
        Surrogate -> key -> derivative (ns or nJ per unit of the key), and under "value" the surrogates themselves.

    Raises:
        ServingError: an unknown key, several ranks.

    >>> import pimjax
    >>> from pimjax.serving import ChipSteps, Server, make_requests
    >>> grid = StepGrid(ChipSteps(pimjax.load_config("paper_multiplexed"), longest_context=32), max_num_seqs=2)
    >>> found = serving_gradients(grid, make_requests([0.0, 1e4], 8, 4), Server(max_num_seqs=2), ["mvm_latency_ns"])
    >>> found["mean_tpot_ns"]["mvm_latency_ns"] > 0
    True
    """
    from pimjax.serving.scan import initial_state, run_steps

    if server.ranks != 1:
        raise ServingError(
            f"derivatives go through the scan, which serves one rank, but Server.ranks is {server.ranks}"
        )
    base, names = grid.base_hardware, [key.removeprefix("hardware.") for key in keys]
    for name in names:
        if not hasattr(base, name) or name in grid.steps.chip.input_fields:
            raise ServingError(
                f"keys: {name[:80]!r} is no hardware number of {grid.steps.chip.name!r} with a derivative here"
            )
    loads = grid.steps.loads if routed else None
    # idle times take no step of the log, but one of the scan
    length = 2 * len(simulate(requests, server, grid.table(), loads=loads).steps) + 2
    count = len(requests)
    further = np.maximum(requests.output_tokens - 1, 1)
    several = requests.output_tokens > 1
    with jax.enable_x64(True):
        lane = scan_inputs([requests], server, grid.table(), loads)
        lane = jax.tree.map(jnp.asarray, lane)
        first = initial_state(count, slots_of(server, count), np.float64)
        own = lane._replace(**{name: getattr(lane, name)[0] for name in ("arrival", "prompt", "output", "routing")})

        def surrogates(values: Any) -> Any:
            table = grid.table_of(base.replace(**dict(zip(names, values, strict=True))))
            end = run_steps(first, own._replace(table=table), length=length)
            ttft = end.first_ns[:count] - requests.arrival_ns
            latency = end.finish_ns[:count] - requests.arrival_ns
            tpot = jnp.where(several, (latency - ttft) / further, 0.0).sum() / max(int(several.sum()), 1)
            return jnp.stack([ttft.mean(), tpot, latency.mean(), end.energy_nj[:count].mean()])

        start = jnp.asarray([float(getattr(base, name)) for name in names])
        values, slopes = jax.jit(lambda x: (surrogates(x), jax.jacfwd(surrogates)(x)))(start)
        values, slopes = np.asarray(values), np.asarray(slopes)
    found = {
        surrogate: {name: float(slopes[row, column]) for column, name in enumerate(names)}
        for row, surrogate in enumerate(SURROGATES)
    }
    return {**found, "value": {name: float(value) for name, value in zip(SURROGATES, values, strict=True)}}
