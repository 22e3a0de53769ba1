"""Mapping of the exact reference model: which block of which matrix lies on which tile."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pimjax.chips.reference.mapping import blocks_needed, map_model, tiles_needed
from pimjax.chips.reference.parameters import ReferenceParameters
from pimjax.errors import CapacityError

TOY = ReferenceParameters(d_model=512, d_ff=300, vocab=1000, k=2, experts=4, start_len=6)


def test_mapping_gives_every_block_its_own_tile_with_one_tier():
    parameters = replace(TOY, layers=2)
    mapping = map_model(parameters)
    used = [mapping.embedding, mapping.head, *(layer.router for layer in mapping.layers)]
    used += [getattr(layer, name) for layer in mapping.layers for name in ("qkv", "out", "up", "down")]
    flat = np.concatenate([tiles.ravel() for tiles in used])
    assert len(np.unique(flat)) == len(flat)
    assert mapping.tiles == blocks_needed(parameters) == 118


def test_mapping_with_tiers_stacks_tables_and_fills_evenly():
    """Two tiers: the token table's first two strips share two tiles, all else goes where fewest tiers are used."""
    parameters = replace(TOY, tiers=2)
    mapping = map_model(parameters)
    assert mapping.tiles == tiles_needed(parameters) == 34
    assert mapping.embedding.tolist() == [[0, 1]]
    # 8 token-table blocks: 4 on tiles 0 and 1, 4 on tiles 2 to 5; 2 position blocks on 6 and 7; q starts at 8.
    assert mapping.layers[0].qkv.ravel().tolist() == list(range(8, 20))
    counts = np.bincount(
        np.concatenate(
            [tiles.ravel() for tiles in (mapping.layers[0].qkv, mapping.layers[0].out, mapping.layers[0].router)]
            + [mapping.layers[0].up.ravel(), mapping.layers[0].down.ravel(), mapping.head.ravel()]
        ),
        minlength=34,
    )
    counts[:2] += 2
    counts[2:8] += 1
    assert counts.tolist() == [2] * 34
    assert not mapping.own_tiles


def test_too_few_tiles_are_refused():
    with pytest.raises(CapacityError, match="tiles is 67 with 1 tiers each: the model needs 68 blocks"):
        map_model(replace(TOY, tiles=67))
