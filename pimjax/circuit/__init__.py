"""Circuit-level components: area, energy per action and latency, each with unit, range and source."""
