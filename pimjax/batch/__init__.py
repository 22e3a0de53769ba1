"""Many configurations x many traces: `estimate_batch`, and sweeps that resume."""

from pimjax.batch.api import estimate_batch as estimate_batch
from pimjax.batch.tile import make_mesh as make_mesh
