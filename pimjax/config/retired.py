"""Keys of older configurations that still load: what became of each. The loader drops them and says so."""

from __future__ import annotations

RETIRED = {
    "plan.pipeline_layers": "throughput with one request in flight per layer stands in every result "
    "(pipeline_tokens_per_s)",
}
"""Dotted key -> what became of it."""
