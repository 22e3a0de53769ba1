"""The weights of a decoder as one pytree: arrays by name, numbers, and the static shape of each layer."""

from __future__ import annotations

from flax import struct

from pimjax.array_typing import Array
from pimjax.nn.decoder.architecture import LayerNumbers, LayerShape


@struct.dataclass
class LayerWeights:
    """One layer; layers of one `shape` and equal widths run through one compiled program.

    Attributes:
      arrays: parameters by name; matrices ``[out, in]``, those of experts ``[E, out, in]``. Attention: `query` (MLA:
        `query_down`, `query_down_norm`, `query_up` where queries are compressed), `key`, `value` (MLA: `latent_down`,
        `latent_norm`, `latent_up`), `attention_output`, perhaps `query_norm`, `key_norm`, `sinks`. Feed-forward:
        `router` and perhaps `router_correction`, `gate`, `up`, `down`; `shared_` and `dense_` blocks alike. Norms:
        `attention_norm`, `feed_forward_norm`. A matrix NAME may have a `NAME_bias`.
      numbers: data.
      shape: static.
    """

    arrays: dict[str, Array]
    numbers: LayerNumbers
    shape: LayerShape = struct.field(pytree_node=False)


@struct.dataclass
class DecoderWeights:
    """A whole decoder. `outside`: `embedding` ``[V, d]``, `final_norm` ``[d]``, `output` ``[V, d]`` unless tied."""

    outside: dict[str, Array]
    layers: tuple[LayerWeights, ...]
