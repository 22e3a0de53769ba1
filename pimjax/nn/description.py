"""The language models of this package as the section `model` of a configuration, so that their chips can be costed."""

from __future__ import annotations

from typing import Any

from pimjax.nn.language_model import LanguageModelConfig


def model_section(config: LanguageModelConfig) -> dict[str, Any]:
    """The keys of the section `model` that describe a language model; the output head is the transposed embedding.

    >>> import pimjax
    >>> section = model_section(LanguageModelConfig(num_layers=2, d_expert=20))
    >>> pimjax.load_config("paper_multiplexed", {f"model.{key}": value for key, value in section.items()}).model.d_ff
    20
    """
    return {
        "d_model": config.d_model,
        "d_ff": config.d_expert,
        "vocab_size": config.vocabulary,
        "num_layers": config.num_layers,
        "num_heads": config.num_heads,
        "num_experts": config.num_experts,
        "top_k": config.top_k,
        "activation": config.activation,
        "routing": config.router,
        "tied_embeddings": True,
        "attention": "gqa",
    }
