"""Configuration: loading, presets, overrides, bad input, arrays."""

from __future__ import annotations

import dataclasses
import re

import jax
import numpy as np
import pytest

from pimjax import reference_config
from pimjax.chips import CHIPS
from pimjax.cli.app import main
from pimjax.config import Capacity, Config, build, list_presets, load_config, parameter_count
from pimjax.config.base import field_facts
from pimjax.config.config import SECTIONS
from pimjax.config.presets import find_preset
from pimjax.config.template import render_yaml
from pimjax.config.yaml_reader import parse_yaml
from pimjax.errors import ConfigError, OverrideError


@pytest.mark.parametrize("name", list_presets())
def test_every_preset_loads_builds_and_survives_its_own_template(name: str) -> None:
    config = load_config(name)
    design, capacity = build(config)
    assert capacity.max_experts >= config.model.num_experts
    assert all(np.isfinite(leaf).all() or key == "tiles" for key, leaf in vars(design.hardware).items())
    again = load_config(parse_yaml(render_yaml(config))[0])
    assert again.digest() == config.digest()


@pytest.mark.parametrize("section", list(SECTIONS))
def test_every_section_preset_loads(section: str) -> None:
    for name in list_presets(section):
        assert load_config({section: name})


@pytest.mark.parametrize("name", list_presets("model"))
def test_parameter_count_is_the_published_one(name: str) -> None:
    model = load_config({"model": name}).model
    if model.published_parameters is None:
        pytest.skip(f"{name}: one layer of a model, no published count")
    count = parameter_count(model)
    assert count.total == pytest.approx(model.published_parameters, rel=0.008)
    counted = count.active if model.published_active_counts_embedding else count.active_without_embedding
    other = count.active + count.active_without_embedding - counted
    assert counted == pytest.approx(model.published_active_parameters, rel=0.025)
    assert abs(counted - model.published_active_parameters) < abs(other - model.published_active_parameters)


@pytest.mark.parametrize("chip", list(CHIPS))
def test_shipped_hardware_numbers_carry_unit_and_source(chip: str) -> None:
    preset = "h100" if "multiprocessors" in CHIPS[chip].hardware.model_fields else "hermes"
    config = load_config({"chip_model": chip, "hardware": preset})
    for name, facts in field_facts(CHIPS[chip].hardware).items():
        noted = config.sources[f"hardware.{name}"]
        assert noted["unit"] == facts["unit"]
        assert noted["source"], name
        if facts["assumed"]:
            assert noted["assumed"] is True
            assert "range" in noted or facts["default"] in (None, 0), f"{name}: an assumption needs a range"


@pytest.mark.parametrize("chip", list(CHIPS))
def test_traced_twin_has_the_fields_of_the_host_section(chip: str) -> None:
    section = CHIPS[chip].hardware
    design, _ = build(Config(chip_model=chip))
    twin = [field.name for field in dataclasses.fields(design.hardware)]
    assert twin == [*section.model_fields, *section.derived]
    assert all(np.issubdtype(np.asarray(leaf).dtype, np.floating) for leaf in jax.tree.leaves(design.hardware))


def test_a_list_of_configs_stacks_leaves_and_takes_the_largest_capacity() -> None:
    small, large = Config(), load_config("gpt_oss_20b")
    design, capacity = build([small, large])
    assert {leaf.shape[0] for leaf in jax.tree.leaves(design)} == {2}
    assert capacity.max_experts == 32
    assert capacity.max_layers == 32
    assert design.plan.group_of_expert.shape == (2, 32)
    assert (design.plan.group_of_expert[0, 16:] == -1).all()


def test_overrides_apply_last_and_validate() -> None:
    config = load_config("paper_reference", {"hardware.num_digital_units": 10, "plan.group_size": 4})
    assert config.hardware.num_digital_units == 10
    assert config.plan.group_size == 4
    assert load_config("paper_reference", {"hardware.mvm_latency_ns": np.float32(100)}).hardware.mvm_latency_ns == 100


