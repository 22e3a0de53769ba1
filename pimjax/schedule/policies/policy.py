"""What a schedule policy is: one object that everything which schedules asks, and nothing else knows its name.

A policy that gives every token *one* interval of slots per group is a function of the load matrix (`intervals`). One
that may split a token over separate slots writes the slot table itself (`place`). Rules that all of them keep:

- along a group, intervals follow each other in token order, do not overlap and are as long as the group's load;
- padding columns (from `num_tokens` on) have no load and may get any empty interval;
- there is no slot in which every group waits, so no schedule is longer than its number of passes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from pimjax.array_typing import Array, HostArray
from pimjax.errors import ScheduleError
from pimjax.schedule.placement import Placement, place_intervals
from pimjax.schedule.union import union_length


@dataclass(frozen=True)
class Policy:
    """A schedule policy. Static and hashable: one compiled program each.

    Attributes:
        name: as in `plan.policy`.
        makespan_bound: `(loads [..., G, T], max_open_tokens) -> [...]` slots that no schedule of these loads exceeds;
            array methods only, so that it takes NumPy and JAX arrays. :mod:`pimjax.schedule.load_matrix` has the two
            that the shipped policies need, `longest_queue` and `one_after_another`.
        intervals: kernel `(loads [G, T], num_tokens, bound) -> (start, stop) [G, T]`, int32; `bound` is a static upper
            limit of the running sums.
        place: kernel `(loads [G, T], max_open_tokens, num_slots, bound) -> Placement`, instead of `intervals`.
        cost: kernel `(loads, max_open_tokens, bound) -> (makespan, loads)`, where that takes no slot table and no
            intervals; default: from them.
        host_intervals: NumPy twin of `intervals`; may be the same function, if it runs on both. Without one the host
            compiles the kernel: a second for a policy that is used once.
        host_place: NumPy twin of `place`: `(loads, max_open_tokens) -> int32 [G, S]`, S the makespan.
        host_ns: `(passes, tokens) -> ns` that `host_place` takes, if that is more than a compiled kernel: once as much
            has gone by as compiling takes, the host compiles. None: the twin is always used.
        needs_barrier: slots can only begin when the whole window is routed.
        limits_open_tokens: `plan.max_open_tokens` has a meaning.
    """

    name: str
    makespan_bound: Callable[..., Any]
    intervals: Callable[..., tuple[Any, Any]] | None = None
    place: Callable[..., Placement] | None = None
    cost: Callable[..., tuple[Any, Any]] | None = None
    host_intervals: Callable[..., tuple[Any, Any]] | None = None
    host_place: Callable[..., HostArray] | None = None
    host_ns: Callable[[int, int], float] | None = None
    needs_barrier: bool = True
    limits_open_tokens: bool = False

    def __post_init__(self) -> None:
        if (self.intervals is None) == (self.place is None):
            raise ScheduleError(
                f"policy {self.name!r} must have either intervals (one interval of slots per token and group) or place "
                "(a slot table), not both or neither"
            )

    def placement(
        self, loads: Array, num_tokens: Array, max_open_tokens: Array | None, *, bound: int, num_slots: int
    ) -> Placement:
        """Slot table of a load matrix. Kernel.

        Args:
            loads: int32 `[G, T]`, passes per group and token (padding rows zero).
            num_tokens: int32 `[]`, rows in use.
            max_open_tokens: int32 `[]`, or None for no limit.
            bound: static upper limit of the running sums (tokens x experts).
            num_slots: static S of the table.

        Returns:
            The placement; its makespan may exceed `num_slots`.

        >>> from pimjax.schedule.policies import POLICIES
        >>> loads = jnp.array([[2, 1], [0, 1]])
        >>> POLICIES["compact"].placement(loads, jnp.int32(2), None, bound=4, num_slots=3).tokens.tolist()
        [[0, 0, 1], [1, -1, -1]]
        """
        if self.place is not None:
            return self.place(loads, max_open_tokens, num_slots, bound)
        assert self.intervals is not None
        return place_intervals(*self.intervals(loads, num_tokens, bound), num_slots)

    def makespan_and_loads(
        self, loads: Array, num_tokens: Array, max_open_tokens: Array | None, *, bound: int, longest: int
    ) -> tuple[Array, Array]:
        """Slots and token loads without a slot table. Kernel.

        Args:
            loads, num_tokens, max_open_tokens, bound: as `placement`.
            longest: static upper limit of the passes of one token in one group.

        Returns:
            int32 `[]` makespan and loads.
        """
        if self.cost is not None:
            return self.cost(loads, max_open_tokens, bound)
        if self.intervals is None:
            placed = self.placement(loads, num_tokens, max_open_tokens, bound=bound, num_slots=bound)
            from pimjax.schedule.placement import loads_per_slot

            return placed.makespan, loads_per_slot(placed).sum(dtype=jnp.int32)
        start, stop = self.intervals(loads, num_tokens, bound)
        makespan = jnp.where(stop > start, stop, 0).max()
        return makespan, union_length(start, stop, max_start=bound, max_length=longest).sum(dtype=jnp.int32)


__all__ = ["Policy"]
