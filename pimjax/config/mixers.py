"""What mixes tokens in each layer (attention, or a recurrent state), as rows of numbers that the chips read.

Layers that mix alike share a row. A *block* is a mixer with the feed-forward part behind it; where each layer is one
of the two (`single_block_layers`), a feed-forward layer makes one block with the layer before it: norm, mixer,
addition, norm, feed-forward, addition, as in any other model.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

from pimjax.config.model import ModelConfig


class Mixer(NamedTuple):
    """One kind of mixer, in whole numbers; 0 where it has none of it, or where the model's own number holds."""

    head_dim: int = 0  # width of a head; 0: the model's
    kv_heads: int = 0  # 0: the model's
    one_projection: int = 0  # keys are the values too: no value matrix
    is_state: int = 0  # a state of fixed size in place of keys and values
    first: int = 0  # outputs of further matrices that read the layer's input, at most three
    second: int = 0
    third: int = 0
    expanded: int = 0  # outputs of one more matrix that reads the compressed queries
    mixed: int = 0  # state: width of what the output projection reads
    heads: int = 0  # state: heads that are dealt to the attention units
    is_gated: int = 0  # a gate as wide as the query multiplies the output
    is_sliding: int = 0  # sees the model's sliding window
    window: int = 0  # another limit of what a query sees: chunk, or tokens an indexer picks
    is_chunked: int = 0  # the limit is the query's own chunk
    keeps_all: int = 0  # tokens beyond the limit stay cached
    index_heads: int = 0  # indexer
    index_dim: int = 0
    products: int = 0  # state: multiplications of one token
    state_values: int = 0  # read and written for every token
    held_values: int = 0  # inputs of the convolution that are kept, read for every token
    new_values: int = 0  # of them written for every token


class Block(NamedTuple):
    """A mixer and the feed-forward part behind it, as layers of the model."""

    mixer: int
    feed_forward: int | None


def blocks_of(model: ModelConfig) -> list[Block]:
    """Blocks of a model, in order; feed-forward layers without a mixer before them are left out (no chip costs them).

    >>> blocks_of(ModelConfig(num_layers=2))
    [Block(mixer=0, feed_forward=0), Block(mixer=1, feed_forward=1)]
    >>> pair = ModelConfig(num_layers=3, single_block_layers=True, layer_types=("full", "none", "full"))
    >>> blocks_of(pair)
    [Block(mixer=0, feed_forward=1), Block(mixer=2, feed_forward=None)]
    """
    if not model.single_block_layers:
        return [Block(layer, layer) for layer in range(model.num_layers)]
    found: list[Block] = []
    for layer in range(model.num_layers):
        if model.layer_kind(layer) != "none":
            found.append(Block(layer, None))
        elif found and found[-1].feed_forward is None:
            found[-1] = Block(found[-1].mixer, layer)
    return found


def lone_feed_forward_layers(model: ModelConfig) -> int:
    """Feed-forward layers with no mixer between them and the one before.

    >>> lone_feed_forward_layers(ModelConfig(num_layers=3, single_block_layers=True, layer_types=("none", "full", "none")))
    1
    """
    if not model.single_block_layers:
        return 0
    paired = sum(block.feed_forward is not None for block in blocks_of(model))
    return model.count_layers("none") - paired


def mixer_of(model: ModelConfig, layer: int) -> Mixer:
    """The mixer of one layer.

    >>> mixer_of(ModelConfig(), 0) == Mixer()
    True
    """
    kind = model.layer_kind(layer)
    if kind == "linear":
        return _linear(model)
    if kind == "mamba":
        return _mamba(model)
    gate = int(model.output_gate)
    if kind == "sparse":
        return _sparse(model, layer)
    own = model.full_layers if kind == "full" else None
    made = Mixer(is_gated=gate)
    if own is not None:
        made = made._replace(
            head_dim=own.head_dim or 0, kv_heads=own.num_kv_heads or 0, one_projection=int(own.keys_are_values)
        )
    if kind == "chunked":
        return made._replace(window=model.chunk_tokens, is_chunked=1)
    return made._replace(is_sliding=int(kind == "sliding"))


def _sparse(model: ModelConfig, layer: int) -> Mixer:
    """Latent attention to the tokens that an indexer picks; its queries come from the compressed ones."""
    indexer = model.indexer
    assert indexer is not None
    made = Mixer(window=indexer.top_k, keeps_all=1, is_gated=int(model.output_gate))
    if layer in indexer.reusing_layers:
        return made
    return made._replace(
        first=indexer.head_dim,
        second=indexer.heads,
        expanded=indexer.heads * indexer.head_dim,
        index_heads=indexer.heads,
        index_dim=indexer.head_dim,
    )


def _linear(model: ModelConfig) -> Mixer:
    """Gated delta rule: of each value of the state decay, product with the key, update, product with the query."""
    linear = model.linear
    assert linear is not None
    return Mixer(
        is_state=1,
        first=linear.convolved,
        second=linear.values,
        third=2 * linear.value_heads,
        mixed=linear.values,
        heads=linear.value_heads,
        products=4 * linear.state_values + linear.convolved * linear.conv_kernel + linear.values,
        state_values=linear.state_values,
        held_values=linear.convolved * (linear.conv_kernel - 1),
        new_values=linear.convolved,
    )


def _mamba(model: ModelConfig) -> Mixer:
    """Mamba-2: of each value of the state decay, update, product with C; a skip and a gate for each channel."""
    mamba = model.mamba
    assert mamba is not None
    return Mixer(
        is_state=1,
        first=mamba.projected,
        mixed=mamba.inner,
        heads=mamba.heads,
        products=3 * mamba.state_values + mamba.convolved * mamba.conv_kernel + 2 * mamba.inner,
        state_values=mamba.state_values,
        held_values=mamba.convolved * (mamba.conv_kernel - 1),
        new_values=mamba.convolved,
    )


class MixerTable(NamedTuple):
    """The different mixers of a model and which block has which.

    Attributes:
        rows: each different mixer once, in order of their first blocks.
        of_block: index into `rows` for each block.
        is_moe: whether the block has routed experts.
        has_feed_forward: whether it has a feed-forward part at all.
    """

    rows: tuple[Mixer, ...]
    of_block: tuple[int, ...]
    is_moe: tuple[bool, ...]
    has_feed_forward: tuple[bool, ...]

    def counts(self) -> list[int]:
        """Blocks of each row."""
        return [self.of_block.count(row) for row in range(len(self.rows))]


@functools.lru_cache(maxsize=256)
def mixer_table(model: ModelConfig) -> MixerTable:
    """The table of a model.

    >>> table = mixer_table(ModelConfig(num_layers=4, sliding_window=8, layer_types=("sliding", "full")))
    >>> table.of_block, table.counts()
    ((0, 1, 0, 1), [2, 2])
    """
    found = blocks_of(model)
    mixers = [mixer_of(model, block.mixer) for block in found]
    rows = tuple(dict.fromkeys(mixers)) or (Mixer(),)
    place = {row: index for index, row in enumerate(rows)}
    return MixerTable(
        rows,
        tuple(place[mixer] for mixer in mixers),
        tuple(block.feed_forward is not None and model.is_moe_layer(block.feed_forward) for block in found),
        tuple(block.feed_forward is not None for block in found),
    )
