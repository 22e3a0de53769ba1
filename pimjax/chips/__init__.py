"""Chip models: one folder each, all behind the one class :class:`Chip`; `CHIPS` finds them by name.

>>> list(CHIPS)
['multiplexed', 'reference', 'gpu']
"""

from pimjax.chips.chip import Chip, Counted, EventOptions
from pimjax.chips.ledger import ComponentSpec, Condition, Read, Reader, reads, setting, without_effect
from pimjax.chips.run_cost import COMPONENTS, OP_KINDS, RunCost
from pimjax.chips.sizes import Sized
from pimjax.registry import CHIPS

__all__ = [
    "CHIPS",
    "COMPONENTS",
    "OP_KINDS",
    "Chip",
    "ComponentSpec",
    "Condition",
    "Counted",
    "EventOptions",
    "Read",
    "Reader",
    "RunCost",
    "Sized",
    "reads",
    "setting",
    "without_effect",
]