def test_reference_config_is_the_reference_preset() -> None:
    ours, preset = reference_config(), load_config("paper_reference")
    different = {"source", "num_heads", "head_dim"}
    assert {k: v for k, v in ours.model if k not in different} == {k: v for k, v in preset.model if k not in different}
    assert ours.hardware == preset.hardware
    assert ours.plan == preset.plan
    assert ours.workload == preset.workload


def test_reference_config_takes_numpy_scalars() -> None:
    ours = reference_config(d_model=np.int64(512), kv=np.True_, go=np.bool_(True), mvm_latency=np.float32(131))
    assert ours == reference_config(d_model=512, kv=True, go=True, mvm_latency=131.0)


def test_digest_ignores_names_and_sees_numbers() -> None:
    assert Config(name="a").digest() == Config(name="b").digest()
    assert load_config({}, {"hardware.mvm_latency_ns": 131}).digest() != Config().digest()


def test_design_set_refuses_unknown_leaves() -> None:
    design, _ = build(Config())
    with pytest.raises(ConfigError, match="mvm_latency_ns"):
        design.set({"hardware.mvm_latency": 1.0})
    with pytest.raises(ConfigError, match="hardware"):
        design.set({"hardwre.mvm_latency_ns": 1.0})
    assert design.set({"hardware.num_digital_units": [1.0, 2.0]}).hardware.num_digital_units.shape == (2,)


def test_capacity_is_hashable_by_value_and_rounds_up() -> None:
    assert Capacity(max_tokens=5) == Capacity(max_tokens=8)
    assert len({Capacity(max_tokens=5), Capacity(max_tokens=8)}) == 1
    with pytest.raises(ConfigError, match="max_tokens"):
        Capacity(max_tokens=0)


