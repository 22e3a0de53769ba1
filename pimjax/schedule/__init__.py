"""Expert grouping and group-wise scheduling: which experts share peripherals, and in which order tokens visit them."""

from pimjax.schedule.cost import ScheduleCost, schedule_cost
from pimjax.schedule.placement import IDLE
from pimjax.schedule.policies import POLICIES
from pimjax.schedule.profile import ScheduleProfile, schedule_profile
from pimjax.schedule.slots import schedule_intervals, schedule_slots
from pimjax.schedule.summary import ScheduleSummary, schedule_summary

__all__ = [
    "IDLE",
    "POLICIES",
    "ScheduleCost",
    "ScheduleProfile",
    "ScheduleSummary",
    "schedule_cost",
    "schedule_intervals",
    "schedule_profile",
    "schedule_slots",
    "schedule_summary",
]
