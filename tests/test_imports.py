"""config.json of Hugging Face checkpoints: parameters, layers, formats, entry points, what is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pimjax.cli.app import main
from pimjax.config import from_hf, load_config, parameter_count
from pimjax.config.parameters import parameter_table
from pimjax.config.template import render_yaml
from pimjax.config.uncosted import refuse_uncosted, uncosted_features
from pimjax.config.weight_formats import checkpoint_bytes
from pimjax.config.yaml_reader import parse_yaml
from pimjax.errors import ConfigError
from pimjax.estimation import estimate
from pimjax.imports import family_names, read_hf
from pimjax.imports.registry import FAMILIES, REFUSED

ROOT = Path(__file__).parents[1]
TINY = json.loads((ROOT / "tests" / "golden" / "hf_tiny_configs.json").read_text())
COUNTED = json.loads((ROOT / "benchmarks" / "results" / "import_parameters.json").read_text())
REAL = Path(os.environ.get("PIMJAX_HF_CONFIGS", ROOT.parent / "shared" / "hf-configs"))
#: read by another family's function, or as part of a larger file, under a name that transformers' causal models lack
ALIASES = {"qwen2_vl", "qwen2_vl_text", "qwen2_5_vl", "qwen2_5_vl_text", "qwen3_vl_text", "qwen3_vl_moe_text",
           "glm4v_moe_text", "llama4", "qwen3_5", "qwen3_5_moe", "sarvam_moe", "sarvam_mla", "ministral3"}  # fmt: skip


def run(*arguments: str | Path) -> int:
    """Exit code of the command line."""
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    return int(caught.value.code or 0)


def real(name: str) -> Path:
    """A real file, or a skip that names the folder."""
    path = REAL / name
    if not path.is_file():
        pytest.skip(f"{REAL} has no {name}: set PIMJAX_HF_CONFIGS")
    return path


@pytest.mark.parametrize("name", TINY)
def test_parameters_equal_those_of_transformers(name: str) -> None:
    model = from_hf(TINY[name])
    assert parameter_count(model).total == COUNTED["tiny"][name]
    assert sum(part.total for part in parameter_table(model).values()) == COUNTED["tiny"][name]


def test_every_family_has_a_small_configuration() -> None:
    assert set(family_names()) - {data["model_type"] for data in TINY.values()} == ALIASES
    assert not set(REFUSED) & set(FAMILIES)


@pytest.mark.parametrize("name", COUNTED["files"])
def test_real_files_import_exactly_or_are_refused_by_the_kind_of_their_layers(name: str) -> None:
    path, counted = real(name), COUNTED["files"][name]
    if "refused" in counted:
        with pytest.raises(ConfigError, match="layers"):
            from_hf(path)
        return
    count = parameter_count(from_hf(path))
    assert (count.total, count.active) == (counted["transformers"], counted["active"])
    assert count.active_without_embedding == counted["active_without_embedding"]


def test_at_most_one_of_the_real_files_is_refused() -> None:
    assert sum("refused" in row for row in COUNTED["files"].values()) == 1
    assert all(row.get("relative_difference", 0) == 0 for row in COUNTED["files"].values())


def test_changed_configurations_were_equal_too() -> None:
    assert COUNTED["changed"]["compared"] == COUNTED["changed"]["equal"] > 1000


def test_every_second_layer_from_the_second_has_experts() -> None:
    model = from_hf(TINY["llama4"])
    assert (model.moe_frequency, model.moe_offset) == (2, 1)
    assert [layer for layer in range(6) if model.is_moe_layer(layer)] == [1, 3, 5]
    assert [model.layer_kind(layer) for layer in range(6)] == ["chunked"] * 3 + ["full"] + ["chunked"] * 2
    assert [layer for layer in range(6) if from_hf(TINY["llama4 listed"]).is_moe_layer(layer)] == [0, 4]


def test_expert_layers_skip_those_the_list_names() -> None:
    model = from_hf(TINY["qwen2_moe mixed"])  # every second layer, but not layer 3
    assert [layer for layer in range(6) if model.is_moe_layer(layer)] == [1, 5]
    assert [model.is_windowed_layer(layer) for layer in range(6)] == [True, False, True, False, False, False]


def test_shared_experts_are_one_block() -> None:
    model = from_hf(TINY["deepseek_v3"])
    assert (model.num_shared_experts, model.shared_width) == (2, 48)
    assert from_hf(TINY["qwen2_moe"]).shared_gate
    assert from_hf(TINY["gemma4"]).shared_width == 40  # the dense block beside the experts


def test_a_model_without_expert_layers_is_dense() -> None:
    model = from_hf(TINY["qwen3_moe without experts"])
    assert (model.num_experts, model.d_ff, model.num_moe_layers) == (0, 40, 0)


def test_active_parameters_say_whether_they_count_the_input_embedding() -> None:
    untied, tied = parameter_count(from_hf(TINY["mixtral"])), parameter_count(from_hf(TINY["mixtral head_dim"]))
    assert untied.active - untied.active_without_embedding == 48 * 97
    assert tied.active == tied.active_without_embedding
    assert untied.total - untied.active == 6 * (7 - 3) * 3 * 48 * 40


@pytest.mark.parametrize(
    ("settings", "formats", "notes"),
    [
        ({}, ("bf16", None, None), 0),
        ({"torch_dtype": "float16"}, ("fp16", None, None), 0),
        ({"dtype": "float32", "quantization_config": {"quant_method": "fp8"}}, ("fp32", "fp8", "fp8"), 0),
        ({"quantization_config": {"quant_method": "mxfp4"}}, ("bf16", None, "mxfp4"), 0),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, ("bf16", "int4", "int4"), 0),
        ({"quantization_config": {"quant_method": "modelopt", "quant_algo": "NVFP4"}}, ("bf16", "nvfp4", "nvfp4"), 0),
        (
            {
                "quantization_config": {
                    "quant_method": "compressed-tensors",
                    "config_groups": {"group_0": {"weights": {"num_bits": 4, "type": "int"}}},
                    "ignore": ["lm_head", "re:.*self_attn.*", "re:.*shared_experts.*"],
                }
            },
            ("bf16", None, "int4"),
            0,
        ),
        ({"quantization_config": {"quant_method": "hqq"}}, ("bf16", None, None), 1),
    ],
)
def test_formats_of_stored_weights(settings, formats, notes) -> None:
    model = from_hf({**TINY["mixtral"], **settings})
    assert (model.weight_format, model.linear_format, model.expert_format) == formats
    assert len(model.left_out) == notes


def test_bytes_of_a_checkpoint_follow_the_formats() -> None:
    plain, packed = (
        from_hf({**TINY["mixtral"], **more}) for more in ({}, {"quantization_config": {"quant_method": "mxfp4"}})
    )
    assert checkpoint_bytes(plain) == 2 * COUNTED["tiny"]["mixtral"]
    experts = parameter_table(plain)["routed experts"].total
    assert checkpoint_bytes(packed) == checkpoint_bytes(plain) - experts * (16 - 4.25) / 8


def test_towers_and_prediction_layers_are_named_as_left_out() -> None:
    whole = {
        "model_type": "mistral3",
        "architectures": ["Mistral3ForConditionalGeneration"],
        "vision_config": {"hidden_size": 4},
        "text_config": {**TINY["deepseek_v3"], "num_nextn_predict_layers": 2},
    }
    model = from_hf(whole)
    assert model.left_out == ("the vision tower", "2 multi-token prediction (MTP) layers")
    assert parameter_count(model).total == COUNTED["tiny"]["deepseek_v3"]


def test_the_class_names_the_family_where_the_type_is_unknown() -> None:
    data = {**TINY["deepseek_v3"], "model_type": "my_finetune", "architectures": ["DeepseekV3ForCausalLM"]}
    assert read_hf(data).family == "deepseek_v3"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"model_type": "jamba"}, "Mamba-1 layers"),
        ({"model_type": "kimi_linear"}, "Kimi delta attention layers"),
        ({"model_type": "lfm2_moe"}, "short convolution layers"),
        ({"model_type": "t5"}, "no family that pimjax imports"),
        ({}, "no family that pimjax imports"),
        ({**TINY["deepseek_v3"], "index_topk": 64}, "sparse attention with an indexer"),
        ({**TINY["llama"], "n_shared_experts": 2}, "shared experts"),
        ({**TINY["gemma4"], "num_kv_shared_layers": 2}, "share keys and values"),
        ({**TINY["qwen2_moe mixed"], "layer_types": ["linear_attention"] * 6}, "layers of full and sliding attention"),
        ({**TINY["mixtral"], "hidden_act": "tanh"}, "activations of gated"),
    ],
)
def test_what_is_not_modelled_is_refused_in_one_sentence(data, words) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        from_hf(data)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [("stablelm parallel", "parallel blocks"), ("nemotron_h latent, biases", "latent experts")],
)
def test_what_no_chip_costs_is_refused_by_estimates_and_named_by_validate(name, words, tmp_path, capsys) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(TINY[name]))
    assert any(words in sentence for sentence in uncosted_features(from_hf(path)))
    with pytest.raises(ConfigError, match=words):
        refuse_uncosted(load_config(path))
    assert run("estimate", path) == 2
    assert words in capsys.readouterr().err.replace("\n", " ")
    assert run("validate", path, "--json") == 0
    assert any(words in sentence for sentence in json.loads(capsys.readouterr().out)["not_costed"])


@pytest.mark.parametrize("name", COUNTED["files"])
def test_real_files_that_import_are_estimated(name: str) -> None:
    path = real(name)
    if "refused" in COUNTED["files"][name]:
        return
    settings = {"workload.prompt_tokens": 4, "workload.trace.tokens": 6, "workload.generated_tokens": 3}
    settings |= {"workload.kv_cache": True}
    assert float(estimate(load_config(path, settings), fidelity="closed").latency_ns) > 0


def test_every_way_in_gives_the_same_model(tmp_path) -> None:
    folder = tmp_path / "my-model"
    folder.mkdir()
    path = folder / "config.json"
    path.write_text(json.dumps(TINY["qwen3_moe"]))
    (tmp_path / "a.yaml").write_text("model: {hf: my-model, num_layers: 4}")
    (tmp_path / "b.yaml").write_text("model: my-model/config.json")
    loaded = load_config(path)
    assert loaded.name == "my-model"
    assert loaded.model == load_config(folder).model == load_config({"model": {"hf": str(path)}}).model
    assert load_config(tmp_path / "a.yaml").model.num_layers == 4
    assert load_config(tmp_path / "b.yaml").model == loaded.model
    assert load_config(path, {"workload.trace.tokens": 7}).workload.trace.tokens == 7
    assert load_config(path).workload.trace.tokens == 128
    assert run("init", tmp_path / "c.yaml", "--from", path) == 0
    assert load_config(tmp_path / "c.yaml").model == loaded.model


@pytest.mark.parametrize("name", ["nemotron_h", "qwen3_5_moe", "gemma4", "glm_moe_dsa reusing indexers"])
def test_models_survive_their_own_template(name) -> None:
    config = load_config({"model": from_hf(TINY[name])})
    assert load_config(parse_yaml(render_yaml(config))[0]).model == config.model


def test_a_dense_model_is_estimated(tmp_path, capsys) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(TINY["llama"]))
    assert run("estimate", path, "--fidelity", "event", "--json") == 0
    assert json.loads(capsys.readouterr().out)["latency_ns"] > 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"moe_offset": 2, "moe_frequency": 2}, "below model.moe_frequency"),
        ({"moe_layers": [4]}, "from 0 to 3, each once"),
        ({"moe_layers": [1, 1]}, "from 0 to 3, each once"),
        ({"layer_types": ["full"] * 5}, "one for each of the 4 layers"),
        ({"layer_types": ["sliding"]}, "needs model.sliding_window"),
        ({"layer_types": ["mamba"]}, "needs model.mamba"),
        ({"layer_types": ["none"]}, "single_block_layers"),
        ({"layer_types": ["sparse"], "indexer": {"heads": 1, "head_dim": 1, "top_k": 1}}, "'mla'"),
        (
            {"linear": {"key_heads": 2, "key_head_dim": 1, "value_heads": 3, "value_head_dim": 1}},
            "multiple of key_heads",
        ),
        ({"shared_d_ff": 8}, "num_shared_experts is 0"),
        ({"router_groups": 3}, "must divide model.num_experts"),
        ({"router_groups_kept": 2}, "only 1 groups"),
        ({"num_layers": 10**9}, "at most 10000"),
        ({"num_experts": 10**9}, "at most 65536"),
        ({"vocab_size": 2**31}, "at most"),
        ({"hf": 3}, "path of a config.json"),
        ({"hf": "x.json", "preset": "gpt_oss_20b"}, "both"),
    ],
)
def test_contradicting_keys_of_a_model_are_named(change, words) -> None:
    with pytest.raises(ConfigError, match=words):
        load_config({"model": {"num_layers": 4, "num_experts": 16, **change}})