# --- bad configurations: (yaml text, pieces the sentence must hold) -------------------------------------------------
BAD: list[tuple[str, tuple[str, ...]]] = [
    ("hardware: {num_digital_units: 0}", ("hardware.num_digital_units", "0", "at least 1")),
    ("hardware: {num_digital_units: many}", ("hardware.num_digital_units", "many", "number")),
    ("hardware: {num_digital_unit: 5}", ("hardware.num_digital_unit", "num_digital_units")),
    ("hardware: {mvm_latency_ns: -1}", ("hardware.mvm_latency_ns", "-1", "above 0")),
    ("hardware: {mvm_latency_ns: 0}", ("hardware.mvm_latency_ns", "0", "above 0")),
    ("hardware: {mvm_latency_ns: .nan}", ("hardware.mvm_latency_ns", "nan", "finite")),
    ("hardware: {mvm_latency_ns: .inf}", ("hardware.mvm_latency_ns", "inf", "finite")),
    ("hardware: {mvm_latency_ns: '130'}", ("hardware.mvm_latency_ns", "'130'", "number")),
    ("hardware: {mvm_latency_ns: true}", ("hardware.mvm_latency_ns", "True", "number")),
    ("hardware: {mvm_latency_ns: null}", ("hardware.mvm_latency_ns", "None", "number")),
    ("hardware: {mvm_latency_ns: [1, 2]}", ("hardware.mvm_latency_ns", "[1, 2]", "number")),
    ("hardware: {mvm_latency_ns: {value: 130, unit: us}}", ("hardware.mvm_latency_ns", "'us'", "'ns'")),
    ("hardware: {mvm_latency_ns: {value: 130, sauce: x}}", ("hardware.mvm_latency_ns", "sauce", "source")),
    ("hardware: {mvm_latency_ns: {value: -3}}", ("hardware.mvm_latency_ns", "-3", "above 0")),
    ("hardware: {mvm_energy_nj: -12}", ("hardware.mvm_energy_nj", "-12", "above 0")),
    ("hardware: {core_area_mm2: 0}", ("hardware.core_area_mm2", "0", "above 0")),
    ("hardware: {shareable_fraction: 1.5}", ("hardware.shareable_fraction", "1.5", "at most 1")),
    ("hardware: {shareable_fraction: -0.1}", ("hardware.shareable_fraction", "-0.1", "at least 0")),
    ("hardware: {crossbar_rows: 0}", ("hardware.crossbar_rows", "0", "at least 1")),
    ("hardware: {crossbar_cols: -256}", ("hardware.crossbar_cols", "-256", "at least 1")),
    ("hardware: {tiles: 0}", ("hardware.tiles", "0", "at least 1")),
    ("hardware: {tiers: 0.5}", ("hardware.tiers", "0.5", "at least 1")),
    ("hardware: {adc_bits: 0}", ("hardware.adc_bits", "0", "at least 2")),
    ("hardware: {adc_bits: 40}", ("hardware.adc_bits", "40", "at most 16")),
    ("hardware: {columns_per_adc: 0}", ("hardware.columns_per_adc", "0", "at least 1")),
    ("hardware: {node_nm: 1}", ("hardware.node_nm", "1", "at least 3")),
    ("hardware: {supply_v: 12}", ("hardware.supply_v", "12", "at most 3.3")),
    ("hardware: {dram_bandwidth_gb_per_s: 0}", ("hardware.dram_bandwidth_gb_per_s", "0", "above 0")),
    ("hardware: {dram_active_power_w: -1}", ("hardware.dram_active_power_w", "-1", "at least 0")),
    ("hardware: {input_links: 0}", ("hardware.input_links", "0", "above 0")),
    ("hardware: {num_attention_units: 0}", ("hardware.num_attention_units", "0", "at least 1")),
    ("hardware: {out_buffer_slots: -1}", ("hardware.out_buffer_slots", "-1", "at least 0")),
    ("hardware: hermez", ("hermez", "hermes")),
    ("hardware: 5", ("hardware", "5", "hermes")),
    ("hardware: {preset: 7}", ("hardware.preset", "7")),
    ("model: {d_model: 0}", ("model.d_model", "0", "at least 1")),
    ("model: {d_model: 4096.5}", ("model.d_model", "4096.5", "whole number")),
    ("model: {d_ff: -1}", ("model.d_ff", "-1", "at least 1")),
    ("model: {num_layers: 0}", ("model.num_layers", "0", "at least 1")),
    ("model: {num_experts: -2}", ("model.num_experts", "-2", "at least 0")),
    ("model: {top_k: 0}", ("model.top_k", "0", "at least 1")),
    ("model: {top_k: 17}", ("model.top_k", "17", "model.num_experts", "16")),
    ("model: {activation: swish}", ("model.activation", "swish", "swiglu")),
    ("model: {routing: dense}", ("model.routing", "dense", "expert_choice")),
    ("model: {attention: mha}", ("model.attention", "mha", "gqa")),
    ("model: {attention: mla}", ("model.attention", "mla", "kv_lora_rank")),
    ("model: {num_heads: 32, num_kv_heads: 5}", ("model.num_kv_heads", "5", "32")),
    ("model: {num_heads: 7}", ("model.num_heads", "7", "head_dim")),
    ("model: {first_dense_layers: 3}", ("model.first_dense_layers", "3", "1")),
    ("model: {moe_frequency: 0}", ("model.moe_frequency", "0", "at least 1")),
    ("model: {vocab_size: '32k'}", ("model.vocab_size", "32k", "whole number")),
    ("model: {tied_embeddings: 1}", ("model.tied_embeddings", "1", "true or false")),
    ("workload: {prompt_tokens: 0}", ("workload.prompt_tokens", "0", "at least 1")),
    ("workload: {generated_tokens: -8}", ("workload.generated_tokens", "-8", "at least 1")),
    ("workload: {prefill: false}", ("workload.prefill", "workload.generated_tokens", "1")),
    ("workload: {kv_cache: 'yes please'}", ("workload.kv_cache", "yes please", "true or false")),
    ("workload: {go_cache: half}", ("workload.go_cache", "half", "threshold")),
    ("workload: {capacity_rule: shrinking}", ("workload.capacity_rule", "shrinking", "growing")),
    ("workload: {semantics: oldest}", ("workload.semantics", "oldest", "newest")),
    ("workload: {max_context_tokens: 8}", ("workload.max_context_tokens", "8", "128")),
    ("workload: {batch_size: 0}", ("workload.batch_size", "0", "at least 1")),
    ("workload: {trace: {kind: guessed}}", ("workload.trace.kind", "guessed", "recorded")),
    ("workload: {trace: {seed: -1}}", ("workload.trace.seed", "-1", "at least 0")),
    ("workload: {trace: zipf}", ("workload.trace", "zipf", "mapping")),
    ("plan: {group_size: 0}", ("plan.group_size", "0", "at least 1")),
    ("plan: {group_size: 17}", ("plan.group_size", "17", "16")),
    ("plan: {policy: fastest}", ("plan.policy", "fastest", "packed")),
    ("plan: {policy: packed, barrier: false}", ("plan.barrier", "packed", "token_wise")),
    ("plan: {policy: compact, max_open_tokens: 4}", ("plan.max_open_tokens", "4", "packed")),
    ("plan: {share: all}", ("plan.share", "all", "position")),
    ("plan: {group_of_expert: [0, 1]}", ("plan.group_of_expert", "2", "16")),
    ("plan: {group_of_expert: [0,0,0,0,0,0,0,0,2,2,2,2,2,2,2,2]}", ("plan.group_of_expert", "[0, 2]", "gaps")),
    ("plan: {window_tokens: 0}", ("plan.window_tokens", "0", "at least 1")),
    ("plan: {copies: -1}", ("plan.copies", "-1", "at least 0")),
    ("numerics: {weight_bits: 1}", ("numerics.weight_bits", "1", "at least 2")),
    ("numerics: {weight_encoding: sliced, cell_bits: 8}", ("numerics.cell_bits", "8", "7")),
    ("numerics: {adc_range: guess}", ("numerics.adc_range", "guess", "percentile")),
    ("numerics: {on_off_ratio: 0.5}", ("numerics.on_off_ratio", "0.5", "above 1")),
    ("chip_model: physical", ("chip_model", "physical", "multiplexed")),
    ("chip_model: reference\nworkload: {batch_size: 2}", ("workload.batch_size", "2", "reference")),
    ("model: {num_layers: 2}\nworkload: {semantics: revise}", ("workload.semantics", "2", "newest")),
    ("hardwear: {tiles: 1}", ("hardwear", "hardware")),
    ("- a\n- b", ("mapping", "list")),
    ("a: [1, 2", ("not valid YAML",)),
    ("a: &x 1\nb: *x", ("alias", "x")),
    ("model: {d_model: 1, d_model: 2}", ("d_model", "twice")),
    ("x: !!python/object/apply:os.system ['echo']", ("not valid YAML",)),
    ("sources: 3", ("sources", "3")),
]


