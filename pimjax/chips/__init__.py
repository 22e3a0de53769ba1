"""Chip models: what a transformer pass becomes on a chip, and what it costs."""
