"""Shared test settings: eight virtual CPU devices, strict promotion, run-time shape checks, trace folder."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = " ".join(
    [
        os.environ.get("XLA_FLAGS", ""),
        "--xla_force_host_platform_device_count=8",
        # Tests compile far more than they run. An unknown flag would end the process: only where they were tried.
        "--xla_backend_optimization_level=1 --xla_cpu_use_fusion_emitters=false"
        * version("jaxlib").startswith("0.10."),
    ]
)
os.environ.setdefault("PIMJAX_TYPECHECK", "1")
os.environ.setdefault("PIMJAX_CACHE", "off")  # tests leave nothing behind in the home folder

import jax
import pytest
from hypothesis import HealthCheck, settings

jax.config.update("jax_numpy_rank_promotion", "raise")

settings.register_profile("pimjax", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("pimjax")

_MANY_MAPS = 20_000

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="session")
def golden_folder() -> Path:
    """Folder of the numbers that outputs must agree with."""
    return GOLDEN


@pytest.fixture(scope="session")
def trace_folder() -> Path:
    """Folder of real routing traces; the test is skipped, naming the folder, where it is missing."""
    folder = Path(os.environ.get("PIMJAX_TRACES", Path(__file__).parents[2] / "shared" / "traces"))
    if not folder.is_dir():
        pytest.skip(f"no routing traces at {folder}: set PIMJAX_TRACES to the folder that holds them")
    return folder


@pytest.fixture(scope="module", autouse=True)
def _room_for_programs() -> Iterator[None]:
    """Compiled programs hold memory maps; Linux allows a process 65,530, and the compiler crashes beyond them."""
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and len(maps.read_bytes().splitlines()) > _MANY_MAPS:
        jax.clear_caches()
        gc.collect()
