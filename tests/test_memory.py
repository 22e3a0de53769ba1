"""The memory component: presets, what a bit costs, channels, streams, capacity, old keys; exact and fast models alike."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pimjax
from pimjax import status
from pimjax.cache.traffic import visible_tokens
from pimjax.chips.ledger import without_effect
from pimjax.chips.multiplexed import multiplexed_cost, simulate
from pimjax.chips.run_cost import COMPONENT_INDEX
from pimjax.config.memory import DEFAULT_MEMORY, MemorySection
from pimjax.config.presets import find_preset, list_presets
from pimjax.config.yaml_reader import read_yaml
from pimjax.estimation.explain import explain
from pimjax.runs.inputs import schedule_inputs
from pimjax.runs.traffic import step_traffic
from pimjax.trace.routing import RoutingTrace

SMALL = {
    "model.d_model": 512, "model.d_ff": 256, "model.num_heads": 4, "model.num_layers": 2, "model.vocab_size": 512,
    "model.num_experts": 8, "model.top_k": 2, "workload.trace.kind": "zipf", "workload.prompt_tokens": 12,
}  # fmt: skip
CACHED = {**SMALL, "workload.generated_tokens": 5, "workload.kv_cache": True}
ALWAYS = {"plan.memory_idle": "always"}


def estimate(overrides, fidelity="closed"):
    return pimjax.estimate(pimjax.load_config("paper_crossbars", overrides), fidelity=fidelity)


def part(result, name, field="component_energy_nj"):
    return float(np.asarray(getattr(result, field))[COMPONENT_INDEX[name]])


# --- presets and keys ---------------------------------------------------------------------------------------------------


def test_the_defaults_are_the_default_preset() -> None:
    loaded, plain = pimjax.load_config({}), pimjax.Config()
    for name in MemorySection.model_fields:
        assert getattr(loaded.hardware, f"memory_{name}") == getattr(plain.hardware, f"memory_{name}")
    assert loaded.memory == plain.memory == DEFAULT_MEMORY


@pytest.mark.parametrize("name", list_presets("memory"))
def test_every_shipped_number_has_unit_and_source(name: str) -> None:
    data = read_yaml(find_preset(name, "memory"))[0]
    assert set(data) == set(MemorySection.model_fields)
    for key, facts in data.items():
        assert facts["unit"] == MemorySection.model_fields[key].json_schema_extra["unit"]
        assert facts["source"]
        if facts.get("assumed"):
            assert facts["range"][0] <= facts["value"] <= facts["range"][1]
    config = pimjax.load_config({"memory": name})
    assert config.memory == name
    assert config.sources["hardware.memory_idle_w"]["source"] == data["idle_w"]["source"]


def test_own_numbers_replace_single_values(tmp_path) -> None:
    bandwidth = pimjax.load_config({"memory": "hbm2"}).hardware.memory_bandwidth_gb_per_s
    file = tmp_path / "own.yaml"
    file.write_text("memory: {preset: hbm2, channels: 3}\nworkload: {prompt_tokens: 4}\n", encoding="utf-8")
    for config in (
        pimjax.load_config(file),
        pimjax.load_config({"memory": "hbm2"}, {"memory.channels": 3}),
        pimjax.load_config({}, {"memory.channels": 3, "memory": "hbm2"}),
        pimjax.load_config({}, {"memory": {"preset": "hbm2", "channels": 3}}),
        pimjax.load_config({"memory": "hbm2", "hardware": {"memory_channels": 3}}),
    ):
        assert (config.hardware.memory_channels, config.hardware.memory_bandwidth_gb_per_s) == (3, bandwidth)
        assert config.memory == "hbm2"
        assert pimjax.load_config(config.model_dump()).digest() == config.digest()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"memory": "hbm9"}, ("hbm9", "hbm3")),
        ({"memory": 3}, ("memory", "3", "preset")),
        ({"memory": {"chanels": 2}}, ("memory.chanels", "channels")),
        ({"memory": {"channels": 0}}, ("memory_channels", "above 0")),
        ({"memory": {"channels": 1.5}}, ("memory_channels", "whole number")),
        ({"memory": {"idle_w": {"value": 1, "unit": "mW"}}}, ("memory.idle_w", "convert")),
    ],
)
def test_mistakes_are_one_sentence(content, words) -> None:
    with pytest.raises(pimjax.ConfigError) as caught:
        pimjax.load_config(content)
    assert all(word in str(caught.value) for word in words), caught.value


def test_old_keys_load_and_say_what_they_became() -> None:
    old = {"dram_bandwidth_gb_per_s": 5.332, "dram_active_power_w": 0.2467, "dram_idle_power_w": 0.1297}
    config = pimjax.load_config({"hardware": old})
    authors = pimjax.load_config({"memory": "lpddr4"})
    assert config.digest() == authors.digest()
    notes = without_effect(config)
    assert len(notes) == 3
    assert any("hardware.memory_energy_pj_per_bit" in note and "power [W] / bandwidth [GB/s]" in note for note in notes)
    fast = pimjax.load_config({}, {"hardware.dram_bandwidth_gb_per_s": 256})
    assert fast.hardware.memory_bandwidth_gb_per_s == 256
    assert fast.hardware.memory_energy_pj_per_bit == authors.hardware.memory_energy_pj_per_bit
    both = pimjax.load_config({}, {"hardware.dram_bandwidth_gb_per_s": 10, "hardware.dram_active_power_w": 1})
    assert both.hardware.memory_energy_pj_per_bit == pytest.approx(12.5)
    assert not without_effect(
        pimjax.load_config("paper_reference", {"hardware.dram_idle_power_w": 1, "workload.go_cache": "authors"})
    )


def test_a_chip_without_the_component_says_so() -> None:
    for key, value in (("memory", "hbm3"), ("memory.channels", 2)):
        notes = without_effect(pimjax.load_config("paper_reference", {key: value}))
        assert any(note.startswith(key) and "multiplexed" in note for note in notes)
        assert not without_effect(pimjax.load_config("paper_multiplexed", {**CACHED, key: value}))


# --- energy, area, capacity ---------------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(st.floats(1, 4000), st.integers(1, 64), st.sampled_from(["none", "prefetch", "stream"]))
def test_a_byte_costs_the_same_at_any_bandwidth(bandwidth: float, channels: int, overlap: str) -> None:
    base = {**CACHED, "memory": "hbm3", "plan.dram_overlap": overlap, **ALWAYS}
    one = estimate(base)
    found = estimate({**base, "memory.bandwidth_gb_per_s": bandwidth, "memory.channels": channels})
    for name in ("dram_kv", "embedding"):
        assert part(found, name) == pytest.approx(part(one, name), rel=1e-12)
    config = pimjax.load_config("paper_crossbars", base)
    moved = part(one, "dram_kv", "busy_ns") * 819  # bytes
    assert part(one, "dram_kv") == pytest.approx(moved * config.hardware.memory_energy_pj_per_bit * 8e-3, rel=1e-9)
    # idle power of every channel, all the time
    units = part(one, "passive") - 1.5 * float(one.latency_ns)
    rest = part(found, "passive") - 1.5 * channels * float(found.latency_ns)
    assert rest / float(found.latency_ns) == pytest.approx(units / float(one.latency_ns), rel=1e-6)
    assert part(found, "memory_interface", "component_area_mm2") == pytest.approx(12 * channels)


def test_idle_power_is_drawn_always_or_as_the_authors_count() -> None:
    for memory in ("lpddr4", "hbm3"):
        idle = pimjax.load_config({"memory": memory}).hardware.memory_idle_w
        without, with_it = estimate({**SMALL, "memory": memory}), estimate({**SMALL, "memory": memory, **ALWAYS})
        assert part(with_it, "passive") - part(without, "passive") == pytest.approx(idle * float(without.latency_ns))
        cached = estimate({**CACHED, "memory": memory}), estimate({**CACHED, "memory": memory, **ALWAYS})
        assert part(cached[0], "passive") == part(cached[1], "passive")


@pytest.mark.parametrize("fidelity", ["event", "fluid", "closed"])
def test_a_context_beyond_the_capacity_does_not_fit(fidelity: str) -> None:
    held = 2 * 16 * 2 * 512  # bytes: layers, longest context, keys and values of 4 heads of 128 wide
    for share, fits in ((1.01, True), (0.99, False)):
        found = estimate({**CACHED, "memory.capacity_gb": share * held * 1e-9}, fidelity)
        assert bool(int(found.status) & status.DOES_NOT_FIT) is not fits
    inside = {"memory.capacity_gb": 0.5 * held * 1e-9, "hardware.sram_cache_bytes": 0.6 * held}
    assert not int(estimate({**CACHED, **inside}, fidelity).status) & status.DOES_NOT_FIT
    stacks = {"memory.capacity_gb": 0.4 * held * 1e-9, "memory.channels": 3}
    assert not int(estimate({**CACHED, **stacks}, fidelity).status) & status.DOES_NOT_FIT


# --- time ---------------------------------------------------------------------------------------------------------------


def test_check_values_of_a_decode_step_of_gpt_oss() -> None:
    """14.16 MB of keys and values at a context of 1,024: 2.655 ms at 5.332 GB/s, 17.28 us at 819 GB/s."""
    config = pimjax.load_config("gpt_oss_20b", {"workload.kv_cache": True, "workload.prompt_tokens": 1024})
    windowed = np.array([config.model.is_windowed_layer(layer) for layer in range(config.model.num_layers)])
    design = pimjax.build(config)[0]
    visible = visible_tokens(np.float64(1024), np.where(windowed, float(config.model.sliding_window or 0), 0.0))
    moved = step_traffic(
        design, 1024.0, visible, is_moe=np.ones(len(windowed), bool), admitted=np.float64(4), taken=np.float64(0)
    )
    read = float(np.asarray(moved.kv_read).sum())
    assert read * 1e-6 == pytest.approx(14.16, abs=0.005)
    assert read / 5.332e6 == pytest.approx(2.655, abs=5e-4)
    assert read / 819e3 == pytest.approx(17.28, abs=0.01)


STEPS = st.fixed_dictionaries(
    {
        "memory.bandwidth_gb_per_s": st.floats(4, 3000),  # far below, posted writes delay the next layer's reads
        "memory.channels": st.integers(1, 5),
        "memory.latency_ns": st.sampled_from([0.0, 40.0, 900.0]),
        "plan.dram_overlap": st.sampled_from(["none", "stream"]),
        "hardware.sram_cache_bytes": st.sampled_from([0, 20_000, 10_000_000]),
        "hardware.attention_latency_ns_per_pair": st.floats(1e-4, 1e-2),
        "model.sliding_window": st.sampled_from([None, 8]),
    }
)


@settings(max_examples=25, deadline=None)
@given(STEPS, st.integers(0, 99))
def test_decode_steps_of_one_sequence_equal_event(options, seed: int) -> None:
    """With idle digital units a step of one sequence is exact in the closed form, whatever the memory does."""
    config, trace = _decode(options, seed)
    exact = float(simulate(config, trace).cost.latency_ns)
    assert float(pimjax.estimate(config, trace, fidelity="closed").latency_ns) == pytest.approx(exact, rel=1e-6)


@settings(max_examples=12, deadline=None)
@given(STEPS, st.integers(0, 99), st.integers(2, 5))
def test_decode_steps_of_a_batch_follow_event(options, seed: int, batch: int) -> None:
    config, trace = _decode({**options, "hardware.sram_cache_bytes": 0}, seed, batch)
    exact = float(simulate(config, trace).cost.latency_ns)
    assert float(pimjax.estimate(config, trace, fidelity="closed").latency_ns) == pytest.approx(exact, rel=0.1)


def _decode(options, seed: int, batch: int = 1):
    rng = np.random.default_rng(seed)
    overrides = {
        **CACHED, "workload.prefill": False, "workload.batch_size": batch, "hardware.num_digital_units": 64,
        **{key: value for key, value in options.items() if value is not None},
    }  # fmt: skip
    choices = np.zeros((batch, 2, 16, 8), bool)
    np.put_along_axis(choices, np.argsort(rng.random(choices.shape), axis=-1)[..., :2], True, axis=-1)
    trace = RoutingTrace(choices, np.full(batch, 16, np.int32))
    return pimjax.load_config("paper_crossbars", overrides), trace


@settings(max_examples=12, deadline=None)
@given(STEPS, st.integers(2, 6), st.sampled_from([1, 3]))
def test_striped_channels_are_one_queue_of_their_bandwidth(options, channels: int, batch: int) -> None:
    """And more stacks are never slower."""
    bandwidth = options["memory.bandwidth_gb_per_s"]
    runs = {}
    for name, more in {
        "striped": {"memory.channels": channels},
        "one": {"memory.channels": 1, "memory.bandwidth_gb_per_s": channels * bandwidth},
        "slow": {"memory.channels": 1},
    }.items():
        config, trace = _decode({**options, **more}, 3, batch)
        runs[name] = [float(pimjax.estimate(config, trace, fidelity=one).latency_ns) for one in ("event", "closed")]
    assert runs["striped"] == pytest.approx(runs["one"], rel=1e-9)
    assert all(np.array(runs["striped"]) <= np.array(runs["slow"]) * (1 + 1e-9))


@pytest.mark.parametrize("fidelity", ["event", "fluid", "closed"])
def test_attention_streams_and_prompts_do_not_wait(fidelity: str) -> None:
    """A step takes max(bytes / bandwidth, attention) instead of their sum; a prompt's embeddings are there."""
    prefill = [
        float(estimate({**SMALL, "plan.dram_overlap": "stream", "memory.bandwidth_gb_per_s": b}, fidelity).latency_ns)
        for b in (0.5, 5.0, 5000.0)
    ]
    assert prefill == pytest.approx([prefill[0]] * 3, rel=1e-12)
    assert float(estimate({**SMALL, "memory.bandwidth_gb_per_s": 0.5}, fidelity).latency_ns) > prefill[0]

    base = {**CACHED, "workload.prefill": False, "memory.latency_ns": 0.0}
    read = sum(2 * 2 * 512 * length for length in range(13, 17))  # two layers, keys and values
    rows = 4 * 512
    pairs = sum(2 * 512 * length for length in range(13, 17))
    for bandwidth in (20.0, 50_000.0):  # the memory is slower, and attention is
        attention = float(np.asarray(estimate({**base}, fidelity).busy_ns)[COMPONENT_INDEX["mha_comp"]])
        assert attention == pytest.approx(4.1e-3 * pairs / 4)
        changed = {"memory.bandwidth_gb_per_s": bandwidth}
        found = [
            float(estimate({**base, **changed, "plan.dram_overlap": overlap}, fidelity).latency_ns)
            for overlap in ("none", "stream")
        ]
        saved = min(read / bandwidth, attention)
        assert found[0] - found[1] == pytest.approx(saved, rel=1e-6)
        late = {"memory.latency_ns": 100.0, **changed}
        waits = [
            float(estimate({**base, **late, "plan.dram_overlap": overlap}, fidelity).latency_ns)
            for overlap in ("none", "stream")
        ]
        # each step waits for its row, and without streams for the keys and values of two layers
        assert np.subtract(waits, found) == pytest.approx([100 * 4 * 3, 100 * 4], rel=1e-6)
        assert rows / bandwidth < found[1]


