"""What a run asks, before any chip: which experts every token visits, which passes there are, and counts of their slots.

A configuration and a trace become a :class:`RunRouting` (who visits whom in every pass), the passes that need a schedule
(:mod:`.passes`), their slot tables (:mod:`.windows`) and :class:`RunCounts`, the pytree of counts that a chip's kernels get.
The counts of one run are made on the host without compiling anything (:mod:`.counts`), those of many on the device
(:mod:`.count_many`); what is counted is defined once, in :mod:`pimjax.schedule.counts`.
"""

from pimjax.runs.cache_flags import CacheUse, cache_use
from pimjax.runs.inputs import inputs_from_routing, inputs_of_many, inputs_of_parts, schedule_inputs
from pimjax.runs.requests import resolve, with_prompt
from pimjax.runs.reshape import alike, stacked
from pimjax.runs.routing import RunRouting, run_routing
from pimjax.runs.run_counts import PassWindows, RunCounts, SlotProfile, TokenSteps

__all__ = [
    "CacheUse",
    "PassWindows",
    "RunCounts",
    "RunRouting",
    "SlotProfile",
    "TokenSteps",
    "alike",
    "cache_use",
    "inputs_from_routing",
    "inputs_of_many",
    "inputs_of_parts",
    "resolve",
    "run_routing",
    "schedule_inputs",
    "stacked",
    "with_prompt",
]
