"""Estimate one chip exactly and by the fast models, and see what bounds it.

python examples/estimate_a_chip.py
"""

import pimjax
from pimjax.estimation.explain import explain

config = pimjax.load_config("paper_multiplexed", {"workload.prompt_tokens": 32})
for fidelity in ("event", "closed"):
    result = pimjax.estimate(config, fidelity=fidelity)
    print(
        f"{fidelity:>6}: {result.latency_ns / 1e3:.2f} us, {result.energy_nj / 1e3:.1f} uJ, {result.area_mm2:.0f} mm2"
    )

print("\nWhat bounds the latency:")
for row in explain(config, result)["bounds"][:3]:
    print(f"  {row['share']:6.1%}  {row['component']}: {row['meaning']}")
