"""Refusing a crossbar core that cannot exist, before anything is computed with it."""

from __future__ import annotations

import jax
import numpy as np

from pimjax.chips.multiplexed.core import tile_parameters
from pimjax.chips.multiplexed.hardware import hardware_of
from pimjax.circuit.sanity import checked_tile, least_cost
from pimjax.config.build import build
from pimjax.config.config import Config
from pimjax.config.digital_map import has_digital_parts
from pimjax.errors import ConfigError


def refuse_impossible_core(config: Config) -> None:
    """Raise ConfigError, naming the limit, if the crossbar core, measured or computed, cannot exist.

    >>> from pimjax.config.config import Config
    >>> refuse_impossible_core(Config())
    """
    hardware = hardware_of(config)
    computed = [kind for kind in ("parametric", "digital_sram") if config.plan.tile == kind]
    if has_digital_parts(config):
        computed.append("digital_sram")
    for kind in computed:
        with jax.enable_x64(True):
            parameters = tile_parameters(build(config)[0], digital=kind == "digital_sram")
            checked_tile(jax.tree.map(np.asarray, parameters))
    if config.plan.tile != "calibrated":
        return
    least = least_cost(hardware.crossbar_rows, hardware.crossbar_cols, hardware.node_nm)
    for name, unit, limit, law in (
        ("mvm_latency_ns", "ns", least.latency_ns, "one gate delay"),
        ("mvm_energy_nj", "nJ", least.energy_nj, "kT ln 2 per multiply-accumulate"),
        ("core_area_mm2", "mm2", least.area_mm2, "4 F^2 per crossbar position"),
    ):
        given = getattr(hardware, name)
        if given < limit:
            raise ConfigError(
                f"hardware.{name} = {given:g} is below the physical limit of {limit:.2g} {unit} ({law}): "
                f"no such crossbar can exist; is the number in {unit}?"
            )
