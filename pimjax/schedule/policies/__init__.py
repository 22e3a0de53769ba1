"""Schedule policies: in which slots each group works on which token.

`token_wise`, `compact` and `reschedule` are published (Gao & Yang, ISCAS 2026) and described by one interval of slots
per token and group; `packed` may split a token over separate slots and is described by its slot table.
"""

from pimjax.schedule.policies.compact import compact_intervals
from pimjax.schedule.policies.reschedule import reschedule_delays, reschedule_intervals
from pimjax.schedule.policies.token_wise import token_wise_intervals

INTERVAL_POLICIES = {
    "token_wise": token_wise_intervals,
    "compact": compact_intervals,
    "reschedule": reschedule_intervals,
}
POLICIES = (*INTERVAL_POLICIES, "packed")

__all__ = [
    "INTERVAL_POLICIES",
    "POLICIES",
    "compact_intervals",
    "reschedule_delays",
    "reschedule_intervals",
    "token_wise_intervals",
]
