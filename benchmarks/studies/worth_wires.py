"""What counting wires and links changes on the default chip: costs, and every claim of the paper, with them and without.

The default counts its dies, wires and links (`system: dies`); beside it the same chip whose wires are free (`system: none`).
Everything by the event engine, as `pimjax reproduce` has it.

    python benchmarks/studies/worth_wires.py
    python benchmarks/studies/worth_wires.py --quick     # the costs alone; writes nothing
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.lib.harness import write_json
from pimjax.config import load_config
from pimjax.estimation import estimate
from pimjax.reproduction.ablations import Assumption, sharing_line
from pimjax.reproduction.chip_runs import DEFAULT, MOE_CHIPS, efficiency_run, generation_run, moe_run
from pimjax.reproduction.lines import PROMPT_TOKENS

COSTS = ("latency_ns", "energy_nj", "area_mm2", "dies", "packages", "network_energy_nj", "die_crossings_per_token")


def costs(network: str, tokens: int) -> dict[str, float]:
    """A prefill of the default chip."""
    config = load_config(DEFAULT, {"workload.prompt_tokens": tokens, "system": network})
    result = estimate(config, fidelity="event")
    return {name: float(getattr(result, name)) for name in COSTS}


def claims(network: str) -> dict[str, Any]:
    """Sharing, caches and efficiency."""
    system = {"system": network}
    sharing = sharing_line(Assumption("", system), {name: moe_run(name, system) for name in MOE_CHIPS})
    plain, cached = (
        generation_run(kv, go, changes=system, fidelity="event") for kv, go in ((False, "none"), (True, "full"))
    )
    return {
        "sharing": {key: sharing[key] for key in ("value", "lowest", "schedule_alone", "sharing_alone")},
        "cache_speedup": plain["latency_ns"] / cached["latency_ns"],
        "cache_energy_saving": plain["energy_nj"] / cached["energy_nj"],
        "efficiency": efficiency_run(changes=system),
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    rows: dict[str, Any] = {}
    for network in ("dies", "none"):
        rows[network] = {"prefill": costs(network, PROMPT_TOKENS), "prefill_128": costs(network, 128)}
        if not arguments.quick:
            rows[network] |= claims(network)
        print(network, rows[network], flush=True)
    keys = ("latency_ns", "energy_nj", "area_mm2")
    changed = {
        run: {key: 100 * (rows["dies"][run][key] / rows["none"][run][key] - 1) for key in keys}
        for run in ("prefill", "prefill_128")
    }
    print({run: {key: round(value, 2) for key, value in part.items()} for run, part in changed.items()})
    if not arguments.quick:
        print(write_json("worth_wires", {"prompt_tokens": PROMPT_TOKENS, **rows, "changed_percent": changed}))


if __name__ == "__main__":
    main()
