"""`Estimate`: what one run of a chip costs, with breakdowns and derived metrics."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from flax import struct

from pimjax import arrays
from pimjax import status as status_bits
from pimjax.chips.chip import Chip
from pimjax.chips.parts.heat import heat
from pimjax.chips.possible import is_impossible
from pimjax.chips.run_cost import COMPONENTS, OP_KINDS, RunCost

#: Fields of :class:`Estimate` that are one number each, in the order in which they are shown.
SCALARS = (
    "latency_ns",
    "energy_nj",
    "area_mm2",
    "flops",
    "power_w",
    "dynamic_energy_nj",
    "static_energy_nj",
    "utilisation",
    "peak_power_w",
    "power_density_w_per_mm2",
    "junction_c",
    "edp_nj_ns",
    "tokens_per_s",
    "pipeline_tokens_per_s",
    "gops",
    "gops_per_w",
    "gops_per_mm2",
    "gops_per_w_per_mm2",
    "moe_latency_ns",
    "moe_area_mm2",
    "moe_gops_per_w_per_mm2",
    "crossbars",
    "dies",
    "packages",
    "silicon_area_mm2",
    "die_crossings_per_token",
    "link_busy_share",
    "network_energy_nj",
    "expert_hit_rate",
    "lifetime_years",
    "pipeline_interval_ns",
    "peak_memory_bytes",
)

#: Scalars that stand beside the costs where `estimate(accuracy=...)` asked for them; None otherwise.
ACCURACY = ("sqnr_db", "digital_sqnr_db", "perplexity", "exact_perplexity")

#: Scalars that may be no number, or are finite where others are: a peak memory is NaN where the authors' scratchpad cannot be
#: followed, which spoils nothing else.
_NOT_SUMMED = (
    "peak_memory_bytes",
    "lifetime_years",
    "dynamic_energy_nj",
    "static_energy_nj",
    "power_density_w_per_mm2",
    "junction_c",
)

#: Fields with an axis of names -> which of the names
NAMED = {
    **dict.fromkeys(("critical_ns", "busy_ns", "component_energy_nj", "component_area_mm2"), "components"),
    "op_counts": "op_kinds",
}

#: Fields that no kernel computes: accuracy, and names along the axes.
NOT_COMPUTED = (*ACCURACY, "components", "op_kinds")


@struct.dataclass
class Estimate:
    """Cost of one run (or of a batch: every leaf then carries the leading axes).

    Axes: `C` = len(components), `O` = len(op_kinds), `L` layers. NumPy from host functions, JAX arrays from kernels.
    The memory's area off the die is not included; an interconnect beyond the links is where a system is described.
    """

    latency_ns: Any  # [] first to last event of the run
    energy_nj: Any  # []
    area_mm2: Any  # [] chip: crossbars, units, buffers
    flops: Any  # [] useful floating-point operations
    power_w: Any  # [] mean over the run
    dynamic_energy_nj: Any  # [] of operations
    static_energy_nj: Any  # [] of powers that are drawn whatever happens, times the latency
    utilisation: Any  # [] busy time of what multiplies weights (crossbars) / (time x their number), 0 to 1
    peak_power_w: (
        Any  # [] largest mean power of a microsecond (event), or of what can be busy at once; never below the mean
    )
    power_density_w_per_mm2: Any  # [] of the hottest die at the peak power
    junction_c: Any  # [] temperature of a die that is kept there
    edp_nj_ns: Any  # [] energy x latency
    tokens_per_s: Any  # [] one request (or batch) in flight
    pipeline_tokens_per_s: Any  # [] one request in flight per layer: the slowest layer's rate
    gops: Any  # [] useful operations per ns
    gops_per_w: Any  # []
    gops_per_mm2: Any  # [] over the chip area
    gops_per_w_per_mm2: Any  # [] over the chip area
    moe_latency_ns: Any  # [] expert phases
    moe_area_mm2: Any  # [] experts' crossbars with shared peripherals
    moe_gops_per_w_per_mm2: Any  # [] the run's operations per energy, over the MoE area
    crossbars: Any  # [] crossbars the mapping needs
    dies: Any  # [] of the system; without one, reticles the area fills
    packages: Any  # [] of the system; 0 without one
    silicon_area_mm2: Any  # [] made for good dies: area of the dies over yield; without a system the area itself
    die_crossings_per_token: Any  # [] dies other than its layers' homes that a token goes to, all layers together
    link_busy_share: Any  # [] busy time of the busiest link between dies over the latency
    network_energy_nj: Any  # [] wires of dies and links between them
    expert_hit_rate: Any  # [] visits of experts that were on the chip; 1 where it holds them all
    lifetime_years: Any  # [] until its devices are worn by writing experts; infinite where nothing wears
    pipeline_interval_ns: Any  # [] slowest layer, unit, memory or link: one request in flight per layer
    peak_memory_bytes: Any  # [] exact in event, an upper bound otherwise
    critical_ns: Any  # [C] share of the latency, sums to latency_ns
    busy_ns: Any  # [C] sum of durations
    component_energy_nj: Any  # [C]
    component_area_mm2: Any  # [C]
    op_counts: Any  # [O]
    moe_last_pass_ns: Any  # [L]
    status: Any  # [] int32, bits of pimjax.status
    sqnr_db: Any = None  # [] signal over error of a crossbar product [dB]; None: not asked for
    digital_sqnr_db: Any = None  # [] the same of its digital macros [dB]; None: it has none beside its crossbars
    perplexity: Any = None  # [] of the project's language model on such crossbars; None: not measured
    exact_perplexity: Any = None  # [] of the same model in float32
    components: tuple[str, ...] = struct.field(pytree_node=False, default=COMPONENTS)  # names along [C]
    op_kinds: tuple[str, ...] = struct.field(pytree_node=False, default=OP_KINDS)  # names along [O]

    def to_dict(self) -> dict[str, Any]:
        """Plain Python numbers and dictionaries, as `--json` prints them. Not for batches."""
        asked = [name for name in ACCURACY if getattr(self, name) is not None]
        out: dict[str, Any] = {name: _plain(getattr(self, name)) for name in (*SCALARS, *asked)}
        for name in ("critical_ns", "busy_ns", "component_energy_nj", "component_area_mm2"):
            out[name] = _named(self.components, getattr(self, name))
        out["op_counts"] = {key: int(value) for key, value in _named(self.op_kinds, self.op_counts).items()}
        out["moe_last_pass_ns"] = [_plain(value) for value in np.asarray(self.moe_last_pass_ns)]
        out["status"] = int(np.asarray(self.status))
        out["status_text"] = status_bits.describe(self.status)
        return out

    def raise_if_bad(self) -> Estimate:
        """Raise `CapacityError` with advice if any lane's numbers must not be used; returns self otherwise."""
        status_bits.raise_if_bad(self.status)
        return self


