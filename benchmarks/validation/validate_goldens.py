"""How far the code is from the numbers it must agree with: the authors' simulator, check values, CrossSim's codes.

    python benchmarks/validation/validate_goldens.py            # writes results/validate_goldens.json
    python benchmarks/validation/validate_goldens.py --quick    # three small cases of each kind, writes nothing

Everything is compared with files of tests/golden, which say where they come from. The tests hold the same numbers to a
bound; this script says how large the differences are.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.lib.harness import write_json
from benchmarks.lib.paths import GOLDEN
from pimjax.chips.multiplexed import simulate as simulate_chip
from pimjax.chips.reference.event import simulate
from pimjax.chips.reference.parameters import ReferenceParameters
from pimjax.config import load_config
from pimjax.numerics import Crossbar, crossbar_mvm
from pimjax.reproduction.lines import published_lines
from pimjax.reproduction.run import exact_costs, fast_costs
from pimjax.trace.routing import RoutingTrace

EXACT = ("latency_ns", "flops", "peak_memory_bytes", "n_time_steps", "counts", "mha_finish_ns")


def relative(found: float, wanted: float) -> float:
    """|found - wanted| / |wanted|, and |found| where zero is wanted."""
    return abs(found - wanted) / abs(wanted) if wanted else abs(found)


def small_cases(limit: int | None) -> dict[str, Any]:
    """Seeded small models of the authors' simulator: six outputs must be equal bit for bit, energies nearly."""
    cases = json.loads((GOLDEN / "reference_small.json").read_text())["cases"][:limit]
    unequal: list[str] = []
    energy = 0.0
    for case in cases:
        result = simulate(ReferenceParameters(**case["inputs"]), case["expert_choices"])
        found = {
            "latency_ns": result.latency_ns,
            "flops": result.flops,
            "peak_memory_bytes": result.peak_memory_bytes,
            "n_time_steps": result.num_time_steps,
            "counts": {kind: count for kind, count in result.op_counts.items() if count},
            "mha_finish_ns": result.mha_finish_ns.tolist(),
        }
        unequal += [f"{case['name']}: {name}" for name in EXACT if found[name] != case["outputs"][name]]
        energy = max(energy, relative(result.energy_nj, case["outputs"]["energy_nJ"]))
    return {
        "cases": len(cases),
        "outputs_compared_bit_for_bit": list(EXACT),
        "unequal": unequal,
        "worst_energy_relative": energy,
    }


def published_runs(limit: int | None) -> dict[str, Any]:
    """Lines of the authors' script by event, fluid and closed against the reference values."""
    known = json.loads((GOLDEN / "reference_scripts.json").read_text())["runs"][:limit]
    lines = published_lines()
    place = {tuple(sorted(shlex.split(line.args))): index for index, line in enumerate(lines)}
    fast = {fidelity: fast_costs(lines, fidelity) for fidelity in ("fluid", "closed")}
    worst = {name: {"latency": 0.0, "energy": 0.0} for name in ("event", *fast)}
    compared = 0
    cache: dict[Any, Any] = {}
    for run in known:
        index = place.get(tuple(sorted(shlex.split(run["args"]))))
        if index is None or not lines[index].event:
            continue
        compared += 1
        rows = {"event": exact_costs(lines[index], cache)}
        rows |= {name: {key: float(values[index]) for key, values in table.items()} for name, table in fast.items()}
        for name, row in rows.items():
            worst[name]["latency"] = max(worst[name]["latency"], relative(row["latency_ns"], run["latency_ns"]))
            worst[name]["energy"] = max(worst[name]["energy"], relative(row["energy_nj"], run["energy_nJ"]))
    return {"runs": len(known), "compared": compared, "worst_relative": worst}


def check_values() -> dict[str, Any]:
    """The multiplexed chip on the paper's scheduling figure, by the event engine."""
    golden = json.loads((GOLDEN / "multiplexed_check.json").read_text())
    figure = json.loads((GOLDEN / "paper_schedule_figure.json").read_text())
    trace = RoutingTrace.from_expert_ids([[expert - 1 for expert in row] for row in figure["token_experts"]], 8)
    groups = np.zeros(8, int)
    for index, members in enumerate(figure["groups"]):
        groups[[expert - 1 for expert in members]] = index
    worst, count = 0.0, 0
    for policy in ("token_wise", "compact", "reschedule"):
        wanted = [
            ({}, "moe_last_pass_ns", golden["last_pass_end"]["t_load_12"][policy]),
            ({"input_links": 1.0}, "moe_last_pass_ns", golden["last_pass_end"]["t_load_192"][policy]),
            ({}, "moe_latency_ns", golden["T_moe_t_load_12"]["c5"][policy]),
            ({"num_digital_units": 1.0}, "moe_latency_ns", golden["T_moe_t_load_12"]["c1"][policy]),
        ]
        for hardware, field, value in wanted:
            config = load_config(
                {
                    "model": {"num_experts": 8, "top_k": 4},
                    "hardware": hardware,
                    "plan": {"policy": policy, "group_of_expert": groups.tolist(), "barrier": True},
                }
            )
            found = np.ravel(getattr(simulate_chip(config, trace).cost, field))[0]
            worst, count = max(worst, abs(float(found) - value)), count + 1
    return {"values": count, "worst_difference_ns": worst, "golden_rounded_to_ns": 1e-3}


def crossbar_codes() -> dict[str, Any]:
    """Both CrossSim variants and the one with wires: codes that differ, largest difference."""
    meta = json.loads((GOLDEN / "crosssim_mvm.json").read_text())["files"]["small"]
    data = np.load(GOLDEN / "crosssim_mvm_golden_small.npz")
    weights, inputs = jnp.float32(data["W_int"] / 127), jnp.float32(data["X_int"] / 127)
    shape = {"rows": meta["rows"], "cols": meta["cols"]}
    variants = {
        "A": Crossbar.create(**shape, adc_range=meta["lim_A"]),
        "B": Crossbar.create(
            **shape, max_slices=4, max_cycles=7, cell_bits=2, cycle_bits=1, adc_bits=6, adc_range=meta["lim_B"]
        ),
    }
    out: dict[str, Any] = {}
    for name, crossbar in variants.items():
        gap = np.abs(np.asarray(crossbar_mvm(weights, inputs, crossbar)) - data[f"y_{name}"])
        # one code of the coarsest conversion is above 1e-2 of the result's unit
        out[name] = {"results": gap.size, "codes_that_differ": int((gap > 5e-3).sum()), "worst": float(gap.max())}
    with jax.enable_x64(True):
        wires = np.load(GOLDEN / "crosssim_irdrop_golden_small.npz")
        arrays = jnp.asarray(wires["W_int"] / 127), jnp.asarray(wires["X_int"] / 127)
        crossbar = Crossbar.create(rows=64, cols=64, wire_row=2e-4, wire_col=2e-4, adc_ideal=True)
        gap = np.abs(np.asarray(crossbar_mvm(*arrays, crossbar)) - wires["y_noadc"])
        out["wires"] = {"results": gap.size, "worst": float(gap.max())}
    return out


def main() -> None:
    """Compare and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few small cases, nothing is written")
    limit = 3 if parser.parse_args().quick else None
    document = {
        "reference_small": small_cases(limit),
        "multiplexed_check": check_values(),
        "crosssim": crossbar_codes(),
    }
    if limit is None:
        document["reference_published"] = published_runs(limit)
        print(f"wrote {write_json('validate_goldens', document)}")
    print(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
