"""Intervals of the headline metrics over the ranges of the hardware's numbers, and which numbers move them most.

Every number of the hardware section that is a fact about silicon is drawn from its range, independently, with the
nominal value as median (:func:`pimjax.circuit.uncertainty.draw_between`): the range its source gives, or the wide one
of an assumption. A published number whose source gives no spread is drawn within ten per cent, and the report says so.
What a designer chooses (rows, bits, unit counts, links, buffers, node, supply) is not uncertain, and what the run does not
read is not drawn. Cores and digital macros that are computed follow from the circuits' constants, each drawn from its own
range: with `plan.tile` parametric or digital_sram, and where parts lie on macros beside measured crossbars.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pimjax import checks
from pimjax import status as status_bits
from pimjax.array_typing import HostArray
from pimjax.chips import CHIPS
from pimjax.chips.ledger import every_read
from pimjax.circuit.constants import nominal_constants
from pimjax.circuit.uncertainty import draw_between, sample_constants, squared_rank_correlation
from pimjax.compiling import quick_compilation
from pimjax.config.base import field_facts
from pimjax.config.build import build
from pimjax.config.config import Config
from pimjax.errors import ConfigError, shown
from pimjax.estimation.result import from_run_cost
from pimjax.runs.requests import resolve
from pimjax.trace.routing import RoutingTrace

METRICS = (
    "latency_ns",
    "energy_nj",
    "area_mm2",
    "tokens_per_s",
    "gops_per_w",
    "gops_per_w_per_mm2",
    "moe_latency_ns",
    "moe_area_mm2",
)
#: Relative half-width for published numbers without a spread.
UNSTATED_SPREAD = 0.1
#: 99 % quantile of chi-squared with one degree of freedom: (N - 1) rho^2 of unrelated numbers stays below it.
_CHANCE = 6.635


def uncertain_fields(config: Config) -> dict[str, tuple[float, float, float, bool]]:
    """Hardware number that the run reads -> (low, value, high, whether the range is stated by a source or an assumption).

    >>> uncertain_fields(Config())["mvm_energy_nj"]
    (9.0, 12.48, 16.0, True)
    """
    out = {}
    chip = CHIPS[config.chip_model]
    active = {read.key for _, read, of_run in every_read(chip) if of_run and read.is_active(config)}
    for name, facts in field_facts(chip.hardware).items():
        value = getattr(config.hardware, name)
        if facts["chosen"] or value is None or f"hardware.{name}" not in active:
            continue
        noted = config.sources.get(f"hardware.{name}", {})
        spread = noted.get("range") or facts["spread"]
        number = float(value)
        low, high = spread or ((1 - UNSTATED_SPREAD) * number, (1 + UNSTATED_SPREAD) * number)
        if float(low) < float(high):
            out[name] = (min(float(low), number), number, max(float(high), number), spread is not None)
    return out


@checks.checked(
    ConfigError,
    config=checks.instance(Config, "a Config from pimjax.load_config"),
    fidelity=checks.text,
    samples=checks.whole(2, 2**24),
    seed=checks.whole(0, 2**63 - 1),
    level=checks.numbers(0, 1, dims=0, above=True),
    top=checks.whole(0),
)
def uncertainty(
    config: Config,
    trace: RoutingTrace | None = None,
    fidelity: str = "fluid",
    *,
    samples: int = 256,
    seed: int = 0,
    level: float = 0.9,
    top: int = 5,
) -> dict[str, Any]:
    """Monte Carlo over the hardware's numbers: one vmapped, compiled program. Host function, float64.

    Args:
        config: a configuration.
        trace: as for :func:`pimjax.estimate`.
        fidelity: "fluid" or "closed".
        samples: draws.
        seed: of the draws.
        level: probability between `low` and `high`.
        top: how many numbers to name per metric.

    Returns:
        `metrics`: per headline metric `nominal`, `low`, `median`, `high` and `moved_by` (names with their squared rank
        correlation, where so many draws tell it from chance at 1 %); `drawn`: the ranges; `unstated`: numbers drawn within ten per cent for want of a spread;
        `samples`, `failed`, `level`.

    Raises:
        ConfigError: fewer than 2 samples, or fidelity "event".

    >>> found = uncertainty(Config(), fidelity="closed", samples=16)
    >>> found["metrics"]["area_mm2"]["low"] < found["metrics"]["area_mm2"]["high"]
    True
    """
    if fidelity not in ("fluid", "closed"):
        raise ConfigError(f"fidelity: {shown(fidelity)} cannot be drawn many times; allowed: fluid, closed")
    if samples < 2:
        raise ConfigError(f"uncertainty needs at least 2 samples, got {samples}")
    chip = CHIPS[config.chip_model]
    config, requests = resolve(config, trace) if chip.takes_routing else (config, None)
    design, capacity = build(config)
    inputs = chip.inputs(config, requests, fidelity=fidelity, capacity=capacity)
    circuits = chip.uncertain_constants(config, design)
    ranges = uncertain_fields(config)
    draws, constants = _draws(ranges, () if circuits is None else circuits.names, samples, seed)
    nominal = {name: value for name, (_, value, _, _) in ranges.items()}
    with jax.enable_x64(True):
        point, inputs = jax.tree.map(jnp.asarray, (design, inputs))
    price = chip.cost if circuits is None else circuits.cost

    def metrics(values: dict[str, jax.Array], constants: dict[str, jax.Array]) -> dict[str, jax.Array]:
        drawn = point.set({f"hardware.{name}": value for name, value in values.items()})
        more = {"constants": constants} if constants else {}
        cost = price(drawn, inputs, capacity=capacity, fidelity=fidelity, critical=False, **more)
        result = from_run_cost(cost, drawn.hardware, chip)
        return {name: getattr(result, name) for name in (*METRICS, "status")}

    with jax.enable_x64(True):
        lanes = [
            {name: np.append(drawn, middle[name]) for name, drawn in part.items()}
            for part, middle in ((draws, nominal), (constants, nominal_constants()))
        ]
        found = jax.jit(jax.vmap(metrics), compiler_options=quick_compilation())(*lanes)
        values: dict[str, np.ndarray] = {name: np.asarray(value) for name, value in found.items()}
    return _summary(values, {**draws, **constants}, ranges, level, top)


def _draws(
    ranges: dict[str, tuple[float, float, float, bool]], constants: tuple[str, ...], samples: int, seed: int
) -> tuple[dict[str, HostArray], dict[str, HostArray]]:
    """Draws `[N]` of hardware numbers, and of constants, by name."""
    fields, circuit = jax.random.split(jax.random.key(seed))
    with jax.enable_x64(True):
        uniform = jax.random.uniform(fields, (len(ranges), samples), jnp.float64)
        draws = {
            name: np.asarray(draw_between(low, value, high, uniform[row]))
            for row, (name, (low, value, high, _)) in enumerate(ranges.items())
        }
        drawn = sample_constants(constants, key=circuit, num_samples=samples) if constants else {}
    return draws, {name: np.asarray(value) for name, value in drawn.items()}


def _summary(
    found: dict[str, HostArray],
    draws: dict[str, HostArray],
    ranges: dict[str, tuple[float, float, float, bool]],
    level: float,
    top: int,
) -> dict[str, Any]:
    fatal = sum(bit for bit, (_, _, bad) in status_bits.MEANING.items() if bad)
    good = (found["status"][:-1] & fatal) == 0
    tails = ((1 - level) / 2, 0.5, (1 + level) / 2)
    noise = _CHANCE / max(int(good.sum()) - 1, 1)
    metrics = {}
    for name in METRICS:
        values = found[name][:-1][good]
        if not len(values) or not values.any():
            continue  # the model has no such metric
        low, median, high = np.quantile(values, tails)
        shares = {key: squared_rank_correlation(drawn[good], values) for key, drawn in draws.items()}
        most = sorted(shares.items(), key=lambda item: -item[1])[:top]
        metrics[name] = {
            "nominal": float(found[name][-1]),
            "low": float(low),
            "median": float(median),
            "high": float(high),
            "moved_by": [{"name": key, "share": float(share)} for key, share in most if share > noise],
        }
    return {
        "metrics": metrics,
        "samples": len(good),
        "failed": int((~good).sum()),
        "level": level,
        "drawn": {name: [low, value, high] for name, (low, value, high, _) in ranges.items()},
        "unstated": [name for name, (*_, stated) in ranges.items() if not stated],
    }
