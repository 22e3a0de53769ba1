"""`StepGrid`: a chip's steps sampled on a grid, and the step table made of them: for one chip, many, or a gradient.

- *Decode*: batches of 1, 2, 3, ..., 8, 16, 32, ... sequences (time is a staircase in rounds of a chip's units, whose steps
  are highest for few sequences) at a few contexts, and at a middle context several batches of real tokens. Their mean is
  the curve; how they differ gives the slopes over the longest queue and over the distinct experts, by
  least squares over all sizes together.
- *Prefill*: prompts of 1, 16, 32, ... tokens; in between, and beyond the longest sampled one, the parabola through three
  neighbours (attention grows with the square of the length).
- *One pass for all tokens of a step* (:mod:`.chip_steps`): these two are what sequences do by themselves; what they share is
  sampled by the tokens of a step (batches of real tokens up to `max_num_seqs`, pieces of prompts above) and, for the head, by
  the sequences that emit one.

Inputs of the grid depend on no hardware number, so that many chips share them; the table is linear in the sampled costs
and differentiable in the hardware.
"""

from __future__ import annotations

import functools
import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pimjax import checks
from pimjax.array_typing import HostArray
from pimjax.errors import ServingError, shown
from pimjax.serving.chip_steps import ChipSteps
from pimjax.serving.step_table import StepTable, make_step_table

SAMPLED_PROMPT = 2048
"""Longest prompt that is sampled: its schedule is made on the host."""
_FINE = 65
_BLOCK = 128
_PASSES = (
    1,
    2,
    4,
    8,
    16,
    24,
    32,
    48,
    64,
    80,
    96,
    112,
    128,
    160,
    192,
    224,
    *range(256, 512, 64),
    *range(512, SAMPLED_PROMPT + 1, 128),
)
"""Tokens of sampled passes, closer where tiles of a GPU fill."""


class ServedChips(NamedTuple):
    """Chips `N` that differ in hardware numbers: step costs, and what a watt and a square millimetre are counted of."""

    table: StepTable  # leaves [N, ...]
    area_mm2: Any  # [N]
    idle_power_w: Any  # [N]


