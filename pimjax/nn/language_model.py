"""Small Mixture-of-Experts language models: parameters as a Flax module, the forward pass as a pure function."""

from __future__ import annotations

import dataclasses
import os
from typing import Any, Literal, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from pimjax import checks
from pimjax.array_typing import Array, ArrayLike
from pimjax.errors import ConfigError
from pimjax.nn.decoder_block import (
    LinearFunction,
    Parameters,
    Site,
    attend,
    attention_inputs,
    attention_output,
    combine,
    exact_linear,
    expert_outputs,
    moe_inputs,
    rms_norm,
)
from pimjax.trace.npz import read_npz, write_npz
from pimjax.trace.routers import causal_expert_choice, token_choice

Router = Literal["token_choice", "expert_choice"]
Activation = Literal["relu", "swiglu"]
_MODEL_WIDE = ("embedding", "final_norm")


@dataclasses.dataclass(frozen=True)
class LanguageModelConfig:
    """Shapes and choices of a model; static, hashable.

    Attributes:
      vocabulary: number of token ids.
      d_model: width ``d``; a multiple of twice `num_heads`.
      d_expert: hidden width of one expert.
      num_layers, num_heads, num_experts, top_k: ``L``, heads, ``E``, ``k`` (a mean under expert choice).
      router: "token_choice", or "expert_choice" with the causal rule at every position.
      activation: of the experts, "relu" or "swiglu".

    >>> LanguageModelConfig(router="expert_choice").top_k
    4
    """

    vocabulary: int = 128
    d_model: int = 64
    d_expert: int = 32
    num_layers: int = 3
    num_heads: int = 4
    num_experts: int = 16
    top_k: int = 4
    router: Router = "token_choice"
    activation: Activation = "relu"

    def __post_init__(self) -> None:
        for name in ("vocabulary", "d_model", "d_expert", "num_layers", "num_heads", "num_experts", "top_k"):
            checks.require(ConfigError, f"language model: {name}", getattr(self, name), checks.whole(1, 2**24))
        if self.d_model % (2 * self.num_heads):
            raise ConfigError(
                f"language model: d_model is {self.d_model}, but must be a multiple of "
                f"twice num_heads = {self.num_heads}"
            )
        if self.top_k > self.num_experts:
            raise ConfigError(f"language model: top_k is {self.top_k}, but there are {self.num_experts} experts")
        checks.require(ConfigError, "language model: router", self.router, checks.word("token_choice", "expert_choice"))
        checks.require(ConfigError, "language model: activation", self.activation, checks.word("relu", "swiglu"))

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every parameter; per-layer ones lead with ``L``, matrices are ``[out, in]``."""
        layers, width, experts = self.num_layers, self.d_model, self.num_experts
        square = (layers, width, width)
        shapes: dict[str, tuple[int, ...]] = {
            "embedding": (self.vocabulary, width),
            "attention_norm": (layers, width),
            "query": square,
            "key": square,
            "value": square,
            "attention_output": square,
            "moe_norm": (layers, width),
            "router": (layers, experts, width),
            "up": (layers, experts, self.d_expert, width),
            "gate": (layers, experts, self.d_expert, width),
            "down": (layers, experts, width, self.d_expert),
            "final_norm": (width,),
        }
        if self.activation == "relu":
            del shapes["gate"]
        return shapes


class ForwardResult(NamedTuple):
    """Everything one forward pass knows: logits ``[T, V]``, gate scores and choices ``[L, T, E]``, hidden states.

    `hidden` ``[L + 1, T, d]``: the residual stream before each layer and after the last.
    """

    logits: Array
    gate_scores: Array
    choices: Array
    hidden: Array


class LanguageModel(nnx.Module):
    """Decoder with attention and a Mixture of Experts in every layer; each weight is one ``nnx.Param``.

    The output head is the transposed embedding. See :func:`forward` for what is computed.

    >>> model = LanguageModel(LanguageModelConfig(num_layers=1), rngs=nnx.Rngs(0))
    >>> nnx.jit(lambda model, tokens: model(tokens).logits)(model, jnp.array([1, 2, 3])).shape
    (3, 128)
    """

    def __init__(self, config: LanguageModelConfig, *, rngs: nnx.Rngs) -> None:
        self.config = config
        for name, shape in config.shapes().items():
            if name.endswith("_norm"):
                value = jnp.ones(shape)
            else:
                depth = 2 * config.num_layers if name in ("down", "attention_output") else 1
                value = jax.random.normal(rngs.params(), shape) / np.sqrt(shape[-1] * depth)
            setattr(self, name, nnx.Param(value))

    def __call__(self, tokens: Array, **options: Any) -> ForwardResult:
        """:func:`forward` with this model's parameters."""
        return forward(self.parameters(), tokens, self.config, **options)

    def parameters(self) -> dict[str, Array]:
        """The weights as a flat dictionary of arrays, what :func:`forward` takes."""
        return {name: getattr(self, name)[...] for name in self.config.shapes()}


def check_parameters(parameters: Parameters, config: LanguageModelConfig, tokens: Any) -> None:
    """Raise ConfigError unless weights have the names and shapes of a configuration, and tokens are of its vocabulary."""
    for name, shape in config.shapes().items():
        if name not in parameters:
            raise ConfigError(f"parameters lack {name!r}: they must hold {', '.join(config.shapes())}")
        if np.shape(parameters[name]) != shape:
            raise ConfigError(
                f"parameters: {name} has shape {list(np.shape(parameters[name]))}, but the configuration says {list(shape)}"
            )
    checks.require(ConfigError, "tokens", tokens, checks.numbers(0, config.vocabulary - 1, integer=True))


