"""Counts of a run; kept as a path, the definitions are in :mod:`pimjax.runs.run_counts`."""

from pimjax.runs.run_counts import PassWindows, RunCounts, SlotProfile, TokenSteps

MultiplexedSchedule = RunCounts

__all__ = ["MultiplexedSchedule", "PassWindows", "RunCounts", "SlotProfile", "TokenSteps"]
