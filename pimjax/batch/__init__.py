"""Many configurations x many traces: `estimate_batch`, and sweeps that resume."""

from pimjax.batch.api import estimate_batch
from pimjax.batch.tile import make_mesh

__all__ = ["estimate_batch", "make_mesh"]
