"""Building blocks of the event graph: job kinds, resources, linear layers, digital units. Host, NumPy, float64.

Each kind of job has a *split*: how its duration divides among the components of :mod:`pimjax.chips.run_cost`.
It comes from the derivative of the durations with respect to the components' scales.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np

from pimjax.array_typing import HostArray
from pimjax.chips.multiplexed.durations import FIRST_TIMED, LAST_TIMED, Durations, LinearTime, durations
from pimjax.chips.multiplexed.geometry import LINEARS
from pimjax.chips.parts.dual import Dual, value_of
from pimjax.chips.run_cost import COMPONENTS
from pimjax.config.build import Design
from pimjax.errors import CapacityError
from pimjax.event import JobGraphBuilder, ResourceGroup, exclusive, pool, unlimited
from pimjax.event.jobs import UNLIMITED
from pimjax.runs.point import Point, point_of

KINDS = (
    "wait",  # zero-length marks
    *(f"{name} issue" for name in LINEARS),
    *(f"{name} flight" for name in LINEARS),
    "partial sum",
    "expert activation",
    "dense activation",
    "embedding",
    "embedding link",
    "add",
    "combine",
    "residual",
    "norm",
    "gate",
    "router on unit",
    "scheduler",
    "first load",
    "slot by stage",
    "slot by loads",
    "slot by links",
    "pass",
    "stage A",
    "down link",
    "down product",
    "return link",
    "sampling link",
    "sampling",
    "attention",
    "kv read",
    "kv write",
    "go read",
    "go write",
    "sram read",
)


class TimedDesign(NamedTuple):
    """Durations of a design as plain numbers, and how each divides among the components."""

    times: Durations  # Python floats (LinearTime fields likewise)
    split: dict[str, HostArray]  # kind -> [C], fractions that sum to 1 (0 for marks)


def timed_design(design: Design | Point, largest_group: int) -> TimedDesign:
    """Durations in float64 with their splits.

    Raises:
        CapacityError: a count of units that is no whole number (the event engine has whole units).
    """
    point = point_of(design)
    count = float(point.hardware.num_digital_units)
    if count != int(count):
        raise CapacityError(
            f"hardware.num_digital_units is {count}: the event engine has whole units only; use a whole number, or "
            "fidelity 'fluid' or 'closed'"
        )
    with np.errstate(all="ignore"):  # formulas choose between branches of which one may divide by zero
        found = durations(point, largest_group, shares=True)
    times = jax.tree.map(lambda time: float(value_of(time)), found, is_leaf=lambda leaf: isinstance(leaf, Dual))
    return TimedDesign(times, _splits(found))


def _splits(parts: Durations) -> dict[str, HostArray]:
    def fraction(time: Dual) -> HostArray:
        share = np.pad(time.tangent, (FIRST_TIMED, len(COMPONENTS) - 1 - LAST_TIMED))
        total = share.sum()
        return share / total if total > 0 else np.zeros(len(COMPONENTS))

    def only(component: str) -> HostArray:
        return np.eye(len(COMPONENTS))[COMPONENTS.index(component)]

    split = dict.fromkeys(KINDS, np.zeros(len(COMPONENTS)))
    for name in LINEARS:
        linear: LinearTime = getattr(parts, name)
        split[f"{name} issue"] = fraction(linear.issue)
        rest = linear.flight - linear.issue
        split[f"{name} flight"] = fraction(rest + parts.dense_act if name in ("dense_up", "shared_up") else rest)
    by_field = {
        "expert activation": parts.act_job,
        "dense activation": parts.dense_act_job,
        "embedding": parts.embed,
        "embedding link": parts.embed_flight,
        "norm": parts.norm,
        "gate": parts.gate,
        "router on unit": parts.router_digital,
        "scheduler": parts.scheduler,
        "first load": parts.load,
        "slot by stage": parts.stage,
        "slot by loads": parts.load,
        "slot by links": parts.out,
        "pass": parts.a + parts.d,
        "stage A": parts.up_link,
        "down link": parts.down_link_in,
        "down product": parts.down_mvm,
        "return link": parts.down_link_out,
        "sampling link": parts.link,
        "sampling": parts.sampling,
    }
    split |= {kind: fraction(share) for kind, share in by_field.items()}
    for kind in ("partial sum", "add", "combine", "residual"):
        split[kind] = only("digital_add")
    split |= {"attention": only("mha_comp"), "sram read": only("sram")}
    for kind in ("kv read", "kv write"):
        split[kind] = only("dram_kv")
    for kind in ("go read", "go write"):
        split[kind] = only("dram_go")
    return split


def resources(num_layers: int, num_groups: int, num_units: int) -> list[ResourceGroup]:
    """Everything jobs of a pass run on."""
    groups = max(1, num_groups)
    return [
        unlimited("wires"),
        pool("digital units", num_units),
        exclusive("attention"),
        exclusive("DRAM"),
        exclusive("SRAM"),
        exclusive("embedding"),
        ResourceGroup("group", UNLIMITED, count=groups),
        exclusive("down positions of group", groups),
        *(exclusive(f"{name} of layer", num_layers) for name in LINEARS),
    ]


@dataclass
class Bench:
    """A graph under construction with the durations it uses."""

    build: JobGraphBuilder
    times: Durations

    def wires(self, kind: str, duration: Any, token: Any = 0) -> HostArray:
        """Jobs that start the instant they are ready."""
        return self.build.add(kind, duration, self.build.resource("wires"), token=token)

    def units(self, kind: str, duration: Any, token: Any) -> HostArray:
        """Jobs on the digital units, low token first."""
        return self.build.add(kind, duration, self.build.resource("digital units"), token=token)

    def follow(self, before: Any, after: Any) -> None:
        """`after` waits for `before` (broadcast)."""
        self.build.connect(before, after)

    def after(self, before: HostArray, job: HostArray) -> None:
        """`job[i]` waits for all of `before[i]`: one job, or a row of jobs in which -1 is none.

        Jobs wait for each other directly, without a mark of length zero between them: at one instant every job that
        can run must be known before a unit chooses.
        """
        rows = before[:, None] if before.ndim == 1 else before
        where = np.nonzero(rows >= 0)
        self.build.connect(rows[where], np.asarray(job)[where[0]])

    def linear(self, name: str, layer: int, source: HostArray, token: HostArray, extra: float = 0.0) -> HostArray:
        """An unshared linear layer for tokens whose inputs are the jobs `source`; returns its result jobs, `[n]` or
        `[n, strips]`.

        The issue job holds the layer's crossbars for one interval; the flight covers the rest of the way and
        `extra` (a local activation). Digital accumulation adds one chain per strip on the units.
        """
        time: LinearTime = getattr(self.times, name)
        place = self.build.resource(f"{name} of layer", layer)
        issue = self.build.add(f"{name} issue", np.full(len(token), time.issue), place, token=token)
        flight = self.wires(f"{name} flight", np.full(len(token), time.flight - time.issue + extra), token)
        self.after(source, issue)
        self.follow(issue, flight)
        # pyrefly: ignore[bad-argument-type]
        return self.chains(flight, time.chain, time.strips, token)

    def chains(self, source: HostArray, duration: float, strips: float, token: HostArray) -> HostArray:
        """Partial sums of every strip on the digital units: jobs `[n, strips]`, or `source` where there are none."""
        if duration <= 0:
            return source
        sums = self.units("partial sum", np.full((len(token), int(strips)), duration), np.asarray(token)[:, None])
        self.follow(np.asarray(source)[:, None], sums)
        return sums
