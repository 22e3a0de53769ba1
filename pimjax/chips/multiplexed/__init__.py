"""The physical chip: groups of experts share the peripherals of their crossbars, and routing decides what that costs."""

from pimjax.chips.multiplexed.event import Simulation, simulate
from pimjax.chips.multiplexed.kernel import multiplexed_cost
from pimjax.runs.inputs import schedule_inputs

__all__ = ["Simulation", "multiplexed_cost", "schedule_inputs", "simulate"]
