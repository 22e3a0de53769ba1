"""Whether a chip is several dies while nothing is counted of the wires and links that join them."""

from __future__ import annotations

import numpy as np

from pimjax.chips import CHIPS
from pimjax.chips.ledger import every_read
from pimjax.config.config import Config
from pimjax.estimation.result import Estimate

NETWORK = "system.network"


def free_wires(config: Config, result: Estimate) -> str:
    """One sentence where a chip that can have a system around it has none and is larger than one reticle; else empty. Host.

    >>> import pimjax
    >>> config = pimjax.load_config("paper_crossbars")
    >>> free_wires(config, pimjax.estimate(config)).partition(": ")[0]
    'wires of the chip and links between its 3 dies cost nothing'
    >>> free_wires(wired := pimjax.load_config("paper_multiplexed"), pimjax.estimate(wired))
    ''
    """
    dies = float(np.asarray(result.dies))
    if config.system.network != "none" or not dies > 1:
        return ""
    if not any(read.key == NETWORK for _, read, _ in every_read(CHIPS[config.chip_model])):
        return ""
    return (
        f"wires of the chip and links between its {dies:,.0f} dies cost nothing: "
        "set system: dies to count their energy, time and area"
    )
