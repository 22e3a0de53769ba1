"""Speed of the gate-output cache's bookkeeping: sequences x steps/s, threshold lists, one program.

The peer is a NumPy loop over tokens that keeps all scores and counts rivals (the definition), for the same decisions.

    python benchmarks/speed/cache_bookkeeping.py [--quick]
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.lib.harness import time_compiled, write_json
from benchmarks.lib.workloads import admitted_scan
from pimjax.cache.capacity import capacity_at, capacity_law, list_length
from pimjax.cache.threshold import threshold_init

FLOOR_STEPS_PER_S = 1000.0


def numpy_peer(scores: np.ndarray, capacity: np.ndarray) -> np.ndarray:
    """Admitted `[N, B, E]` by counting older scores, scores `[N, B, E]` float16."""
    admitted = np.empty(scores.shape, bool)
    for t in range(len(scores)):
        admitted[t] = (scores[:t] >= scores[t]).sum(axis=0) < capacity[t]
    return admitted


def measure(sequences: int, tokens: int, experts: int, top_k: int, repeats: int) -> dict[str, Any]:
    """One size, checked against the peer on the first sequences."""
    law = capacity_law(experts, top_k, max_tokens=tokens)
    size = list_length(experts, top_k, tokens)
    scores = jax.jit(lambda key: jax.nn.softmax(jax.random.normal(key, (tokens, sequences, experts)), axis=-1))(
        jax.random.key(0)
    )
    states = jax.vmap(lambda _: threshold_init(experts, size))(jnp.arange(sequences))
    timing = time_compiled(admitted_scan, states, scores, law, repeats=repeats)
    admitted = np.asarray(jax.jit(admitted_scan)(states, scores, law)[1][0])
    few = min(sequences, 16)
    half = np.asarray(scores[:, :few]).astype(np.float16)
    begin = time.perf_counter()
    wanted = numpy_peer(half, np.asarray(capacity_at(law, np.arange(1, tokens + 1))))
    peer_s = time.perf_counter() - begin
    rate = tokens / timing["median_s"]
    return {
        "sequences": sequences,
        "steps": tokens,
        "experts": experts,
        "top_k": top_k,
        "list_length": size,
        "state_bytes": int(sequences * experts * size * 2),
        **timing,
        "steps_per_s": rate,
        "sequence_steps_per_s": rate * sequences,
        "numpy_sequence_steps_per_s": few * tokens / peer_s,
        "ratio_to_numpy": rate * sequences / (few * tokens / peer_s),
        "equal_to_numpy": bool((admitted[:, :few] == wanted).all()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one small size, for continuous integration")
    parser.add_argument("--all", action="store_true", help="also 65,536 sequences at once")
    arguments = parser.parse_args()
    sizes = [(64, 64)] if arguments.quick else [(1024, 512), (8192, 128)]
    if arguments.all:
        sizes.append((65536, 64))
    rows = []
    for sequences, tokens in sizes:
        row = measure(sequences, tokens, 16, 4, repeats=2 if arguments.quick else 5)
        rows.append(row)
        print(
            f"{sequences:6d} sequences x {tokens} steps: {row['steps_per_s']:8.0f} steps/s "
            f"({row['sequence_steps_per_s']:.3g} sequence-steps/s, {row['ratio_to_numpy']:.1f} x NumPy), "
            f"state {row['state_bytes'] / 1e6:.1f} MB, compile {row['compile_s']:.2f} s, equal: {row['equal_to_numpy']}"
        )
        if not row["equal_to_numpy"]:
            raise SystemExit("decisions differ from the NumPy peer")
    payload = {"rows": rows, "load_average": os.getloadavg()[0], "floor_steps_per_s_at_1024": FLOOR_STEPS_PER_S}
    if not arguments.quick:
        payload["floor_met"] = rows[0]["steps_per_s"] >= FLOOR_STEPS_PER_S
        print("written to", write_json("cache_bookkeeping", payload))


if __name__ == "__main__":
    main()
