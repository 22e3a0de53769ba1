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

from pimjax.chips import CHIPS, Chip
from pimjax.config.build import Capacity, Design, capacity_of
from pimjax.config.config import Config
from pimjax.config.uncosted import refuse_uncosted
from pimjax.errors import TraceError
from pimjax.runs.requests import resolve
from pimjax.runs.reshape import stacked
from pimjax.trace.routing import RoutingTrace

_BLOCK = 64  # requests whose routing is in memory together


@struct.dataclass
class Columns:
    """Requests as arrays; leading axes `[V, R]` for V configurations without hardware (variants).

    Leaves that are equal for all requests may lack R (:func:`factored`).
    """

    request: Any  # int32, position among the requests
    prompt_tokens: Any  # int32; None: the design's, for every request
    max_context_tokens: Any  # int32
    schedule: Any  # what the chip's kernel needs of the routing, or None

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
    if not CHIPS[config.chip_model].takes_routing:
        refuse_uncosted(config)
        return config, None
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
    if not CHIPS[config.chip_model].takes_routing or config.workload.prompt_tokens is not None:
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

    Of the hardware, only the numbers that the chip's inputs depend on; of those that may be absent, whether they are set.
    """
    chip = CHIPS[config.chip_model]
    kept = {name: getattr(config.hardware, name) for name in chip.input_fields}
    kept |= {name: 1.0 for name, value in kept.items() if value is not None and name in chip.hardware.absent}
    hardware = chip.hardware().model_copy(update=kept)
    return config.model_copy(update={"hardware": hardware, "numerics": Config().numerics}).digest()


def build_row(
    config: Config,
    traces: Sequence[RoutingTrace | None],
    fidelity: str,
    capacity: Capacity,
    *,
    layers: int | None = None,
) -> list[Columns]:
    """The columns of many requests under one configuration: NumPy leaves without leading axes.

    Schedules are made on the device, many at once, in blocks of requests whose routing memory can hold.

    Args:
        config: the configuration.
        traces: requests.
        fidelity: "closed" or "fluid".
        capacity: shapes.
        layers: length of the layer axes; default `capacity.max_layers`.

    Raises:
        TraceError: a trace does not fit the model.
        CapacityError: it exceeds the capacity.

    >>> from pimjax.config.build import capacity_of
    >>> config = Config().model_copy(update={"workload": Config().workload.model_copy(update={"prompt_tokens": 4})})
    >>> [column] = build_row(config, [None], "closed", capacity_of(config))
    >>> float(column.schedule.prompt.passes.sum())
    16.0
    """
    found: list[Columns] = []
    for start in range(0, len(traces), _BLOCK):
        pairs = [resolved(config, trace) for trace in traces[start : start + _BLOCK]]
        chip = CHIPS[config.chip_model]
        schedules = chip.inputs_of_many(pairs, fidelity=fidelity, capacity=capacity, layers=layers)
        found += [
            Columns(
                request=np.int32(start + index),
                prompt_tokens=np.int32(one.workload.num_prompt_tokens),
                max_context_tokens=np.int32(one.workload.context_tokens),
                schedule=schedule,
            )
            for index, ((one, _), schedule) in enumerate(zip(pairs, schedules, strict=True))
        ]
    return found


def build_columns(
    variants: Sequence[Config], traces: Sequence[RoutingTrace | None], fidelity: str, capacity: Capacity
) -> Columns:
    """Columns of all variants and requests, leaves `[V, R, ...]`; layer axes as long as the deepest variant."""
    layers = deepest(variants)
    rows = [stacked(build_row(config, traces, fidelity, capacity, layers=layers)) for config in variants]
    return stacked(same_counts(rows, CHIPS[variants[0].chip_model]))


def deepest(variants: Sequence[Config]) -> int:
    """Layers of the deepest model.

    >>> deepest([Config()])
    1
    """
    return max(config.model.num_layers for config in variants)


def same_counts(parts: Sequence[Columns], chip: Chip) -> list[Columns]:
    """Columns with the same leaves, whatever their runs needed."""
    alike = chip.alike([part.schedule for part in parts])
    return [dataclasses.replace(part, schedule=one) for part, one in zip(parts, alike, strict=True)]


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
