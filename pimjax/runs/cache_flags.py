"""What the cache flags of a run save: one definition for a configuration (host) and for a design (kernels).

Under token choice a gate-output cache is void and keys and values alone make a step one token. Under expert choice the
router needs the hidden states of all tokens: keys and values alone save nothing, gate outputs alone save the experts.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pimjax import checks
from pimjax.config.build import Design
from pimjax.config.config import Config
from pimjax.config.model import ROUTING_KINDS
from pimjax.config.workload import GO_CACHES
from pimjax.errors import ConfigError


class CacheUse(NamedTuple):
    """Which parts of a decode step the caches save; bools."""

    reads_kv: Any  # one query per sequence
    dense_all: Any  # q/k/v/o, attention and router for the whole prefix
    experts_all: Any  # experts for the whole prefix
    go_used: Any  # a gate-output cache exists and counts (expert choice)


@checks.checked(ConfigError, run=checks.having("workload", "model", meaning="a Config or a Design"))
def cache_use(run: Config | Design) -> CacheUse:
    """The cache flags, resolved for the kind of routing (docs/caches.md).

    Args:
        run: a configuration, or a design with leaves of any equal shape, NumPy or JAX.

    >>> from pimjax.config.build import build
    >>> [bool(flag) for flag in cache_use(Config())] == [bool(flag) for flag in cache_use(build(Config())[0])]
    True
    """
    workload = run.workload
    if isinstance(run, Config):
        kv = np.bool_(workload.kv_cache)
        go = np.bool_(GO_CACHES.index(run.workload.go_cache) > 0)
        by_experts = np.bool_(run.model.routing == "expert_choice")
    else:
        kv, go = _flag(workload.kv_cache), _flag(workload.go_cache)
        by_experts = _flag(run.model.routing == ROUTING_KINDS.index("expert_choice"))
    go = go & by_experts
    one = kv & (go | ~by_experts)
    return CacheUse(one, ~one, ~(one | go), go)


def _flag(value: Any) -> Any:
    """Whether a leaf is not zero; a Python number would not know `~`."""
    if isinstance(value, (bool, int)):
        return np.bool_(value)
    return value if value.dtype == bool else value != 0
