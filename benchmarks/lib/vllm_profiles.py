"""Step tables of GPUs from operator times that LLMServingSim's profiler measured in vLLM (CSV files, MIT licence).

What is measured: every dense operator by tokens, attention by (piece of a prompt, tokens before it, decoding sequences,
cached tokens), the head and the sampler by sequences, fused experts by (tokens, experts that tokens visit). A step is their
sum over the layers. Attention of decoding sequences takes longer beside a piece of a prompt than alone, by about the same
time whatever the piece (one kernel does both then): the mean over the pieces is a curve of its own.
Collectives are not in the profiles: a ring over links of the run's own settings (bandwidth and latency), whose steps each
take latency + bytes / bandwidth.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pimjax.serving import StepTable, make_step_table

VALUE_BYTES = 2  # bfloat16


@dataclass(frozen=True)
class Deployment:
    """How a model ran: sizes from its config.json, links from the run's settings.

    Attributes:
        layers, d_model, vocabulary: of the model.
        tensor_parallel: devices that share every layer: two all-reduces a layer, one of the
            embedding, and the logits of all devices gathered.
        expert_parallel: devices that share the experts; all exchange their tokens before and after the experts.
        experts, top_k: of a mixture of experts; 0: dense.
        link_gb_per_s, link_latency_us: of one link.
    """

    layers: int
    d_model: int
    vocabulary: int = 0
    tensor_parallel: int = 1
    expert_parallel: int = 1
    experts: int = 0
    top_k: int = 0
    link_gb_per_s: float = 16.0
    link_latency_us: float = 20.0

    def ring_us(self, total_bytes: Any, devices: int, rounds: int) -> Any:
        """`rounds` x (devices - 1) steps of latency and a share of the bytes each."""
        step = self.link_latency_us + total_bytes / devices / (self.link_gb_per_s * 1e3)
        return rounds * (devices - 1) * step


ONCE = ("embedding", "final_layernorm")
TWICE = ("layernorm",)  # before attention and before the feed-forward block


def rows_of(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file."""
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def attention_us(stem: Path) -> dict[tuple[int, ...], float]:
    """us of one layer's attention by (piece of a prompt, tokens before it, decoding sequences, cached tokens of each)."""
    keys = ("prefill_chunk", "kv_prefill", "n_decode", "kv_decode")
    rows = rows_of(stem.with_name(f"{stem.name}__profile_attention.csv"))
    return {tuple(int(float(row[key])) for key in keys): float(row["time_us"]) for row in rows}


def profile_table(stem: Path, run: Deployment, *, distinct: Any = None) -> StepTable:
    """A step table in ns.

    Args:
        stem: path of the profiles without `__profile_*.csv`.
        run: the deployment.
        distinct: tokens -> share of the experts that they visit (a mixture of experts); see :func:`visited`.
    """
    dense: dict[int, float] = {}
    for row in rows_of(stem.with_name(f"{stem.name}__profile_dense.csv")):
        tokens = int(row["tokens"])
        times = 1 if row["layer"] in ONCE else run.layers * (2 if row["layer"] in TWICE else 1)
        dense[tokens] = dense.get(tokens, 0.0) + times * float(row["time_us"])
    grid = np.array(sorted(dense), float)
    tokens_us = np.array([dense[int(tokens)] for tokens in grid])
    moved = grid * run.d_model * VALUE_BYTES
    if run.tensor_parallel > 1:
        tokens_us = tokens_us + (2 * run.layers + 1) * run.ring_us(moved, run.tensor_parallel, 2)
    if run.experts and run.expert_parallel > 1:
        # every rank sends its tokens to the others before the experts and gets partial results back after them; ranks go
        # in lockstep, so the largest rank's tokens decide
        tokens_us = tokens_us + 2 * run.layers * (run.expert_parallel - 1) * (
            run.link_latency_us + moved / (run.link_gb_per_s * 1e3)
        )
    heads: dict[int, float] = {}
    for row in rows_of(stem.with_name(f"{stem.name}__profile_per_sequence.csv")):
        heads[int(row["sequences"])] = heads.get(int(row["sequences"]), 0.0) + float(row["time_us"])
    samples = np.array(sorted(heads), float)
    heads_us = np.array([heads[int(s)] for s in samples])
    if run.tensor_parallel > 1:
        heads_us = heads_us + run.ring_us(samples * run.vocabulary * VALUE_BYTES, run.tensor_parallel, 1)
    attention = attention_us(stem)
    decode = _plane({(n, kv): us for (chunk, _, n, kv), us in attention.items() if chunk == 0 and n > 0})
    chunk = _plane({(c, start): us for (c, start, n, _), us in attention.items() if c > 0 and n == 0})
    beside = _beside(attention, decode[:2])
    curves: dict[str, Any] = {
        "tokens_grid": grid,
        "tokens": 1e3 * tokens_us,
        "samples_grid": samples,
        "samples": 1e3 * heads_us,
        "decode_grid": decode[0],
        "context_grid": decode[1],
        "decode": 1e3 * run.layers * decode[2],
        "beside": 1e3 * run.layers * beside,
        "length_grid": chunk[0],
        "start_grid": chunk[1],
        "chunk": 1e3 * run.layers * chunk[2],
    }
    if run.experts:
        curves |= _experts(stem, run, distinct)
    return make_step_table(**curves)


