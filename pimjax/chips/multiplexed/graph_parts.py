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
from pimjax.chips.multiplexed.cost import Chip
from pimjax.chips.multiplexed.durations import FIRST_TIMED, LAST_TIMED, Durations, LinearTime
from pimjax.chips.multiplexed.geometry import LINEARS
from pimjax.chips.parts.dual import Dual, chosen, value_of
from pimjax.chips.run_cost import COMPONENTS
from pimjax.errors import CapacityError
from pimjax.event import JobGraphBuilder, ResourceGroup, exclusive, pool, unlimited
from pimjax.event.jobs import UNLIMITED

MIXED = ("qkv", "expand", "output")
"""Linear layers that differ between the kinds of mixers of a model."""
MOST_MIXERS = 10
"""Kinds of mixers that a model can have: full, sliding, chunked, sparse with and without an indexer, linear, Mamba."""


def linear_kinds(name: str, mixer: int) -> tuple[str, str]:
    """Kinds of the two jobs of a linear layer of a mixer.

    >>> linear_kinds("qkv", 0), linear_kinds("qkv", 1)
    (('qkv issue', 'qkv flight'), ('qkv issue, mixer 1', 'qkv flight, mixer 1'))
    """
    of = f", mixer {mixer}" if mixer else ""
    return f"{name} issue{of}", f"{name} flight{of}"


KINDS = (
    "wait",  # zero-length marks
    *(linear_kinds(name, 0)[0] for name in LINEARS),
    *(linear_kinds(name, 0)[1] for name in LINEARS),
    *(kind for mixer in range(1, MOST_MIXERS) for name in MIXED for kind in linear_kinds(name, mixer)),
    "partial sum",
    "expert activation",
    "dense activation",
    "shared activation",
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
    "kv latency",
    "kv write",
    "go read",
    "go latency",
    "go write",
    "message",
    "flight",
    "sram read",
)


class TimedDesign(NamedTuple):
    """Durations of a design as plain numbers, and how each divides among the components."""

    times: Durations  # Python floats (LinearTime fields likewise; arrays `[M]` where kinds of mixers differ)
    split: dict[str, HostArray]  # kind -> [C], fractions that sum to 1 (0 for marks)


def timed_design(chip: Chip) -> TimedDesign:
    """Durations in float64 with their splits; the chip's times have the components' shares.

    Raises:
        CapacityError: a count of units that is no whole number (the event engine has whole units).
    """
    point = chip.point
    count = float(point.hardware.num_digital_units)
    if count != int(count):
        raise CapacityError(
            f"hardware.num_digital_units is {count}: the event engine has whole units only; use a whole number, or "
            "fidelity 'fluid' or 'closed'"
        )
    return TimedDesign(jax.tree.map(_plain, chip.time), _splits(chip.timed, np.shape(point.model.mixers)[0]))


def _plain(value: Any) -> Any:
    return np.asarray(value, np.float64) if np.ndim(value) else float(value)


def of_mixer(linear: LinearTime, mixer: int) -> LinearTime:
    """The times of a linear layer in the blocks with one mixer."""

    def own(time: Any) -> Any:
        return chosen(time, np.array([mixer]))[0] if np.ndim(value_of(time)) else time

    return LinearTime(*map(own, linear))


def _splits(parts: Durations, mixers: int) -> dict[str, HostArray]:
    def fraction(time: Dual) -> HostArray:
        share = np.pad(time.tangent, (FIRST_TIMED, len(COMPONENTS) - 1 - LAST_TIMED))
        total = share.sum()
        return share / total if total > 0 else np.zeros(len(COMPONENTS))

    def only(component: str) -> HostArray:
        return np.eye(len(COMPONENTS))[COMPONENTS.index(component)]

    split = dict.fromkeys(KINDS, np.zeros(len(COMPONENTS)))
    for name in LINEARS:
        linear: LinearTime = getattr(parts, name)
        for mixer in range(mixers if name in MIXED else 1):
            own = of_mixer(linear, mixer)
            issue, flight = linear_kinds(name, mixer)
            split[issue] = fraction(own.issue)
            rest = own.flight - own.issue
            split[flight] = fraction(rest + parts.dense_act if name in ("dense_up", "shared_up") else rest)
    by_field = {
        "expert activation": parts.act_job,
        "dense activation": parts.dense_act_job,
        "shared activation": parts.shared_act_job,
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
    for kind in ("kv read", "kv latency", "kv write"):
        split[kind] = only("dram_kv")
    for kind in ("go read", "go latency", "go write"):
        split[kind] = only("dram_go")
    for kind in ("message", "flight"):
        split[kind] = only("d2d")
    return split


def resources(num_layers: int, num_groups: int, num_units: int, channels: int, links: int = 0) -> list[ResourceGroup]:
    """Everything jobs of a pass run on."""
    groups = max(1, num_groups)
    return [
        unlimited("wires"),
        pool("digital units", num_units),
        exclusive("attention"),
        exclusive("memory channel", channels),
        exclusive("SRAM"),
        exclusive("embedding"),
        ResourceGroup("group", UNLIMITED, count=groups),
        exclusive("down positions of group", groups),
        *(exclusive(f"{name} of layer", num_layers) for name in LINEARS),
        exclusive("link", links),
    ]


@dataclass
class Bench:
    """A graph under construction with the durations it uses."""

    build: JobGraphBuilder
    times: Durations
    mixer_of_layer: HostArray  # int [L], row of the model's table of mixers
    channels: int = 1

    def wires(self, kind: str, duration: Any, token: Any = 0) -> HostArray:
        """Jobs that start the instant they are ready."""
        return self.build.add(kind, duration, self.build.resource("wires"), token=token)

    def units(self, kind: str, duration: Any, token: Any) -> HostArray:
        """Jobs on the digital units, low token first."""
        return self.build.add(kind, duration, self.build.resource("digital units"), token=token)

    def transfers(self, kind: str, durations: Any) -> HostArray:
        """Transfers to or from the memory, each striped over all channels, first come first served on every one:
        jobs `[n, channels]`. `durations` `[n]`: bytes by the bandwidth of all channels."""
        each = np.asarray(durations, np.float64)[:, None]
        return self.build.add(kind, each, self.build.resource("memory channel", np.arange(self.channels)))

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

    def norms(self, source: HostArray, token: HostArray, count: int) -> HostArray:
        """`count` norms of each token one after the other, behind `source`, `[n]` or rows of jobs."""
        for _ in range(count):
            norm = self.units("norm", np.full(len(token), self.times.norm), token)
            self.after(source, norm)
            source = norm
        return source

    def of(self, name: str, layer: int) -> LinearTime:
        """The times of a linear layer in one layer of the model."""
        time: LinearTime = getattr(self.times, name)
        return of_mixer(time, int(self.mixer_of_layer[layer])) if name in MIXED else time

    def linear(self, name: str, layer: int, source: HostArray, token: HostArray, extra: float = 0.0) -> HostArray:
        """An unshared linear layer for tokens whose inputs are the jobs `source`; returns its result jobs, `[n]` or
        `[n, strips]`.

        The issue job holds the layer's crossbars for one interval; the flight covers the rest of the way and
        `extra` (a local activation). Digital accumulation adds one chain per strip on the units.
        """
        time = self.of(name, layer)
        issues, flights = linear_kinds(name, int(self.mixer_of_layer[layer]) if name in MIXED else 0)
        place = self.build.resource(f"{name} of layer", layer)
        issue = self.build.add(issues, np.full(len(token), time.issue), place, token=token)
        flight = self.wires(flights, np.full(len(token), time.flight - time.issue + extra), token)
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
