"""What one run costs: `estimate` on the host, `estimate_kernel` under jit, vmap and grad."""

from pimjax.estimation.api import estimate as estimate
from pimjax.estimation.kernel import estimate_kernel as estimate_kernel
from pimjax.estimation.result import Estimate as Estimate