def _beside(attention: dict[Any, float], grids: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """us that decoding sequences take longer beside a piece of a prompt, mean over the pieces; on the grids of decoding."""
    more: dict[tuple[int, int], list[float]] = {}
    for (chunk, start, n, kv), us in attention.items():
        parts = attention.get((chunk, start, 0, 0)), attention.get((0, 0, n, kv))
        if chunk and n and parts[0] is not None and parts[1] is not None:
            more.setdefault((n, kv), []).append(us - parts[0] - parts[1])
    rows, columns, plane = _plane({key: float(np.mean(values)) for key, values in more.items()})
    wide = np.array([np.interp(grids[1], columns, row) for row in plane])
    return np.array([[np.interp(n, rows, column) for column in wide.T] for n in grids[0]])


def _experts(stem: Path, run: Deployment, distinct: Any) -> dict[str, Any]:
    """What all ranks do together: the tokens of all at the experts of one."""
    measured = {
        (int(row["tokens"]), int(row["activated_experts"])): float(row["time_us"])
        for row in rows_of(stem.with_name(f"{stem.name}__profile_moe.csv"))
    }
    by_tokens: dict[int, list[tuple[int, float]]] = {}
    for (tokens, active), us in sorted(measured.items()):
        by_tokens.setdefault(tokens, []).append((active, us))
    sizes = np.array(sorted(by_tokens), float)

    def experts_us(tokens: float, active: float) -> float:
        curve = [float(np.interp(active, *zip(*by_tokens[int(n)], strict=True))) for n in sizes]
        return float(np.interp(tokens, sizes, curve))

    grid = np.unique(np.concatenate([np.arange(1, 65), np.geomspace(64, 4096, 60).round()]))
    share = run.expert_parallel
    experts = [experts_us(t / share, distinct(t) * run.experts / share) for t in grid]
    return {"joint_grid": grid, "joint": 1e3 * run.layers * np.array(experts)}


def _plane(values: dict[tuple[int, int], float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, columns and the plane between them; single points that are missing are interpolated along their row."""
    rows, columns = (np.array(sorted({key[axis] for key in values}), float) for axis in (0, 1))
    plane = []
    for row in rows:
        known = [column for column in columns if (int(row), int(column)) in values]
        plane.append(np.interp(columns, known, [values[int(row), int(column)] for column in known]))
    return rows, columns, np.array(plane)


def visited(probabilities: np.ndarray, top_k: int) -> Any:
    """tokens -> expected share of experts that independent tokens visit, from how likely each expert is.

    A token draws `top_k` distinct experts; each expert's chance of being one of them is taken as
    min(1, top_k p), scaled so that they add up to `top_k`.

    >>> float(visited(np.full(8, 1 / 8), 2)(1))
    0.25
    """
    chance = np.minimum(1.0, top_k * probabilities)
    for _ in range(50):
        free = chance < 1.0
        missing = top_k - chance.sum()
        if abs(missing) < 1e-12 or not free.any():
            break
        chance[free] = np.minimum(1.0, chance[free] * (1.0 + missing / chance[free].sum()))
    return lambda tokens: float(np.mean(1.0 - (1.0 - chance) ** tokens))


def separability(stem: Path) -> dict[str, float]:
    """How far attention of a piece and of decoding sequences in one call is from the table's sum, in % of the former."""
    attention = attention_us(stem)
    decode = _plane({(n, kv): us for (chunk, _, n, kv), us in attention.items() if chunk == 0 and n > 0})
    more = _beside(attention, decode[:2])
    place = [{int(value): index for index, value in enumerate(grid)} for grid in decode[:2]]
    apart, together = [], []
    for (chunk, start, n, kv), us in attention.items():
        parts = attention.get((chunk, start, 0, 0)), attention.get((0, 0, n, kv))
        if chunk and n and parts[0] is not None and parts[1] is not None:
            apart.append(100.0 * ((parts[0] + parts[1]) / us - 1.0))
            together.append(apart[-1] + 100.0 * more[place[0][n], place[1][kv]] / us)
    return {
        "points": len(apart),
        "mean": float(np.mean(together)),
        "mean_absolute": float(np.mean(np.abs(together))),
        "without_beside_mean": float(np.mean(apart)),
    }
