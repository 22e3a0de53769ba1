"""Expert grouping and group-wise scheduling: which experts share peripherals, and in which order tokens visit them."""

from pimjax.schedule.copies import copy_hottest, deal_copies
from pimjax.schedule.cost import ScheduleCost, schedule_cost
from pimjax.schedule.grouping import GROUPING_STRATEGIES, count_coactivation, group_experts
from pimjax.schedule.placement import IDLE
from pimjax.schedule.policies import POLICIES, Policy, register_policy
from pimjax.schedule.slots import schedule_intervals, schedule_slots
from pimjax.schedule.summary import ScheduleProfile, ScheduleSummary, schedule_profile, schedule_summary
from pimjax.schedule.table import SchedulePlan, schedule_table

__all__ = [
    "GROUPING_STRATEGIES",
    "IDLE",
    "POLICIES",
    "Policy",
    "ScheduleCost",
    "SchedulePlan",
    "ScheduleProfile",
    "ScheduleSummary",
    "copy_hottest",
    "count_coactivation",
    "deal_copies",
    "group_experts",
    "register_policy",
    "schedule_cost",
    "schedule_intervals",
    "schedule_profile",
    "schedule_slots",
    "schedule_summary",
    "schedule_table",
]
