"""Flax layers and small language models, exact or through crossbars."""
