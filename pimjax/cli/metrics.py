"""Metrics as people read them: plain names, and values in the multiple of their unit that reads best."""

from __future__ import annotations

from pimjax.cli.output import shown, with_unit

#: key in results -> plain name, unit
PLAIN = {
    "latency_ns": ("latency", "ns"),
    "energy_nj": ("energy", "nJ"),
    "area_mm2": ("area", "mm2"),
    "flops": ("work", "FLOP"),
    "power_w": ("power", "W"),
    "dynamic_energy_nj": ("energy of operations", "nJ"),
    "static_energy_nj": ("energy of waiting", "nJ"),
    "utilisation": ("utilisation", ""),
    "peak_power_w": ("peak power", "W"),
    "power_density_w_per_mm2": ("peak power density", "W/mm2"),
    "junction_c": ("junction", "C"),
    "edp_nj_ns": ("energy x latency", "nJ ns"),
    "edap": ("energy x latency x area", "nJ ns mm2"),
    "energy_per_token_nj": ("energy per token", "nJ"),
    "latency_per_token_ns": ("latency per token", "ns"),
    "tokens_per_s": ("throughput, one request", "tokens/s"),
    "pipeline_tokens_per_s": ("throughput, pipelined", "tokens/s"),
    "gops": ("rate", "GOPS"),
    "gops_per_w": ("energy efficiency", "GOPS/W"),
    "gops_per_mm2": ("area efficiency", "GOPS/mm2"),
    "gops_per_w_per_mm2": ("efficiency", "GOPS/W/mm2"),
    "moe_latency_ns": ("expert phases", "ns"),
    "moe_area_mm2": ("area of the MoE part", "mm2"),
    "moe_gops_per_w_per_mm2": ("efficiency, MoE part", "GOPS/W/mm2"),
    "crossbars": ("crossbars", ""),
    "dies": ("reticles", ""),
    "peak_memory_bytes": ("peak memory", "B"),
    "sqnr_db": ("signal to noise", "dB"),
    "digital_sqnr_db": ("signal to noise, digital parts", "dB"),
    "perplexity": ("perplexity", ""),
    "exact_perplexity": ("perplexity, exact", ""),
}

#: which way each way to make two chips alike leans
LEANS = (
    "equal model: one chip against one, whatever their size, which leans to the larger; equal area: per mm2 of logic dies, which "
    "leans to the one whose weights lie in memory dies, as these are not counted; equal power: per watt, which leans to the one "
    "of which less is modelled (boards, hosts, cooling and what an assumed power leaves out)"
)


def metric_name(key: str) -> str:
    """What people call a metric; the key of one that has no other name.

    >>> metric_name("latency_ns"), metric_name("quality")
    ('latency', 'quality')
    """
    return PLAIN.get(key, (key, ""))[0]


def metric_value(key: str, value: float | None) -> str:
    """A metric's value with its unit.

    >>> metric_value("latency_ns", 244282.5), metric_value("crossbars", 4576), metric_value("quality", None)
    ('244.3 us', '4,576', '-')
    """
    unit = PLAIN.get(key, ("", ""))[1]
    if value is None or not unit:
        return shown(value)
    return with_unit(float(value), unit)


def ratio(new: float | None, base: float | None) -> str:
    """New over base.

    >>> ratio(3.0, 2.0), ratio(1.0, 0.0)
    ('1.5', '-')
    """
    return shown(new / base) if base and new is not None else "-"


def component_names() -> dict[str, str]:
    """Key -> plain name of the components of every chip."""
    from pimjax.chips import CHIPS

    return {spec.name: spec.plain for chip in CHIPS.values() for spec in chip.components}
