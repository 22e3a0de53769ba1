"""The exact run: operators one after the other on one stream, pass by pass and layer by layer. NumPy, float64.

Independent of the sums of :mod:`.cost`: which operators a layer has follows from the configuration, layer by layer.
"""

from __future__ import annotations

from typing import Any

from pimjax.chips.gpu.cost import TIMED
from pimjax.chips.gpu.loads import Loads, passes
from pimjax.chips.gpu.operators.device import Time
from pimjax.chips.gpu.passes import operators
from pimjax.config.config import Config


def simulate(config: Config, design: Any, loads: Loads) -> dict[str, Time]:
    """Busy time of every component [ns].

    Args:
        config: says what each layer is.
        design: its numbers.
        loads: of every pass, of one request or batch.
    """
    model = config.model
    busy = dict.fromkeys(TIMED, Time(0.0, 0.0, 0.0))

    def launch(component: str, time: Time) -> None:
        busy[component] = busy[component].plus(time)

    for index in range(len(loads.runs)):
        one = operators(design, passes(loads, index, index + 1))

        def at(time: Time, *place: int) -> Time:
            return Time(*(part[(0, *place)] for part in time))

        moe = 0
        for layer in range(model.num_layers):
            launch("small", at(one.small).times(0.5))
            launch("products", at(one.projections))
            launch("attention", at(one.windowed if model.is_windowed_layer(layer) else one.full))
            launch("links", Time(one.mixed[0], 0.0, 0.0))
            launch("small", at(one.small).times(0.5))
            if model.is_moe_layer(layer):
                launch("products", at(one.beside))
                launch("experts", at(one.experts, moe))
                launch("links", Time(one.routed[0], 0.0, 0.0))
                moe += 1
            else:
                launch("products", at(one.dense))
                launch("links", Time(one.fed[0], 0.0, 0.0))
        launch("small", at(one.small).times(0.5))
        launch("products", at(one.head))
        launch("host", Time(design.hardware.pass_fixed_ns, 0.0, 0.0))
    return busy
