"""Use routing recorded from your own model: a JSON Lines log with one token per line.

With a Hugging Face model, `output_router_logits=True` gives logits per layer; write their top-k as below.

    python examples/bring_your_own_trace.py
"""

import json
import tempfile
from pathlib import Path

import numpy as np

import pimjax
from pimjax.trace import read_router_log, trace_statistics

# Stand-in for a model's router: 2 layers, 24 tokens, 16 experts, k = 4.
logits = np.random.default_rng(0).gumbel(size=(2, 24, 16)) + np.linspace(1.5, 0, 16)
with tempfile.TemporaryDirectory() as folder:
    log = Path(folder) / "router.jsonl"
    with log.open("w") as stream:
        for layer, rows in enumerate(logits):
            for token, row in enumerate(rows):
                experts = np.argsort(-row)[:4].tolist()
                stream.write(json.dumps({"layer": layer, "token": token, "experts": experts}) + "\n")
    trace = read_router_log(log, num_experts=16).request(0)

print("imbalance per layer:", np.round(np.asarray(trace_statistics(trace).imbalance).mean(), 2))
for policy in ("token_wise", "compact", "reschedule", "packed"):
    config = pimjax.load_config("paper_multiplexed", {"plan.policy": policy, "model.num_layers": 2})
    result = pimjax.estimate(config, trace, fidelity="event")
    print(f"{policy:>10}: expert phases {result.moe_latency_ns / 1e3:.2f} us")