def layer_weights(parameters: Parameters, layer: int) -> dict[str, Array]:
    """The parameters of one layer, without the leading ``L``."""
    return {name: value[layer] for name, value in parameters.items() if name not in _MODEL_WIDE}


def forward(
    parameters: Parameters,
    tokens: Array,
    config: LanguageModelConfig,
    *,
    choices: Array | None = None,
    prompt_tokens: ArrayLike = 1,
    num_tokens: ArrayLike | None = None,
    linear: LinearFunction = exact_linear,
) -> ForwardResult:
    """One pass over a whole sequence, unbatched and causal.

    Expert choice uses the admissions of :func:`~pimjax.trace.causal_expert_choice`; with ``prompt_tokens = 1`` no token
    sees a later one, which training and perplexity need. Gates: expert choice sums score times output; token choice
    divides the scores by their sum over the chosen experts.

    Args:
      parameters: arrays by name, see :meth:`LanguageModelConfig.shapes`; their dtype is the dtype of the computation.
      tokens: int ``[T]``.
      config: static.
      choices: bool ``[L, T, E]`` to use instead of the router's own decisions (scores are still computed).
      prompt_tokens: ``P``, tokens that expert choice sees together.
      num_tokens: int, real tokens; later ones take part in nothing that earlier ones see.
      linear: replaces every matrix product, see :data:`~pimjax.nn.decoder_block.LinearFunction`.

    Differentiable in: `parameters`; through the scores of chosen experts, not through the choice itself.
    """
    length = tokens.shape[0]
    positions = jnp.arange(length)
    visible = positions[None, :] <= positions[:, None]
    hidden = parameters["embedding"][tokens]
    states, scores, chosen = [hidden], [], []
    for layer in range(config.num_layers):
        weights = layer_weights(parameters, layer)
        query, key, value = attention_inputs(
            weights, hidden, positions, num_heads=config.num_heads, layer=layer, linear=linear
        )
        hidden = hidden + attention_output(weights, attend(query, key, value, visible), layer=layer, linear=linear)
        normed, gates = moe_inputs(weights, hidden, layer=layer, linear=linear)
        if choices is not None:
            admitted = choices[layer]
        else:
            admitted = admissions(gates, config, prompt_tokens=prompt_tokens, num_tokens=num_tokens)
        outputs = expert_outputs(weights, normed, activation=config.activation, layer=layer, linear=linear)
        hidden = hidden + combine(outputs, gates, admitted, renormalise=config.router == "token_choice")
        states.append(hidden)
        scores.append(gates)
        chosen.append(admitted)
    return ForwardResult(
        logits=output_logits(parameters, hidden, linear=linear),
        gate_scores=jnp.stack(scores),
        choices=jnp.stack(chosen),
        hidden=jnp.stack(states),
    )


def admissions(
    gates: Array, config: LanguageModelConfig, *, prompt_tokens: ArrayLike = 1, num_tokens: ArrayLike | None = None
) -> Array:
    """The router's decision bool ``[T, E]`` for gate scores ``[T, E]`` of a whole sequence."""
    if config.router == "token_choice":
        return token_choice(gates, config.top_k, num_tokens=num_tokens).choices
    return causal_expert_choice(gates, config.top_k, prompt_tokens=prompt_tokens, num_tokens=num_tokens)


def output_logits(parameters: Parameters, hidden: Array, *, linear: LinearFunction = exact_linear) -> Array:
    """Logits ``[T, V]`` of the next token from the last residual stream ``[T, d]``."""
    return linear(parameters["embedding"], rms_norm(hidden, parameters["final_norm"]), Site("output", -1))


def cross_entropy(logits: Array, targets: Array) -> Array:
    """Mean negative log-likelihood [nat per token] of int `targets` ``[T]``; its exponential is the perplexity.

    >>> round(float(cross_entropy(jnp.zeros((2, 4)), jnp.array([0, 3]))), 4)
    1.3863
    """
    log_probability = jax.nn.log_softmax(logits, axis=-1)
    return -jnp.take_along_axis(log_probability, targets[:, None], axis=-1).mean()


def save_parameters(path: str | os.PathLike[str], parameters: Parameters, config: LanguageModelConfig) -> None:
    """Write weights as float16 with their configuration to an ``.npz`` file."""
    arrays = {name: np.asarray(value, np.float16) for name, value in parameters.items()}
    settings = {f"config_{key}": np.asarray(value) for key, value in dataclasses.asdict(config).items()}
    write_npz(path, {**arrays, **settings})


@checks.checked(ConfigError, path=checks.path)
def load_parameters(path: str | os.PathLike[str]) -> tuple[dict[str, Array], LanguageModelConfig]:
    """Weights as float32 and the configuration from :func:`save_parameters`.

    Raises:
      TraceError: damaged file; ConfigError: weights that do not fit the configuration.
    """
    arrays = read_npz(path)
    try:
        fields = {
            field.name: arrays[f"config_{field.name}"].item() for field in dataclasses.fields(LanguageModelConfig)
        }
        config = LanguageModelConfig(**cast(dict[str, Any], fields))
        parameters = {name: jnp.asarray(arrays[name], jnp.float32) for name in config.shapes()}
    except KeyError as error:
        raise ConfigError(f"{os.fspath(path)} lacks {error.args[0]!r}: it holds no language model") from error
    wrong = [name for name, shape in config.shapes().items() if parameters[name].shape != shape]
    if wrong:
        raise ConfigError(
            f"{os.fspath(path)}: {wrong[0]} has shape {list(parameters[wrong[0]].shape)}, "
            f"but its configuration says {list(config.shapes()[wrong[0]])}"
        )
    return parameters, config