class StepGrid:
    """The sampled steps of one model, plan and trace.

    Args:
        steps: the chip's steps.
        max_num_seqs: largest batch.
        samples: batches of real tokens per size.
        seed: which tokens.

    Raises:
        ServingError: an argument out of range.

    >>> import pimjax
    >>> grid = StepGrid(ChipSteps(pimjax.load_config("paper_multiplexed"), longest_context=64), max_num_seqs=4)
    >>> grid.table().decode.shape[:2]
    (2, 4)
    """

    @checks.checked(
        ServingError,
        steps=checks.instance(ChipSteps, "ChipSteps(config, longest_context=...)"),
        max_num_seqs=checks.whole(1, 65_536),
        samples=checks.whole(2, 64),
        seed=checks.whole(0, 2**63 - 1),
    )
    def __init__(self, steps: ChipSteps, *, max_num_seqs: int = 128, samples: int = 6, seed: int = 0) -> None:
        self.steps = steps
        longest, draw = steps.longest_context, np.random.default_rng(seed)
        self.sizes = _sizes(int(max_num_seqs))
        self.contexts = self._contexts(longest - 1)  # a step adds a token to what is cached
        middle = int(self.contexts[len(self.contexts) // 2])
        sampled = min(longest, SAMPLED_PROMPT)
        self.lengths = np.union1d([1], _doubling(min(16, sampled), sampled))
        points: list[Any] = []
        peaks, distinct, self._decode_at = [], [], []
        for size in self.sizes:
            batches = [self._batch(int(size), draw) for _ in range(samples if steps.loads is not None else 1)]
            features = [steps.loads.of_batch(tokens) if steps.loads is not None else (0, 0) for tokens in batches]
            peaks.append([one[0] for one in features])
            distinct.append([one[1] for one in features])
            first = len(points)
            points += [steps.decode_point(tokens, middle) for tokens in batches]
            for context in self.contexts:
                points.append(steps.decode_point(batches[0], int(context)))
            self._decode_at.append(first)
        self._samples = len(peaks[0])
        self.peaks, self.distinct = np.array(peaks, float), np.array(distinct, float)  # [N, S]
        self._heads_at = len(points)
        self.passes = np.array([n for n in _PASSES] if steps.one_pass else [], int)
        self._per_pass = [samples if n <= max_num_seqs and steps.loads is not None else 1 for n in self.passes]
        if steps.one_pass:
            for size in self.sizes:
                tokens = self._batch(int(size), draw)
                points += [steps.decode_point(tokens, 1), steps.joint_point(tokens)]
            for n, times in zip(self.passes, self._per_pass, strict=True):
                for _ in range(times):
                    points.append(
                        steps.joint_point(self._batch(int(n), draw) if n <= max_num_seqs else self._piece(int(n), draw))
                    )
        self._alone_at = len(points)  # one sequence decodes: what `ChipSteps` takes area and idle power from
        points.append(steps.decode_point([(0, 0)], 1))
        self._prefill_at = len(points)
        points += [steps.prefill_point(int(draw.integers(len(steps.recorded))), int(n)) for n in self.lengths]
        self.points = points

    def _contexts(self, longest: int) -> HostArray:
        model = self.steps.config.model
        window = [model.sliding_window] if model.sliding_window else []
        wanted = [1, *window, max(1, longest // 8), max(1, longest // 2), longest]
        if self.steps.one_pass:  # kernels compute blocks of positions: through the middles of stairs, closer together
            stairs = (_BLOCK * (n // _BLOCK) + _BLOCK // 2 - 1 for n in _doubling(_BLOCK, max(_BLOCK, longest)))
            wanted = [1, *window, *(int(n) for n in stairs), longest]
        return np.array(sorted({n for n in wanted if n <= longest}))

    def _batch(self, size: int, draw: np.random.Generator) -> list[tuple[int, int]]:
        requests = draw.integers(0, len(self.steps.recorded), size)
        return [(int(r), int(draw.integers(0, self.steps.recorded[r]))) for r in requests]

    def _piece(self, size: int, draw: np.random.Generator) -> list[tuple[int, int]]:
        request = int(draw.integers(len(self.steps.recorded)))
        return [(request, at) for at in range(size)]

    # --- tables -------------------------------------------------------------------------------------------------

    def table(self) -> StepTable:
        """The table of the chip itself; host, float64."""
        costs = np.stack([self.steps.parts_of(point) for point in self.points], axis=-1)
        return make_step_table(**self._curves(costs, np))

    def tables(self, hardware: dict[str, Any]) -> StepTable:
        """Tables `[N, ...]` of chips that differ in hardware numbers; values `[N]` by key, with or without "hardware.".

        Raises:
            ServingError: no numbers, an unknown key, one that decides what the kernel is given, or different lengths.
        """
        return self.chips(hardware).table

    def chips(self, hardware: dict[str, Any]) -> ServedChips:
        """The same with area and idle power; values and errors as :meth:`tables`."""
        keys = {key.removeprefix("hardware."): np.atleast_1d(np.asarray(v, np.float64)) for key, v in hardware.items()}
        base = self.base_hardware
        fixed = self.steps.chip.input_fields
        for key, values in keys.items():
            if not hasattr(base, key) or key in fixed or values.ndim != 1 or not np.isfinite(values).all():
                raise ServingError(
                    f"hardware.{key[:80]} is {shown(values)}: it must name a number of chip_model {self.steps.chip.name!r}"
                    f"{f' other than {chr(44).join(fixed)}' if fixed else ''}, with one finite value per chip"
                )
        if not keys or len({len(values) for values in keys.values()}) != 1:
            raise ServingError("hardware must give one or more keys, each with as many values as there are chips")
        with jax.enable_x64(True):
            return jax.tree.map(np.asarray, self._many(keys))

    @property
    def base_hardware(self) -> Any:
        """The hardware leaves of the chip itself."""
        from pimjax.config.build import build

        return build(self.steps.config)[0].hardware

    @functools.cached_property
    def _many(self) -> Any:
        base = self.base_hardware

        def one(values: dict[str, Any]) -> ServedChips:
            costs, area, power = self._costs(base.replace(**values))
            return ServedChips(self._table(costs), area[self._alone_at], power[self._alone_at])

        return jax.jit(lambda keys: jax.lax.map(one, keys, batch_size=16))

    @functools.cached_property
    def _stacked(self) -> Any:
        return self.steps.designs(self.points)

    def table_of(self, hardware: Any) -> StepTable:
        """The table as a function of the hardware's leaves. Kernel: pure, differentiable, JAX leaves.

        Args:
            hardware: like :attr:`base_hardware`, scalars.
        """
        return self._table(self._costs(hardware)[0])

    def _costs(self, hardware: Any) -> tuple[Any, Any, Any]:
        """Parts `[2, 2, points]` of every sampled step; area and power between steps `[points]`."""
        designs, inputs, capacity = self._stacked

        def cost(design: Any, given: Any) -> Any:
            found = self.steps.chip.cost(
                design.replace(hardware=hardware), given, capacity=capacity, fidelity="closed", critical=False
            )
            return self.steps.parts(found), found.component_area_mm2.sum(), self.steps.power_between(found)

        return jax.vmap(cost, out_axes=(2, 0, 0))(*jax.tree.map(jnp.asarray, (designs, inputs)))

    def _table(self, costs: Any) -> StepTable:
        curves = self._curves(costs, jnp)
        blank = make_step_table(**{k: np.asarray(v) for k, v in curves.items() if isinstance(v, np.ndarray)})
        return StepTable(*(jnp.asarray(curves.get(name, getattr(blank, name))) for name in StepTable._fields))

    def _curves(self, costs: Any, xp: Any) -> dict[str, Any]:
        """Curves from costs `[2, parts, points]` (ns and nJ; shared and of sequences); linear in them."""
        shared, costs = costs[:, 0], costs[:, 1]
        samples, contexts = self._samples, len(self.contexts)
        picked = np.array(self._decode_at)[:, None]
        drawn = costs[:, picked + np.arange(samples)]  # [2, N, S]
        along = costs[:, picked + samples + np.arange(contexts)]  # [2, N, C]
        mean = drawn.mean(axis=-1, keepdims=True)
        times = self.sizes[None, :, None] if self.steps.one_at_a_time else 1.0
        decode = (along + mean - drawn[..., :1]) * times
        residual = drawn - mean
        if self.steps.one_pass:
            drawn = shared[:, picked + np.arange(samples)]
            residual = drawn - drawn.mean(axis=-1, keepdims=True)
        peak, distinct = self._slopes(residual, xp)
        ones = np.ones((1, len(self.sizes)))
        prefix = costs[:, self._prefill_at :]
        fine, weights = _parabolas(self.lengths.astype(float), float(self.steps.longest_context))
        together = self._together(shared, costs, xp) if self.steps.one_pass else {}
        if self.steps.one_pass:
            launch = costs[:, self._prefill_at, None, None]
            together["beside"] = (self.steps.mixed_attention - 1.0) * (decode - launch)
        return together | {
            "decode_grid": self.sizes.astype(float),
            "context_grid": self.contexts.astype(float),
            "decode": decode,
            "prefix_grid": fine,
            "prefix": prefix @ weights.T,
            "mean_peak": self.peaks.mean(axis=1),
            "peak_slope": peak[:, None] * ones,
            "mean_distinct": self.distinct.mean(axis=1),
            "distinct_slope": distinct[:, None] * ones,
        }

    def _together(self, shared: Any, own: Any, xp: Any) -> dict[str, Any]:
        """What all tokens of a step share, by their number; the head by sequences; a launch for later pieces of prompts."""
        first = self._heads_at + 2 * len(self.sizes)
        heads = shared[:, self._heads_at : first : 2] - shared[:, self._heads_at + 1 : first : 2]
        edges = first + np.cumsum([0, *self._per_pass])
        passes = xp.stack([shared[:, a:b].mean(axis=-1) for a, b in itertools.pairwise(edges)], axis=-1)
        # beyond the longest sampled pass a further token costs what the last ones did
        grid, reach = self.passes.astype(float), 64.0 * SAMPLED_PROMPT
        slope = (passes[:, -1] - passes[:, -5]) / (grid[-1] - grid[-5])
        last = passes[:, -1] + slope * (reach - grid[-1])
        launch = own[:, self._prefill_at]
        return {
            "tokens_grid": np.append(grid, reach),
            "tokens": xp.concatenate([passes, last[:, None]], axis=1),
            "samples_grid": self.sizes.astype(float),
            "samples": heads,
            "start_grid": np.array([0.0, 1.0]),
            "length_grid": np.array([1.0]),
            "chunk": xp.stack([0.0 * launch, launch], axis=-1)[:, None],
        }

    def _slopes(self, residual: Any, xp: Any) -> tuple[Any, Any]:
        """ns (nJ) per entry of the longest queue and per distinct expert, `[2]` each: least squares over all batches."""
        features = np.stack([one - one.mean(axis=1, keepdims=True) for one in (self.peaks, self.distinct)], axis=-1)
        inverse = np.linalg.pinv(features.reshape(-1, 2), rcond=1e-9)  # [2, N S]
        found = residual.reshape(2, -1) @ inverse.T
        return found[:, 0], found[:, 1]


def _sizes(most: int) -> HostArray:
    """Every size to 8, then twice as many each time.

    >>> _sizes(40).tolist()
    [1, 2, 3, 4, 5, 6, 7, 8, 16, 32, 40]
    """
    return np.union1d(np.arange(1, min(8, most) + 1), _doubling(min(8, most), most))


def _doubling(first: int, last: int) -> HostArray:
    """first, 2 first, ..., last.

    >>> _doubling(1, 6).tolist()
    [1, 2, 4, 6]
    """
    found = [first]
    while 2 * found[-1] < last:
        found.append(2 * found[-1])
    return np.array(sorted({*found, last}))


def _parabolas(grid: HostArray, longest: float) -> tuple[HostArray, HostArray]:
    """A fine grid from 0 to `longest` and the weights `[fine, grid]` that give a curve on it; 0 at 0 (no prompt, no pass).

    >>> fine, weights = _parabolas(np.array([1.0, 16.0, 32.0, 64.0]), 128.0)
    >>> bool(np.allclose(weights @ (np.array([1.0, 16.0, 32.0, 64.0]) ** 2 + 5.0), np.where(fine > 0, fine**2 + 5.0, 0.0)))
    True
    """
    fine = np.unique(np.concatenate([[0.0], np.linspace(grid[0], longest, _FINE), grid]))
    weights = np.zeros((len(fine), len(grid)))
    order = min(3, len(grid))
    for row, x in enumerate(fine[1:], 1):
        first = int(np.clip(np.searchsorted(grid, x, side="right") - 2, 0, len(grid) - order))
        near = np.arange(first, first + order)
        for i in near:
            others = [j for j in near if j != i]
            weights[row, i] = np.prod([(x - grid[j]) / (grid[i] - grid[j]) for j in others])
    return fine, weights
