"""Colours and names that every figure and page shares: safe for colour-blind readers, one meaning per colour."""

from __future__ import annotations

import colorsys

from pimjax.chips.ledger import ComponentSpec

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


#: family of components (:data:`pimjax.chips.ledger.FAMILIES`) -> its colour, and its name in legends
FAMILIES: dict[str, tuple[str, str]] = {
    "crossbars": (OKABE_ITO["blue"], "crossbars (area: experts')"),
    "dense crossbars": ("#0B3C5D", "other crossbars"),
    "attention": (OKABE_ITO["orange"], "attention"),
    "digital": (OKABE_ITO["green"], "digital units"),
    "links": (OKABE_ITO["sky"], "links, loads"),
    "memory": (OKABE_ITO["vermilion"], "memory"),
    "sharing": (OKABE_ITO["purple"], "sharing, accumulation"),
    "idle": (OKABE_ITO["grey"], "idle, passive"),
    "other": (OKABE_ITO["yellow"], "other"),
}


def component_colour(spec: ComponentSpec) -> str:
    """Colour of a component: its family's."""
    return FAMILIES[spec.family][0]


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
    "FAMILIES",
    "FIDELITY_COLOURS",
    "OKABE_ITO",
    "POLICY_COLOURS",
    "POLICY_NAMES",
    "component_colour",
    "token_colours",
]
