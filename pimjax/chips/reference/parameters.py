"""Inputs of the authors' simulator, by their own names, and the passes that a run consists of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from pimjax.chips.reference.units import UnitCosts
from pimjax.errors import ConfigError


@dataclass(frozen=True)
class ReferenceParameters:
    """Inputs of the `reference` chip model; the defaults are those of the authors' driver.

    Plain numbers without checks: `pimjax.reference_config` validates. `costs.py` also accepts arrays in the fields.

    Attributes:
        d_model, d_ff, vocab, layers: widths of the model, tokens of its vocabulary, decoder layers.
        k, experts: experts per token, experts per layer; `experts = 0` is a dense model.
        frequency: layer i has experts if i mod frequency = 0, else one dense feed-forward network.
        start_len, new_length: prompt tokens, and tokens to generate.
        kv, go, prefill: caches on, and whether the prompt's pass is part of the run.
        tiles, tiers, tier_rows, tier_cols: analog tiles (None: as many as the mapping needs), tiers of each, and the
            rows and columns of a tier.
        dpus, mhas: digital units and attention units.
        mvm_latency: ns of one matrix-vector product.
        mvm_energy: nJ of one.
        comm_factor: factor on the latency and energy of every transfer into a tile.
        mvm_factor: the accelerator's own factor on the MVM latency of the prefill and the first decode pass.
        nhead, seed: recorded; neither has an effect on a result.
        units: what one operation costs.
    """

    d_model: int = 4096
    d_ff: int = 688
    vocab: int = 32000
    layers: int = 1
    k: int = 4
    experts: int = 16
    start_len: int = 32
    new_length: int = 1
    kv: bool = False
    go: bool = False
    prefill: bool = True
    tiles: int | None = None
    tiers: int = 1
    tier_rows: int = 256
    tier_cols: int = 256
    dpus: int = 5
    mhas: int = 4
    mvm_latency: float = 130
    mvm_energy: float = 12.5
    comm_factor: float = 1.0
    mvm_factor: float = 1.0
    frequency: int = 1
    nhead: int = 8
    seed: int = 0
    units: UnitCosts = field(default_factory=UnitCosts)

    def is_moe(self, layer: int) -> bool:
        """Whether this layer has experts.

        >>> [ReferenceParameters(layers=3, frequency=2).is_moe(layer) for layer in range(3)]
        [True, False, True]
        """
        return self.experts > 0 and layer % self.frequency == 0

    @property
    def num_moe_layers(self) -> int:
        """Number of layers that have experts."""
        return -(-self.layers // self.frequency) if self.experts > 0 else 0


class Pass(NamedTuple):
    """One pass of a run.

    Attributes:
        tokens: tokens in the pass's graph (n).
        length: sequence length that attention is charged for (L).
        decode: False for the prefill.
        decode_id: 0 for the prefill and for the first decode pass, then 1, 2, ...
        first: True for the first pass of the run: its embedding reads wait for nothing.
    """

    tokens: int
    length: int
    decode: bool
    decode_id: int
    first: bool


def list_passes(parameters: ReferenceParameters) -> tuple[Pass, ...]:
    """Passes of a run, in order: the prefill if enabled, then one for each further token.

    Raises `ConfigError` if there is none (`prefill=False` with `new_length=1`).

    >>> [p[:2] for p in list_passes(ReferenceParameters(start_len=6, new_length=3, kv=True, go=True))]
    [(6, 6), (1, 7), (1, 8)]
    >>> [p[:2] for p in list_passes(ReferenceParameters(start_len=6, new_length=3, kv=True, prefill=False))]
    [(7, 7), (8, 8)]
    """
    passes = []
    start = parameters.start_len
    if parameters.prefill:
        passes.append(Pass(start, start, False, 0, True))
    for index in range(parameters.new_length - 1):
        length = start + 1 + index
        tokens = 1 if parameters.go else length
        passes.append(Pass(tokens, length, True, index, not passes))
    if not passes:
        raise ConfigError(
            f"prefill is {parameters.prefill!r} with new_length {parameters.new_length!r}: such a run has no pass; "
            "set prefill to true or new_length to at least 2"
        )
    return tuple(passes)
