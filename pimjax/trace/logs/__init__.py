"""Routing logs as other programs write them, read into routing traces: vLLM, SGLang, transformers, JSON Lines."""
