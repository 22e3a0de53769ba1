"""Expert grouping and group-wise scheduling: which experts share peripherals, and in which order tokens visit them."""

from pimjax.schedule.copies import copy_hottest, deal_copies
from pimjax.schedule.cost import ScheduleCost, schedule_cost
from pimjax.schedule.grouping import GROUPING_STRATEGIES, count_coactivation, group_experts
from pimjax.schedule.placement import IDLE
from pimjax.schedule.policies import POLICIES
from pimjax.schedule.profile import ScheduleProfile, schedule_profile
from pimjax.schedule.slots import schedule_intervals, schedule_slots
from pimjax.schedule.summary import ScheduleSummary, schedule_summary
from pimjax.schedule.table import SchedulePlan, schedule_table

__all__ = [
    "GROUPING_STRATEGIES",
    "IDLE",
    "POLICIES",
    "ScheduleCost",
    "SchedulePlan",
    "ScheduleProfile",
    "ScheduleSummary",
    "copy_hottest",
    "count_coactivation",
    "deal_copies",
    "group_experts",
    "schedule_cost",
    "schedule_intervals",
    "schedule_profile",
    "schedule_slots",
    "schedule_summary",
    "schedule_table",
]
