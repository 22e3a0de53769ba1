"""Caches of a decoding transformer: gate outputs, keys and values, and an SRAM in front of the DRAM."""
