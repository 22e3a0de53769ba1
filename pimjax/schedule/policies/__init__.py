"""Schedule policies: in which slots each group works on which token. One file each, registered here.

`token_wise`, `compact` and `reschedule` are published (Gao & Yang, ISCAS 2026) and described by one interval of slots
per token and group; `packed` may split a token over separate slots and is described by its slot table.
"""

from pimjax.schedule.policies.compact import COMPACT
from pimjax.schedule.policies.packed import PACKED
from pimjax.schedule.policies.policy import Policy
from pimjax.schedule.policies.registry import POLICIES, policy_of, register_policy
from pimjax.schedule.policies.reschedule import RESCHEDULE
from pimjax.schedule.policies.token_wise import TOKEN_WISE

for _policy in (TOKEN_WISE, COMPACT, RESCHEDULE, PACKED):
    register_policy(_policy)

__all__ = ["POLICIES", "Policy", "policy_of", "register_policy"]
