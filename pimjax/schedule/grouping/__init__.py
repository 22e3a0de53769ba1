"""Expert grouping: formulas, a search for the lowest expected makespan, and experts that are kept apart."""

from pimjax.schedule.grouping.group_experts import (
    COACTIVATION_WEIGHT,
    GROUPING_STRATEGIES,
    count_coactivation,
    group_experts,
)
from pimjax.schedule.grouping.search import search_groups

__all__ = [
    "COACTIVATION_WEIGHT",
    "GROUPING_STRATEGIES",
    "count_coactivation",
    "group_experts",
    "search_groups",
]
