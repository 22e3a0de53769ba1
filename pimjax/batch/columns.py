"""One column of a batch: what the routing of a request gives a design, as arrays.

A batch is a table of lanes (hardware points) by columns (requests). What depends on the request alone is computed
here, once per (configuration without hardware, request), whatever the number of hardware points.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from flax import struct

from pimjax.config.build import Capacity, Design, capacity_of
from pimjax.config.config import Config
from pimjax.errors import TraceError
from pimjax.trace.routing import RoutingTrace


@struct.dataclass
class Columns:
    """Requests as arrays; leading axes `[V, R]` for V configurations without hardware (variants).

    Leaves that are equal for all requests may lack R (:func:`factored`).
    """

    request: Any  # int32, position among the requests
    prompt_tokens: Any  # int32; None: the design's, for every request
    max_context_tokens: Any  # int32
    schedule: Any  # MultiplexedSchedule, or None (reference chip)

    def applied_to(self, design: Design) -> Design:
        """The design with the request's lengths (unbatched)."""
        if self.prompt_tokens is None:
            return design
        workload = dataclasses.replace(
            design.workload, prompt_tokens=self.prompt_tokens, max_context_tokens=self.max_context_tokens
        )
        return dataclasses.replace(design, workload=workload)


def resolved(config: Config, trace: RoutingTrace | None) -> tuple[Config, RoutingTrace | None]:
    """The configuration with the request's prompt length, and the request; as `pimjax.estimate` does it.

    Raises:
        TraceError: the trace does not fit the model.
    """
    if config.chip_model == "reference":
        return config, None
    from pimjax.estimation.routing import resolve

    return resolve(config, trace)


def requests_of(traces: RoutingTrace | Sequence[RoutingTrace] | None) -> list[RoutingTrace | None]:
    """Single requests of what a user gives as `traces`; `[None]` stands for the workload's own routing.

    Raises:
        TraceError: no trace, or something that is none.
    """
    if traces is None:
        return [None]
    parts = [traces] if isinstance(traces, RoutingTrace) else list(traces)
    found: list[RoutingTrace | None] = []
    for part in parts:
        if not isinstance(part, RoutingTrace):
            raise TraceError(
                f"traces holds a {type(part).__name__}; give RoutingTrace objects (pimjax.load_traces) or None"
            )
        if part.is_stacked:
            # rows beyond a request's own tokens are padding and would only cost time
            found += [part.request(index).trim() for index in range(part.num_requests)]
        else:
            found.append(part)
    if not found:
        raise TraceError("traces is empty: give at least one request, or None for the workload's own routing")
    return found


def lengths_of(config: Config, trace: RoutingTrace | None) -> Config:
    """The configuration with the request's prompt length filled in, without making the request's schedule."""
    if config.chip_model == "reference" or config.workload.prompt_tokens is not None:
        return config
    return resolved(config, trace)[0]


def common_capacity(configs: Sequence[Config], traces: Sequence[RoutingTrace | None]) -> Capacity:
    """The capacity that holds every configuration with every request."""
    capacity = None
    tried = set()
    for config in configs:
        for trace in traces:
            one = lengths_of(config, trace)
            key = (id(config), one.workload.prompt_tokens)
            if key in tried:
                continue
            tried.add(key)
            capacity = capacity_of(one) if capacity is None else capacity.union(capacity_of(one))
    assert capacity is not None
    return capacity


def variant_key(config: Config) -> str:
    """Equal for configurations that give every request the same column: all but hardware and number representation.

    `hardware.out_links` stays in: whether return links are shared decides what a schedule must count.
    """
    plain = Config().hardware
    hardware = plain.model_copy(update={"out_links": config.hardware.out_links})
    return config.model_copy(update={"hardware": hardware, "numerics": Config().numerics}).digest()


def build_column(
    config: Config, trace: RoutingTrace | None, fidelity: str, capacity: Capacity, *, request: int = 0
) -> Columns:
    """The column of one request: NumPy leaves without leading axes.

    Raises:
        TraceError: the trace does not fit the model.
        CapacityError: it exceeds the capacity.
    """
    config, requests = resolved(config, trace)
    schedule = None
    if requests is not None:
        from pimjax.chips.multiplexed import schedule_inputs

        schedule = schedule_inputs(config, requests, fidelity=fidelity, capacity=capacity)
    workload = config.workload
    return Columns(
        request=np.int32(request),
        prompt_tokens=np.int32(workload.num_prompt_tokens),
        max_context_tokens=np.int32(workload.context_tokens),
        schedule=schedule,
    )


def stack_columns(parts: Sequence[Columns]) -> Columns:
    """Columns with a new leading axis; leaves of different lengths are padded with zeros at the end."""

    def stack(*leaves: Any) -> np.ndarray:
        arrays = [np.asarray(leaf) for leaf in leaves]
        shape = np.max([array.shape for array in arrays], axis=0) if arrays[0].ndim else ()
        out = np.zeros((len(arrays), *map(int, shape)), arrays[0].dtype)
        for index, array in enumerate(arrays):
            out[(index, *(slice(size) for size in array.shape))] = array
        return out

    return jax.tree.map(stack, *parts)


def build_columns(
    variants: Sequence[Config], traces: Sequence[RoutingTrace | None], fidelity: str, capacity: Capacity
) -> Columns:
    """Columns of all variants and requests, leaves `[V, R, ...]`."""
    rows = [
        stack_columns([build_column(config, trace, fidelity, capacity, request=i) for i, trace in enumerate(traces)])
        for config in variants
    ]
    columns = stack_columns(rows)
    if any(config.hardware.out_links is not None for config in variants) or columns.schedule is None:
        return columns
    # return links are nobody's bottleneck: slots need not be counted by busy groups, G + 1 times as many numbers
    schedule = columns.schedule
    slim = {name: getattr(schedule, name).replace(busy_hist=None) for name in ("prompt", "step")}
    return dataclasses.replace(columns, schedule=schedule.replace(**slim))


def factored(columns: Columns) -> tuple[Columns, tuple[bool, ...]]:
    """Columns `[V, R, ...]` with the request axis taken off leaves that have one value for all requests of a variant.

    Whatever depends on such leaves and on the lane is then computed once per lane, not for every pair: with requests
    of one length only the expert phases are left to the pairs.

    Returns:
        the columns, and for every leaf (in `jax.tree.leaves` order) whether its request axis was taken off.
    """
    leaves, structure = jax.tree.flatten(columns)
    common = tuple(leaf is not columns.request and bool((leaf == leaf[:, :1]).all()) for leaf in leaves)
    kept = [leaf[:, 0] if same else leaf for leaf, same in zip(leaves, common, strict=True)]
    return jax.tree.unflatten(structure, kept), common


def request_axes(columns: Columns, common: tuple[bool, ...], axis: int) -> Columns:
    """A tree of the request axis of every leaf: `axis`, or -1 where it was taken off."""
    structure = jax.tree.structure(columns)
    return jax.tree.unflatten(structure, [-1 if same else axis for same in common])
