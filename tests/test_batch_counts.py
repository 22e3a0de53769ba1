"""Counts of passes on the device against those of the host, layer by layer."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

from pimjax.batch.columns import build_row, common_capacity, resolved
from pimjax.config import load_config
from pimjax.config.plan import PlanConfig
from pimjax.errors import CapacityError
from pimjax.runs import run_routing, schedule_inputs
from pimjax.runs.count_many import Pass, can_count, count_passes
from pimjax.runs.counts import count_pass
from pimjax.schedule import schedule_summary
from pimjax.trace import generate_traces

PLANS = [
    {"policy": "reschedule"},
    {"policy": "compact", "input_hold": True},
    {"policy": "token_wise"},
    {"policy": "packed", "max_open_tokens": 3},
]


def _passes(rng: np.random.Generator, tokens: tuple[int, ...], layers: int = 2) -> list[Pass]:
    """Random choices of 8 experts in 4 uneven groups; some tokens and one whole layer without experts."""
    found = []
    for index, count in enumerate(tokens):
        choices = rng.random((layers, count, 8)) < rng.choice([0.1, 0.4, 0.7])
        if index == 0:
            choices[-1] = False
        groups = np.stack([rng.permutation(np.array([0, 0, 0, 1, 1, 2, 2, 3])) for _ in range(layers)])
        found.append(Pass(choices, groups, 4))
    return found


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan["policy"])
def test_counts_are_those_of_the_host(plan: dict) -> None:
    rng = np.random.default_rng(7)
    passes = _passes(rng, (8, 1, 5))
    config = load_config(
        {"model": {"num_experts": 8, "top_k": 2, "num_layers": 2}, "workload": {"prompt_tokens": 8}, "plan": plan}
    )
    made = count_passes(config.plan, passes, groups=5, profile=True)
    for one, counts in zip(passes, made, strict=True):
        trace = generate_traces("zipf", requests=1, layers=2, tokens=8, experts=8, top_k=2, seed=0)
        routing = dataclasses.replace(
            run_routing(config, trace), group_of_expert=one.group_of_expert, num_groups=one.num_groups
        )
        expected = count_pass(config, routing, one.choices, groups=5, profile=True)
        assert counts.tokens == expected.tokens
        assert set(counts.rows) == set(expected.rows)
        for name, value in expected.rows.items():
            np.testing.assert_array_equal(counts.rows[name], value, err_msg=name)
        assert expected.profile is not None
        np.testing.assert_array_equal(counts.profile, expected.profile)


def test_counts_hold_the_schedule_summary() -> None:
    one = _passes(np.random.default_rng(3), (9,))[0]
    rows = count_passes(PlanConfig(), [one], groups=4, shared_links=False)[0].rows
    assert not rows["busy_hist"].any()
    for layer in range(2):
        summary = schedule_summary(
            one.choices[layer], one.group_of_expert[layer], policy="reschedule", num_groups=4, max_slots=64
        )
        for name in ("makespan", "loads", "first_loads", "load_hist", "open_max"):
            np.testing.assert_array_equal(rows[name][layer], np.asarray(getattr(summary, name)), err_msg=name)


def test_limits_of_counting() -> None:
    one = _passes(np.random.default_rng(0), (3,))[0]
    with pytest.raises(CapacityError, match="larger Capacity"):
        count_passes(PlanConfig(), [one], groups=3)
    assert count_passes(PlanConfig(), [], groups=3) == []
    assert can_count(PlanConfig(window_tokens=4), 4)
    assert not can_count(PlanConfig(window_tokens=3), 4)


@pytest.mark.parametrize(
    ("workload", "plan", "fidelity"),
    [
        ({"prompt_tokens": None}, {"policy": "compact"}, "fluid"),
        ({"prompt_tokens": 6, "generated_tokens": 4}, {}, "closed"),  # every prefix recomputed
        ({"prompt_tokens": 7, "generated_tokens": 3, "kv_cache": True, "batch_size": 2}, {"copies": 1}, "closed"),
        ({"prompt_tokens": 6}, {"window_tokens": 4}, "closed"),  # windows are counted on the host
    ],
)
def test_a_row_of_columns_is_one_schedule_after_the_other(workload: dict, plan: dict, fidelity: str) -> None:
    config = load_config(
        {
            "model": {"num_experts": 8, "top_k": 2, "num_layers": 3, "first_dense_layers": 1},
            "workload": workload,
            "plan": {"group_size": 2, **plan},
        }
    )
    traces = [
        generate_traces("zipf", requests=2, layers=2, tokens=tokens, experts=8, top_k=2, seed=tokens)
        for tokens in (7, 8, 6, 8)
    ]
    requests = traces if config.workload.batch_size > 1 else [trace.request(0) for trace in traces]
    capacity = common_capacity([config], requests)
    row = build_row(config, requests, fidelity, capacity, layers=3)
    for trace, column in zip(requests, row, strict=True):
        alone, stacked = resolved(config, trace)
        assert column.prompt_tokens == alone.workload.num_prompt_tokens
        expected = schedule_inputs(alone, stacked, fidelity=fidelity, capacity=capacity)
        for (path, leaf), own in zip(
            jax.tree_util.tree_leaves_with_path(expected), jax.tree.leaves(column.schedule), strict=True
        ):
            cut = leaf[tuple(slice(size) for size in own.shape)]
            np.testing.assert_array_equal(own, cut, err_msg=jax.tree_util.keystr(path))
            assert not np.any(leaf) or leaf.sum() == cut.sum()  # nothing but padding was cut