def _plain(value: Any) -> float | int | None:
    number = float(np.asarray(value))
    if not math.isfinite(number):
        return None  # JSON has no NaN or infinity
    return int(number) if number == int(number) and abs(number) < 2**53 and number.is_integer() else number


def _named(names: tuple[str, ...], values: Any) -> dict[str, Any]:
    return {name: _plain(value) for name, value in zip(names, np.asarray(values), strict=True)}


def _ratio(numerator: Any, denominator: Any) -> Any:
    """`numerator / denominator`, 0 where the denominator is 0; safe under differentiation."""
    there = denominator > 0
    return arrays.where(there, numerator / arrays.where(there, denominator, 1.0), 0.0)


def from_run_cost(cost: RunCost, hardware: Any, chip: Chip) -> Estimate:
    """Derive every metric of an :class:`Estimate` from primitive costs. Kernel: pure and unbatched; NumPy on NumPy.

    Args:
        cost: what a chip model returned; NumPy or JAX, and so is the result.
        hardware: the numbers they were computed from: of a design's lane, or of a configuration.
        chip: whose costs they are: its names along the axes.
    """
    energy, area = cost.component_energy_nj.sum(), cost.component_area_mm2.sum()
    namespace = arrays.namespace(energy, area, cost.latency_ns)
    gops_per_w = _ratio(cost.flops, energy)  # operations per nJ = GOPS/W
    gops = _ratio(cost.flops, cost.latency_ns)
    dies, none = namespace.ceil(area / hardware.reticle_area_mm2), 0.0 * area
    around = {"dies": dies, "packages": none, "silicon_area_mm2": area, "die_crossings_per_token": none}
    around |= {"link_busy_share": none, "network_energy_nj": none}
    if cost.system is not None:
        system = cost.system
        around = {
            "dies": arrays.where(system.is_there, system.dies, dies),
            "packages": arrays.where(system.is_there, system.packages, none),
            "silicon_area_mm2": system.silicon_area_mm2,
            "die_crossings_per_token": _ratio(system.die_crossings, system.tokens),
            "link_busy_share": _ratio(system.busiest_link_ns, cost.latency_ns),
            "network_energy_nj": system.network_energy_nj,
        }
    hits, years = cost.expert_hit_rate, cost.lifetime_years
    around |= {"expert_hit_rate": 1.0 + none if hits is None else hits}
    around |= {"lifetime_years": np.inf + none if years is None else years}
    power = _ratio(energy, cost.latency_ns)
    static = (cost.component_energy_nj * np.asarray(chip.static_components, cost.component_energy_nj.dtype)).sum()
    peak = arrays.larger(cost.peak_power_w, power)
    hottest = heat(hardware, peak, cost.hot_area_mm2)
    result = Estimate(
        latency_ns=cost.latency_ns,
        energy_nj=energy,
        area_mm2=area,
        flops=cost.flops,
        power_w=power,
        dynamic_energy_nj=energy - static,
        static_energy_nj=static,
        utilisation=cost.utilisation,
        peak_power_w=peak,
        power_density_w_per_mm2=hottest.density_w_per_mm2,
        junction_c=hottest.junction_c,
        edp_nj_ns=energy * cost.latency_ns,
        tokens_per_s=1e9 * _ratio(cost.tokens, cost.latency_ns),
        pipeline_tokens_per_s=1e9 * _ratio(cost.tokens, cost.pipeline_interval_ns),
        gops=gops,
        gops_per_w=gops_per_w,
        gops_per_mm2=_ratio(gops, area),
        gops_per_w_per_mm2=_ratio(gops_per_w, area),
        moe_latency_ns=cost.moe_latency_ns,
        moe_area_mm2=cost.moe_area_mm2,
        moe_gops_per_w_per_mm2=_ratio(gops_per_w, cost.moe_area_mm2),
        crossbars=cost.crossbars,
        **around,
        pipeline_interval_ns=cost.pipeline_interval_ns,
        peak_memory_bytes=cost.peak_memory_bytes,
        critical_ns=cost.critical_ns,
        busy_ns=cost.busy_ns,
        component_energy_nj=cost.component_energy_nj,
        component_area_mm2=cost.component_area_mm2,
        op_counts=cost.op_counts,
        moe_last_pass_ns=cost.moe_last_pass_ns,
        status=cost.status,
        components=chip.component_names,
        op_kinds=chip.op_kinds,
    )
    return result.replace(status=_status(result, hardware, chip, hottest.is_too_hot))  # type: ignore[attr-defined]


def _status(result: Estimate, hardware: Any, chip: Chip, is_too_hot: Any) -> Any:
    """The status of a result: what the chip said, and what its numbers say."""
    # one comparison for all scalars: a sum is finite where every term is (and none is near overflow)
    total = sum(getattr(result, name) for name in SCALARS if name not in _NOT_SUMMED)
    namespace = arrays.namespace(total)
    smallest = namespace.minimum(result.component_energy_nj.min(), result.component_area_mm2.min())
    impossible = is_impossible(hardware, chip.hardware) | (result.latency_ns <= 0) | (result.energy_nj <= 0)
    impossible |= namespace.minimum(smallest, result.flops) < 0
    return status_bits.bits(
        result.status,
        {
            status_bits.NON_FINITE: ~namespace.isfinite(total),
            status_bits.MULTI_DIE: (result.dies > 1) & (result.packages < 1),
            status_bits.IMPOSSIBLE: impossible,
            status_bits.TOO_HOT: is_too_hot,
        },
    )
