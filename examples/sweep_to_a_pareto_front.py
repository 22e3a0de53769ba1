"""Thousands of chips in one compiled program, and the front of latency against area.

python examples/sweep_to_a_pareto_front.py [points per axis]
"""

import sys

import numpy as np

import pimjax

count = int(sys.argv[1]) if len(sys.argv) > 1 else 40
config = pimjax.reference_config()
design, _ = pimjax.build(config)
units, mvm = np.meshgrid(np.linspace(1, 40, count), np.geomspace(50, 400, count))
points = design.set({"hardware.num_digital_units": units.ravel(), "hardware.mvm_latency_ns": mvm.ravel()})
result = pimjax.estimate_batch(points, pairing="zip", config=config)

order = np.argsort(result.area_mm2, kind="stable")
best, front = np.inf, []
for index in order:
    if result.latency_ns[index] < best:
        best = result.latency_ns[index]
        front.append(index)
print(f"{units.size} chips, {len(front)} on the front of latency and area")
for index in front[:: max(1, len(front) // 6)]:
    print(
        f"  {result.area_mm2[index]:8.1f} mm2  {result.latency_ns[index] / 1e3:8.2f} us  {units.ravel()[index]:5.1f} units"
    )
