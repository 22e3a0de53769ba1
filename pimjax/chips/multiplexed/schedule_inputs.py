"""Counts of a run; kept as a path, the definitions are in :mod:`pimjax.runs.inputs`."""

from pimjax.runs.inputs import inputs_from_routing, schedule_inputs

__all__ = ["inputs_from_routing", "schedule_inputs"]