@pytest.mark.parametrize(("text", "pieces"), BAD, ids=[text[:60].replace("\n", " ") for text, _ in BAD])
def test_bad_configuration_exits_with_one_sentence(text, pieces, tmp_path, capsys) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(SystemExit) as caught:
        main(["validate", str(path)])
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    message = re.sub(r"\s+", " ", err)
    assert message.startswith("error: ")
    for piece in pieces:
        assert piece in message.replace(str(path), ""), message


def test_there_are_at_least_sixty_bad_configurations() -> None:
    assert len({text for text, _ in BAD}) >= 60


@pytest.mark.parametrize(
    ("inputs", "piece"),
    [
        ({"dpus": 0}, "dpus"),
        ({"kv_caching": "x"}, "kv_caching"),
        ({"bsz": 2}, "bsz"),
        ({"activation": "gelu"}, "activation"),
        ({"group_factor": 1.0}, "group_factor"),
        ({"go": "yes"}, "go"),
        ({"k": 5, "experts": 4}, "k (model.top_k)"),
    ],
)
def test_reference_config_refuses_by_its_own_names(inputs, piece) -> None:
    with pytest.raises(ConfigError, match=re.escape(piece)):
        reference_config(**inputs)


def test_bad_files_are_named(tmp_path) -> None:
    with pytest.raises(ConfigError, match="neither a YAML file nor a shipped configuration"):
        load_config(tmp_path / "none.yaml")
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="UTF-8"):
        load_config(binary)
    huge = tmp_path / "huge.yaml"
    huge.write_text("# " + "x" * 1_100_000)
    with pytest.raises(ConfigError, match="at most 1,000,000"):
        load_config(huge)
    deep = tmp_path / "deep.yaml"
    deep.write_text("a: " + "[" * 2000 + "]" * 2000)
    with pytest.raises(ConfigError, match="nested too deeply"):
        load_config(deep)


