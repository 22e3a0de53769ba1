"""Plain Python oracles of the caches: lists, loops and full sorting; slow and obvious."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np


def capacity(num_tokens: int, num_experts: int, top_k: int, rule: str, prompt: int, longest: int) -> int:
    """`C(L)` by the definition, in Python integers."""

    def growing(length: int) -> int:
        return min(length, (top_k * length + num_experts - 1) // num_experts)

    return {
        "growing": growing(num_tokens),
        "frozen": growing(prompt),
        "fixed": min(num_tokens, growing(longest)),
    }[rule]


def members(scores: np.ndarray, count: int) -> list[set[int]]:
    """`M_e`: for each expert the `count` tokens with the largest float16 scores, the older of equals."""
    half = scores.astype(np.float16)
    return [
        set(sorted(range(len(half)), key=lambda t, e=e: (-float(half[t, e]), t))[:count]) for e in range(half.shape[1])
    ]


def admissions(scores: np.ndarray, top_k: int, rule: str, prompt: int, longest: int) -> np.ndarray:
    """`A*` bool `[T, E]`: the prompt's sets, then membership of the newest token in `M_e(L)`, sorted anew each time."""
    tokens, experts = scores.shape
    admitted = np.zeros((tokens, experts), bool)
    for e, chosen in enumerate(members(scores[:prompt], capacity(prompt, experts, top_k, rule, prompt, longest))):
        admitted[sorted(chosen), e] = True
    for t in range(prompt, tokens):
        sets = members(scores[: t + 1], capacity(t + 1, experts, top_k, rule, prompt, longest))
        admitted[t] = [t in sets[e] for e in range(experts)]
    return admitted


def set_changes(
    scores: np.ndarray, top_k: int, rule: str, prompt: int, longest: int
) -> list[list[tuple[int, int, int]]]:
    """Per step and expert: (kept members, token that left or -1, old token that entered or -1), from sorted sets."""
    tokens, experts = scores.shape
    steps = []
    before = members(scores[:prompt], capacity(prompt, experts, top_k, rule, prompt, longest))
    for t in range(prompt, tokens):
        after = members(scores[: t + 1], capacity(t + 1, experts, top_k, rule, prompt, longest))
        step = []
        for e in range(experts):
            left, entered = before[e] - after[e], after[e] - before[e] - {t}
            assert len(left) <= 1
            assert len(entered) <= 1
            step.append((len(before[e] & after[e]), min(left, default=-1), min(entered, default=-1)))
        steps.append(step)
        before = after
    return steps


def largest_old(scores: np.ndarray, count: int) -> np.ndarray:
    """The `count` largest float16 scores of each expert, descending, `[E, count]`, NaN where there are fewer."""
    half = -np.sort(-scores.astype(np.float16).astype(np.float32), axis=0)[:count].T
    return np.pad(half, ((0, 0), (0, count - half.shape[1])), constant_values=np.nan)


def step_bytes(variant: str, **n: Any) -> tuple[float, float]:
    """(read, written) of one gate-output step by the written-out formulas; names as in the definitions."""
    if variant == "full":
        return n["L"] * n["E"] * n["b_s"], n["E"] * n["b_s"] + n["n"] * n["d"] * n["b_a"]
    if variant == "threshold":
        update = n["taken"] * math.ceil(math.log2(n["C_max"] + 1)) * n["b_s"]
        return n["E"] * n["b_s"] + update, update
    if variant == "authors":
        return n["L"] * n["E"] + n["E"] * n["d"], 0.0
    return 0.0, 0.0


@dataclass
class Line:
    """A resident line of the SRAM."""

    last_use: int
    uses: int
    dirty: bool


@dataclass
class Sram:
    """Fully associative write-back SRAM with LRU or LFU replacement, as a dictionary."""

    capacity: int
    policy: str
    lines: dict[int, Line] = field(default_factory=dict)
    clock: int = 0

    def access(self, line: int, write: bool) -> tuple[bool, int, bool, bool]:
        """(hit, evicted line or -1, written back, read from DRAM) of one access."""
        self.clock += 1
        if line in self.lines:
            entry = self.lines[line]
            entry.last_use, entry.uses, entry.dirty = self.clock, entry.uses + 1, entry.dirty or write
            return True, -1, False, False
        if self.capacity == 0:
            return False, -1, write, not write
        evicted, back = -1, False
        if len(self.lines) == self.capacity:
            evicted = min(
                self.lines,
                key=lambda n: (self.lines[n].uses if self.policy == "lfu" else 0, self.lines[n].last_use),
            )
            back = self.lines.pop(evicted).dirty
        self.lines[line] = Line(self.clock, 1, write)
        return False, evicted, back, not write
