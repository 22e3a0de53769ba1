"""The system around the crossbars: wires of a die, links between dies and packages, placement of experts, weights that do
not fit. Knows no chip; formulas are kernels that run on NumPy and JAX values alike.

The numbers are the section :class:`pimjax.config.system.SystemSection`; `SystemSection().arrays()` is its traced twin, which
every formula here takes as `numbers`. How a chip uses the package:

* **area**: `die_port`, `usable_die_area_mm2`, `dies_needed`, `silicon_area_mm2`: `packages`, `dies`, PHYs (component `d2d`),
  good silicon beside area.
* **placement**: the order of a layer's groups along its silicon is made on the host (`order_groups`); which dies that is,
  `layer_dies` finds in the kernel from areas, so that every number stays data. `lay_out` is the same on the host.
* **counts**: tokens of every stretch of groups (`pimjax.runs.reach`), from them `layer_links.messages`; `layer_crossings`,
  `model_pair_bytes` and `link_bytes` are the same counts from choices.
* **energy**: one `PassShape` from the chip's geometry, `pass_flows` once, `linear_flows` for every other linear layer:
  `network_energy_nj`, components `noc` (die network and group wires) and `d2d` (links). A chip's own price of a hop
  (`link_energy_nj_per_256`) is that of the port at a crossbar and stays beside it.
* **time**: `load_ns` joins the time of a load (the larger counts), `pass_fill_ns` the latency of a pass, not its slot. The
  links: resources of the chip's own event graph, `layer_links.link_times` in its kernels; `simulate_phase`, `fluid_phase`
  and `closed_phase` are one expert phase alone.
* **residency**: which experts a run's tokens find is followed on the host (`pimjax.runs.residency`, a token's experts
  together); `swap_cost` is what a miss costs. Beside that, for streams of single accesses on a device: `residency_curve`, with
  `expert_accesses`, `lifetime_years` and `weights_fit`.

Messages and times of links by layer (`layer_links`) are between this package and a chip's kernels: no names of `pimjax.system`.

One die gives the wires alone; energies and latencies of 0, and bandwidths without limit, give the chip without a network.
"""

from pimjax.system.crossings import Crossings, die_visits, layer_crossings, model_pair_bytes
from pimjax.system.dies import (
    DiePort,
    Dies,
    die_port,
    die_yield,
    dies_needed,
    silicon_area_mm2,
    usable_die_area_mm2,
)
from pimjax.system.flows import (
    RESOURCES,
    Flow,
    FlowCounts,
    PassShape,
    load_ns,
    network_energy_nj,
    pass_fill_ns,
    pass_flows,
)
from pimjax.system.layer_dies import LayerDies, layer_dies
from pimjax.system.layout import Layout, lay_out, order_groups
from pimjax.system.linear_flows import LinearShape, linear_fill_ns, linear_flows, memory_flow
from pimjax.system.links import NO_LINK, Links, link_bytes, link_energy_nj, make_links, route
from pimjax.system.phase_event import PhaseTimes, simulate_phase
from pimjax.system.phase_fast import LinkTimes, closed_phase, fluid_phase
from pimjax.system.placement import busiest_die, holds, place_experts
from pimjax.system.residency import (
    Residency,
    SwapCost,
    expert_accesses,
    lifetime_years,
    residency_curve,
    residency_run,
    swap_cost,
    weights_fit,
)
from pimjax.system.wires import (
    Wire,
    along,
    core_pitch_mm,
    farthest,
    multicast_length_mm,
    wire_energy_nj,
    wire_latency_ns,
)

__all__ = [
    "NO_LINK",
    "RESOURCES",
    "Crossings",
    "DiePort",
    "Dies",
    "Flow",
    "FlowCounts",
    "LayerDies",
    "Layout",
    "LinearShape",
    "LinkTimes",
    "Links",
    "PassShape",
    "PhaseTimes",
    "Residency",
    "SwapCost",
    "Wire",
    "along",
    "busiest_die",
    "closed_phase",
    "core_pitch_mm",
    "die_port",
    "die_visits",
    "die_yield",
    "dies_needed",
    "expert_accesses",
    "farthest",
    "fluid_phase",
    "holds",
    "lay_out",
    "layer_crossings",
    "layer_dies",
    "lifetime_years",
    "linear_fill_ns",
    "linear_flows",
    "link_bytes",
    "link_energy_nj",
    "load_ns",
    "make_links",
    "memory_flow",
    "model_pair_bytes",
    "multicast_length_mm",
    "network_energy_nj",
    "order_groups",
    "pass_fill_ns",
    "pass_flows",
    "place_experts",
    "residency_curve",
    "residency_run",
    "route",
    "silicon_area_mm2",
    "simulate_phase",
    "swap_cost",
    "usable_die_area_mm2",
    "weights_fit",
    "wire_energy_nj",
    "wire_latency_ns",
]
