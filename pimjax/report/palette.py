"""Colours and names that every figure and page shares: safe for colour-blind readers, one meaning per colour."""

from __future__ import annotations

import colorsys
from typing import NamedTuple

#: Okabe & Ito, Color Universal Design (2008): told apart under the common kinds of colour blindness.
OKABE_ITO = {
    "black": "#000000",
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "green": "#009E73",
    "yellow": "#F0E442",
    "blue": "#0072B2",
    "vermilion": "#D55E00",
    "purple": "#CC79A7",
    "grey": "#8A8F98",
}

POLICY_COLOURS = {
    "token_wise": OKABE_ITO["grey"],
    "compact": OKABE_ITO["vermilion"],
    "reschedule": OKABE_ITO["orange"],
    "packed": OKABE_ITO["blue"],
}
POLICY_NAMES = {
    "token_wise": "token-wise",
    "compact": "compact",
    "reschedule": "reschedule (paper)",
    "packed": "packed",
}
FIDELITY_COLOURS = {"event": OKABE_ITO["black"], "fluid": OKABE_ITO["orange"], "closed": OKABE_ITO["green"]}
CACHE_COLOURS = {
    "no cache": OKABE_ITO["grey"],
    "KV": OKABE_ITO["sky"],
    "GO": OKABE_ITO["orange"],
    "KV + GO": OKABE_ITO["blue"],
    "KV + GO, thresholds only": OKABE_ITO["green"],
}


class Component(NamedTuple):
    """How a component of an estimate is shown."""

    label: str
    colour: str


_CROSSBAR, _LINK, _DIGITAL = OKABE_ITO["blue"], OKABE_ITO["sky"], OKABE_ITO["green"]
_ATTENTION, _MEMORY, _SHARING, _IDLE = (
    OKABE_ITO["orange"],
    OKABE_ITO["vermilion"],
    OKABE_ITO["purple"],
    OKABE_ITO["grey"],
)

#: component of `pimjax.COMPONENTS` -> label and colour; colours name families (crossbars, links, digital, memory, ...)
COMPONENT_STYLE: dict[str, Component] = {
    "passive": Component("passive power", _IDLE),
    "tier_linear": Component("crossbar products", _CROSSBAR),
    "communication": Component("links", _LINK),
    "layer_norm": Component("normalisation", _DIGITAL),
    "digital_relu": Component("ReLU", _DIGITAL),
    "digital_gelu": Component("GELU", _DIGITAL),
    "digital_add": Component("digital additions", _DIGITAL),
    "multinomial": Component("sampling", _DIGITAL),
    "dram_kv": Component("DRAM: keys, values", _MEMORY),
    "dram_go": Component("DRAM: gate outputs", _MEMORY),
    "mha_comp": Component("attention", _ATTENTION),
    "digital_swiglu": Component("SwiGLU", _DIGITAL),
    "sharing_mux": Component("sharing multiplexer", _SHARING),
    "input_load": Component("token loads", _LINK),
    "local_accumulation": Component("local accumulation", _SHARING),
    "router": Component("router", _DIGITAL),
    "scheduler": Component("scheduler", _DIGITAL),
    "embedding": Component("DRAM: embeddings", _MEMORY),
    "sram": Component("on-chip caches", _MEMORY),
    "crossbar_idle": Component("idle peripherals", _IDLE),
    "moe_crossbars": Component("experts' crossbars", _CROSSBAR),
    "dense_crossbars": Component("other crossbars", "#0B3C5D"),
    "digital_units": Component("digital units", _DIGITAL),
    "attention_units": Component("attention units", _ATTENTION),
    "buffers": Component("buffers", _MEMORY),
}


#: colour -> name of the family that it stands for, in the order of legends
FAMILIES = {
    _CROSSBAR: "crossbars (area: experts')",
    "#0B3C5D": "other crossbars",
    _ATTENTION: "attention",
    _DIGITAL: "digital units",
    _LINK: "links, loads",
    _MEMORY: "memory",
    _SHARING: "sharing, accumulation",
    _IDLE: "idle, passive",
}


def token_colours(count: int) -> list[str]:
    """`count` colours for tokens: neighbours differ in hue and in lightness, so that they are told apart in grey too.

    >>> len(set(token_colours(48)))
    48
    """
    colours = []
    for index in range(count):
        hue = (index * 0.381966) % 1.0  # golden angle: no two neighbours alike
        lightness = (0.42, 0.62, 0.76)[index % 3]
        red, green, blue = colorsys.hls_to_rgb(hue, lightness, 0.62)
        colours.append(f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}")
    return colours


__all__ = [
    "CACHE_COLOURS",
    "COMPONENT_STYLE",
    "FAMILIES",
    "FIDELITY_COLOURS",
    "OKABE_ITO",
    "POLICY_COLOURS",
    "POLICY_NAMES",
    "Component",
    "token_colours",
]