@pytest.mark.parametrize("batch", [1, 3, 6])
def test_writes_that_prompts_leave_behind_delay_the_first_step(batch: int) -> None:
    """A slow memory: the posted writes of several prompts pile up while none of them looks up."""
    overrides = {
        **CACHED, "model.routing": "expert_choice", "workload.go_cache": "full", "workload.batch_size": batch,
        "plan.dram_overlap": "stream", "memory.bandwidth_gb_per_s": 1.0, "workload.generated_tokens": 2,
    }  # fmt: skip
    exact, closed = (float(estimate(overrides, fidelity).latency_ns) for fidelity in ("event", "closed"))
    assert closed == pytest.approx(exact, rel=0.05)


# --- many at once -------------------------------------------------------------------------------------------------------


def test_a_sweep_over_memories_and_their_numbers() -> None:
    sweep = {
        "base": "paper_crossbars",
        "set": {**CACHED, "plan.dram_overlap": "stream"},
        "precision": "float64",
        "columns": ["latency_ns", "energy_nj", "area_mm2"],
        "format": "json",
        "axes": [
            {"field": "memory", "values": list_presets("memory")},
            {"field": "memory.channels", "values": [1, 4]},
        ],
    }
    from pimjax.batch.points import space_of
    from pimjax.batch.sweep_config import load_sweep

    space = space_of(load_sweep(sweep))
    assert (len(space.variants), space.num_lanes) == (len(list_presets("memory")), 2)
    assert [config.memory for config in space.variants] == list_presets("memory")
    configs = [
        pimjax.load_config("paper_crossbars", {**CACHED, "plan.dram_overlap": overlap, "memory": name, "memory.channels": n})
        for name in list_presets("memory")
        for n in (1, 4)
        for overlap in ("none", "prefetch", "stream")
    ]  # fmt: skip
    design, _ = pimjax.build(configs)
    found = pimjax.estimate_batch(design, fields=["latency_ns", "energy_nj", "area_mm2"])
    for index in (0, 8, 14, len(configs) - 1):
        alone = pimjax.estimate(configs[index], fidelity="closed")
        for name in ("latency_ns", "energy_nj", "area_mm2"):
            np.testing.assert_allclose(
                np.asarray(getattr(found, name)).reshape(-1)[index], float(getattr(alone, name)), rtol=2e-5
            )


