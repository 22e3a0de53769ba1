"""Every schedule policy by name: what `plan.policy` may say."""

from __future__ import annotations

from pimjax.checks import checked, instance, require, text
from pimjax.errors import ScheduleError, shown
from pimjax.schedule.policies.policy import Policy

POLICIES: dict[str, Policy] = {}
"""Registered policies in order of registration. A batch that runs in several processes registers in each of them."""


@checked(ScheduleError, policy=instance(Policy, "a pimjax.schedule.Policy"))
def register_policy(policy: Policy) -> Policy:
    """Make a policy known by its name to everything that schedules.

    Raises:
        ScheduleError: another policy has the name.

    >>> import dataclasses
    >>> mine = register_policy(dataclasses.replace(policy_of("compact"), name="mine"))
    >>> policy_of("mine") is mine, POLICIES.pop("mine") is mine
    (True, True)
    """
    require(ScheduleError, "policy.name", policy.name, text)
    if POLICIES.get(policy.name, policy) != policy:
        raise ScheduleError(f"another schedule policy is called {policy.name!r}: choose another name")
    POLICIES[policy.name] = policy
    return policy


def policy_of(name: str) -> Policy:
    """The policy of a name.

    Raises:
        ScheduleError: no such policy.

    >>> policy_of("token_wise").needs_barrier
    False
    """
    policy = POLICIES.get(name) if isinstance(name, str) else None
    if policy is None:
        raise ScheduleError(f"unknown schedule policy {shown(name)}: choose one of {', '.join(POLICIES)}")
    return policy


def check_open_limit(policy: Policy, max_open_tokens: object, where: str = "max_open_tokens") -> None:
    """Raise if a limit of open tokens is given to a policy that knows none.

    Raises:
        ScheduleError: it names the policies that do.

    >>> check_open_limit(policy_of("packed"), 4)
    """
    if max_open_tokens is not None and not policy.limits_open_tokens:
        able = " or ".join(repr(one.name) for one in POLICIES.values() if one.limits_open_tokens)
        raise ScheduleError(f"{where} limits the policy {able} only, not {policy.name!r}: leave it out")


__all__ = ["POLICIES", "check_open_limit", "policy_of", "register_policy"]
