"""Attention kinds that a layer may have, and the sizes that only some kinds need."""

from __future__ import annotations

from pydantic import model_validator

from pimjax.config.base import Section, option

#: full: every earlier token; sliding: the last `sliding_window` tokens; chunked: the tokens of the query's own chunk;
#: sparse: the tokens an indexer picks; linear: gated delta rule, a matrix of state per head; mamba: Mamba-2, a state
#: per head; none: no attention at all (the layer is a feed-forward block).
LAYER_KINDS = ("full", "sliding", "chunked", "sparse", "linear", "mamba", "none")

#: kind -> what a person calls such layers: "... layers"
PLAIN_NAMES = {
    "full": "full-attention",
    "sliding": "sliding-window",
    "chunked": "chunked-attention",
    "sparse": "sparse-attention (DSA, with an indexer)",
    "linear": "linear-attention (gated delta rule)",
    "mamba": "Mamba-2",
    "none": "attention-free feed-forward",
}

MAX_WIDTH = 2**24
MAX_COUNT = 2**16
MAX_STATE = 2**28  # values of a recurrent state, of a convolution: their small multiples fit an int32


class FullLayersConfig(Section):
    """What full-attention layers have otherwise than the windowed layers of the same model (Gemma 4)."""

    head_dim: int | None = option(None, about="Width of one head; null: as in the other layers", ge=1, le=MAX_WIDTH)
    num_kv_heads: int | None = option(
        None, about="Key/value heads; null: as in the other layers", ge=1, le=MAX_COUNT
    )  # fmt: skip
    keys_are_values: bool = option(False, about="The key projection gives the values too: no value matrix")


class IndexerConfig(Section):
    """The indexer of sparse attention (DSA): a small attention that picks the tokens the large one sees."""

    heads: int = option(..., about="Heads of the indexer", ge=1, le=MAX_COUNT)
    head_dim: int = option(..., about="Width of one indexer head [values]", ge=1, le=MAX_WIDTH)
    top_k: int = option(..., about="Tokens each query attends to", ge=1, le=2**31 - 1)
    reusing_layers: tuple[int, ...] = option(
        (), about="Layers without an indexer of their own: they take the tokens the layer before picked", strict=False
    )


class LinearAttentionConfig(Section):
    """Gated linear attention (gated delta rule) of Qwen3-Next and Qwen3.5."""

    key_heads: int = option(..., about="Query and key heads", ge=1, le=MAX_COUNT)
    key_head_dim: int = option(..., about="Width of one query or key head [values]", ge=1, le=MAX_WIDTH)
    value_heads: int = option(..., about="Value heads", ge=1, le=MAX_COUNT)
    value_head_dim: int = option(..., about="Width of one value head [values]", ge=1, le=MAX_WIDTH)
    conv_kernel: int = option(4, about="Tokens the causal convolution before it covers", ge=1, le=MAX_COUNT)

    @model_validator(mode="after")
    def _consistent(self) -> LinearAttentionConfig:
        if self.value_heads % self.key_heads:
            raise ValueError(
                f"model.linear.value_heads is {self.value_heads}; it must be a multiple of key_heads = {self.key_heads}"
            )
        return self

    @property
    def keys(self) -> int:
        """Width of all keys [values]."""
        return self.key_heads * self.key_head_dim

    @property
    def values(self) -> int:
        """Width of all values [values]."""
        return self.value_heads * self.value_head_dim

    @property
    def convolved(self) -> int:
        """Channels of the convolution: queries, keys and values [values]."""
        return 2 * self.keys + self.values

    @property
    def state_values(self) -> int:
        """Values of the state of one sequence and layer, read and written for every token."""
        return self.value_heads * self.key_head_dim * self.value_head_dim


class MambaConfig(Section):
    """A Mamba-2 layer (Nemotron-H, Granite 4 hybrids)."""

    heads: int = option(..., about="Heads", ge=1, le=MAX_COUNT)
    head_dim: int = option(..., about="Width of one head [values]", ge=1, le=MAX_WIDTH)
    state: int = option(..., about="Width of the state of one channel [values]", ge=1, le=MAX_WIDTH)
    groups: int = option(1, about="Groups of heads that share B and C", ge=1, le=MAX_COUNT)
    conv_kernel: int = option(4, about="Tokens the causal convolution covers", ge=1, le=MAX_COUNT)
    conv_bias: bool = option(True, about="Bias on the convolution")
    projection_bias: bool = option(False, about="Biases on the input and output projections")

    @property
    def inner(self) -> int:
        """Width of all heads [values]."""
        return self.heads * self.head_dim

    @property
    def convolved(self) -> int:
        """Channels of the convolution: the heads, B and C [values]."""
        return self.inner + 2 * self.groups * self.state

    @property
    def projected(self) -> int:
        """Outputs of the input projection: gate, convolved channels, one time step per head [values]."""
        return self.inner + self.convolved + self.heads

    @property
    def state_values(self) -> int:
        """Values of the state of one sequence and layer, read and written for every token."""
        return self.inner * self.state
