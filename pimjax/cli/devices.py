"""How many devices the command line opens a CPU as."""

from __future__ import annotations

import contextlib
import os


def use_a_device_per_core() -> None:
    """Open the CPU as one device per core this process may use. Call before any other use of JAX.

    XLA runs the many small steps of a scan on one thread of a device, so one device would use one core. What the user
    says (`JAX_NUM_CPU_DEVICES`, `XLA_FLAGS`) stays; accelerators are not touched.
    """
    import jax

    if getattr(jax.config, "jax_num_cpu_devices", 0) > 0 or "host_platform_device_count" in os.environ.get(
        "XLA_FLAGS", ""
    ):
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(RuntimeError):  # devices are open already: they stay as they are
        jax.config.update("jax_num_cpu_devices", cores)