@pytest.mark.parametrize("overlap", ["none", "stream"])
def test_gradients_equal_finite_differences(overlap: str) -> None:
    config, trace = _decode({"plan.dram_overlap": overlap, "memory": "hbm2", **ALWAYS}, 1, 2)
    design, capacity = pimjax.build(config)
    schedule = schedule_inputs(config, trace, fidelity="closed", capacity=capacity)
    names = [f"memory_{name}" for name in MemorySection.model_fields if name != "capacity_gb"]

    def objective(values):
        hardware = design.hardware.replace(**dict(zip(names, values, strict=True)))
        cost = multiplexed_cost(design.replace(hardware=hardware), schedule, capacity=capacity, fidelity="closed")
        return cost.latency_ns + cost.component_energy_nj.sum() + 1e3 * cost.component_area_mm2.sum()

    with jax.enable_x64(True):
        values = np.array([float(getattr(design.hardware, name)) for name in names])
        gradient = np.asarray(jax.jit(jax.grad(objective))(values))
        steps = 1e-5 * np.diag(values)
        many = jax.jit(jax.vmap(objective))
        numeric = (np.asarray(many(values + steps)) - np.asarray(many(values - steps))) / (2e-5 * values)
    assert gradient == pytest.approx(numeric, rel=1e-4, abs=1e-4)
    assert np.all(gradient != 0)


def test_explanations_name_the_memory() -> None:
    config = pimjax.load_config("paper_crossbars", {**CACHED, "memory": "hbm3"})
    found = explain(config, pimjax.estimate(config, fidelity="closed"))
    rows = {row["component"]: row for row in found["area_mm2"]}
    assert rows["memory_interface"]["count"] == 1
    assert rows["memory_interface"]["total"] == 12
    assumed = {row["key"]: row for row in found["assumptions"]}
    assert assumed["hardware.memory_energy_pj_per_bit"]["range"] == [3.5, 8]
    assert "hardware.memory_bandwidth_gb_per_s" not in assumed
