"""A Mixture-of-Experts layer on crossbars, its router on a crossbar or digital, its experts sharing converters."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from pimjax import checks
from pimjax.array_typing import Array, ArrayLike, HostArray
from pimjax.errors import NumericsError
from pimjax.nn.crossbar_expert import CrossbarExpertMLP, split_optional, stack_of_experts
from pimjax.nn.crossbar_linear import CrossbarLinear
from pimjax.nn.decoder_block import combine
from pimjax.numerics.settings import Crossbar
from pimjax.numerics.sharing import Converters, draw_shared_converters
from pimjax.trace.rounding import gate_scores
from pimjax.trace.routers import causal_expert_choice, token_choice

ROUTERS = ("crossbar", "digital")
ROUTINGS = ("token_choice", "expert_choice")


class CrossbarMoE(nnx.Module):
    """Router and experts on crossbars; one sequence [T, d_model] -> [T, d_model].

    `router` is the configuration's key (`plan.router`): "crossbar" or "digital". `routing`: "token_choice" (scores
    divided by their sum over the chosen) or "expert_choice" under the causal rule (scores as they are).
    `group_of_expert` int [E]: experts of one group share their converters position by position; None: nobody shares.
    Raises NumericsError for unknown names and for a group map of another length.

    >>> moe = CrossbarMoE(8, 16, 4, 2, Crossbar.create(rows=8), rngs=nnx.Rngs(0))
    >>> moe.calibrate(jax.random.normal(jax.random.key(0), (6, 8)))
    >>> moe(jnp.ones((6, 8))).shape
    (6, 8)
    """

    @checks.checked(
        NumericsError,
        d_model=checks.whole(1, 2**24),
        d_expert=checks.whole(1, 2**24),
        num_experts=checks.whole(1, 65_536),
        top_k=checks.whole(1, 65_536),
        crossbar=checks.instance(Crossbar, "a Crossbar from Crossbar.create"),
        activation=checks.word("relu", "swiglu"),
        routing=checks.text,
        router=checks.text,
        group_of_expert=checks.numbers(0, dims=1, integer=True),
        rngs=checks.instance(nnx.Rngs, "random streams: nnx.Rngs(seed)"),
    )
    def __init__(
        self,
        d_model: int,
        d_expert: int,
        num_experts: int,
        top_k: int,
        crossbar: Crossbar,
        *,
        activation: str = "relu",
        routing: str = "token_choice",
        router: str = "crossbar",
        group_of_expert: HostArray | None = None,
        rngs: nnx.Rngs,
    ) -> None:
        for name, value, allowed in (("router", router, ROUTERS), ("routing", routing, ROUTINGS)):
            if value not in allowed:
                raise NumericsError(f"{name} is {value!r}; it must be one of {', '.join(allowed)}")
        if not 1 <= top_k <= num_experts:
            raise NumericsError(f"top_k is {top_k}; it must lie from 1 to num_experts = {num_experts}")
        if group_of_expert is not None and len(group_of_expert) != num_experts:
            raise NumericsError(f"group_of_expert has {len(group_of_expert)} entries for {num_experts} experts")
        self.num_experts, self.top_k, self.routing, self.router_kind = num_experts, top_k, routing, router
        self.groups = None if group_of_expert is None else tuple(int(group) for group in group_of_expert)
        self.router = CrossbarLinear(d_model, num_experts, crossbar, rngs=rngs)
        self.experts = stack_of_experts(num_experts, d_model, d_expert, crossbar, activation=activation, rngs=rngs)

    def calibrate(self, inputs: Array, **options: Any) -> None:
        """Set every range from sample `inputs` [.., d_model]; experts see all of them."""
        self.router.calibrate(inputs, **options)
        nnx.vmap(lambda expert, inputs: expert.calibrate(inputs, **options), in_axes=(0, None))(self.experts, inputs)

    def scores(self, inputs: Array, *, chip_key: Array | None = None, read_key: Array | None = None) -> Array:
        """Gate scores [T, E], float16 values, as the router of this layer computes them."""
        if self.router_kind == "digital":
            return gate_scores(inputs @ self.router.weight[...].T)
        return gate_scores(self.router(inputs, chip_key=chip_key, read_key=read_key))

    def __call__(
        self,
        inputs: Array,
        *,
        chip_key: Array | None = None,
        read_key: Array | None = None,
        num_tokens: ArrayLike | None = None,
        choices: Array | None = None,
    ) -> Array:
        """Route and compute every expert on every token, then keep what was chosen (exact, not sparse).

        `num_tokens`: later rows are padding. `choices` bool [T, E] replaces the layer's own decisions, as a
        gate-output cache does for tokens that arrive one by one. Keys as for `CrossbarLinear`.
        """
        checks.require(NumericsError, "inputs", inputs, checks.numbers(dims=2, valued=False, filled=True))
        chip_keys, read_keys = split_optional(chip_key, 3), split_optional(read_key, 2)
        scores = self.scores(inputs, chip_key=chip_keys[0], read_key=read_keys[0])
        if choices is not None:
            pass
        elif self.routing == "token_choice":
            choices = token_choice(scores, self.top_k, num_tokens=num_tokens).choices
        else:
            choices = causal_expert_choice(scores, self.top_k, num_tokens=num_tokens)
        converters = self._converters(chip_keys[2])

        def one(expert: CrossbarExpertMLP, index: Array, converters: dict[str, Converters] | None) -> Array:
            folded = [None if key is None else jax.random.fold_in(key, index) for key in (chip_keys[1], read_keys[1])]
            return expert(inputs, chip_key=folded[0], read_key=folded[1], converters=converters)

        axes = (0, 0, None if converters is None else 0)
        outputs = nnx.vmap(one, in_axes=axes)(self.experts, jnp.arange(self.num_experts), converters)
        return combine(outputs, scores, choices, renormalise=self.routing == "token_choice")

    def _converters(self, key: Array | None) -> dict[str, Converters] | None:
        if self.groups is None or key is None:
            return None
        groups = jnp.asarray(self.groups, jnp.int32)
        drawn = {}
        for index, (name, layer) in enumerate(self.experts.layers().items()):
            settings = jax.tree.map(lambda leaf: leaf[0], layer.settings.get_value())
            blocks = -(-layer.in_features // settings.rows)
            drawn[name] = draw_shared_converters(
                settings,
                (settings.max_slices, blocks, layer.out_features),
                groups,
                num_groups=max(self.groups) + 1,
                key=jax.random.fold_in(key, index),
            )
        return drawn