@pytest.mark.parametrize(
    ("text", "piece"),
    [
        ("hardware: other.yaml", "start from each other (other.yaml -> again.yaml -> other.yaml)"),
        (f"plan: {{group_of_expert: [{'1, ' * 130_000}1]}}", "more than 20,000 keys and values"),
        (f"model: {{d_model: {'x' * 900_000}}}", "it must be a whole number"),
        (f"plan: {{policy: {'x' * 900_000}}}", "allowed: "),
        (f"model: {'x' * 900_000}", "neither a YAML file nor a shipped model preset"),
        (f"name: {'x' * 900_000}", "at most 255 characters"),
        (f"workload: {{prompt_tokens: {'9' * 900_000}}}", "a number of 900,000 characters"),
        (f"workload: {{prompt_tokens: {':'.join('1' * 300_000)}}}", "a number of 599,999 characters"),
        ('workload: {trace: {kind: "\\e[31m"}}', "'\\x1b[31m' is not accepted"),
        ("description: 2020-13-45\nmodel: {num_layers: 2020-13-45}", "'2020-13-45' is not accepted"),
        ("chip_model: [1]", "it must be text"),
        ("stated: [[1]]", "it must be text"),
        ('model: {hf: "a\\0b"}', "a\\x00b"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else None,
)
def test_hostile_files_are_one_short_sentence(text, piece, tmp_path) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    (tmp_path / "other.yaml").write_text("preset: again.yaml")
    (tmp_path / "again.yaml").write_text("preset: other.yaml")
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "bad.yaml")
    sentence = str(caught.value)
    assert piece in sentence
    assert sentence.isprintable()
    assert len(sentence) < 700


@pytest.mark.parametrize(
    "name", ["a\0b", "a\0b.yaml", "x" * 5000, "x" * 5000 + ".yaml", "x" * 5000 + ".json", "\x1b[31m"]
)
def test_impossible_names_are_one_short_sentence(name) -> None:
    for call in (
        load_config,
        lambda given: find_preset(given, "model"),
        lambda given: load_config({"hardware": given}),
    ):
        with pytest.raises(ConfigError) as caught:
            call(name)
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 700


@pytest.mark.parametrize(
    ("overrides", "key", "piece"),
    [
        ({"hardware.num_digital_units": 0}, "hardware.num_digital_units", "at least 1"),
        ({"plan.policy": "packed", "plan.group_size": 64}, "plan.group_size", "only 16 experts"),
        ({"plan.policy": "packed", "model.num_experts": 2}, "model.num_experts", "model.top_k is 4"),
        ({"hardwear.tiles": 1}, "hardwear.tiles", "did you mean 'hardware'"),
        ({"chip_model": "foo"}, "chip_model", "is unknown"),
        ({"hardware" + ".a" * 1000: 1}, "hardware" + ".a" * 1000, "no key has more than"),
    ],
)
def test_errors_of_overrides_name_the_key_and_no_file(overrides, key, piece) -> None:
    with pytest.raises(OverrideError) as caught:
        load_config("paper_multiplexed", overrides)
    assert caught.value.key == key
    assert piece in str(caught.value)
    assert ".yaml" not in str(caught.value)


def test_what_the_file_itself_breaks_is_not_blamed_on_overrides(tmp_path) -> None:
    (tmp_path / "bad.yaml").write_text("plan: {group_size: 64}")
    with pytest.raises(ConfigError, match=r"bad\.yaml.*only 16 experts") as caught:
        load_config(tmp_path / "bad.yaml", {"hardware.num_digital_units": 3})
    assert not isinstance(caught.value, OverrideError)
