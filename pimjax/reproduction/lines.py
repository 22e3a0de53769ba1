"""The 25 lines of the authors' scripts.sh as configurations of the `reference` chip."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from typing import Any

from pimjax.chips.reference.authors_inputs import reference_config
from pimjax.config import Config
from pimjax.resources import data_folder

PROMPT_TOKENS = 32


@dataclasses.dataclass(frozen=True)
class PublishedLine:
    """One line of scripts.sh: its arguments, what it means, and how exactly it is recomputed.

    Attributes:
        args: the line's arguments, as the authors write them.
        name: short name for tables (`S2O`, `generate 8, kv+go`).
        inputs: arguments of :func:`pimjax.reference_config`.
        event: whether the exact engine recomputes it too (long uncached runs are left to `fluid`).
    """

    args: str
    name: str
    inputs: dict[str, Any]
    event: bool

    def config(self) -> Config:
        """The configuration of this line."""
        return reference_config(**self.inputs)


@functools.cache
def published() -> dict[str, Any]:
    """Published numbers shipped with the package: reference runs, routing statistics, claims."""
    return json.loads((data_folder() / "published.json").read_text(encoding="utf-8"))


def published_lines() -> list[PublishedLine]:
    """All 25 lines: 14 of generation, 11 of prefill.

    >>> len(published_lines())
    25
    """
    lines = []
    for new_length, flag_sets in ((8, ("", "kv", "go", "kv+go")), *((n, ("", "kv+go")) for n in (32, 64, 128))):
        for flags in flag_sets:
            for prefill in (False, True) if new_length == 8 else (False,):
                lines.append(_generation(new_length, "kv" in flags, "go" in flags, prefill))
    lines.append(_prefill("1", 1.0, 1.0, 1.0))
    statistics, group_factor = published()["routing_statistics"], published()["group_factor"]
    for suffix, loads in (("C", "loads_per_token_compact"), ("O", "loads_per_token_reschedule")):
        for grouping, slots in statistics["slots_per_token"].items():
            lines.append(_prefill(grouping + suffix, slots, statistics[loads][grouping], group_factor[grouping[1]]))
    return lines


def _generation(new_length: int, kv: bool, go: bool, prefill: bool) -> PublishedLine:
    args = f"--new_length {new_length}" + " --kv_flag" * kv + " --go_flag" * go + " --prefill" * prefill
    caches = "+".join(name for name, on in (("kv", kv), ("go", go)) if on) or "no cache"
    return PublishedLine(
        args=args,
        name=f"generate {new_length}, {caches}" + (", prefill" if prefill else ""),
        inputs={"start_len": PROMPT_TOKENS, "new_length": new_length, "kv": kv, "go": go, "prefill": prefill},
        event=new_length == 8 or go,
    )


def _prefill(prefix: str, mvm_factor: float, comm_factor: float, group_factor: float) -> PublishedLine:
    """main.py scales the number of tokens by its mvm_factor and the MVM energy by its group_factor."""
    args = (
        f"--mvm_factor {mvm_factor} --comm_factor {comm_factor} --group_factor {group_factor} "
        f"--prefix {prefix}_ --new_length 1"
    )
    return PublishedLine(
        args=args,
        name=f"prefill {prefix}",
        inputs={
            "start_len": math.ceil(PROMPT_TOKENS * mvm_factor),
            "new_length": 1,
            "prefill": True,
            "comm_factor": comm_factor,
            "mvm_energy": 12.5 * group_factor,
        },
        event=True,
    )
