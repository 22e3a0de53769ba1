"""What a run routes; kept as a path, the definitions are in :mod:`pimjax.runs.routing`."""

from pimjax.runs.requests import with_prompt
from pimjax.runs.routing import RunRouting, run_routing

__all__ = ["RunRouting", "run_routing", "with_prompt"]
