"""A config.json that is no such thing: one sentence, whatever it holds."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pimjax.config import from_hf, load_config, parameter_count
from pimjax.errors import PimjaxError
from pimjax.imports.json_file import MAX_BYTES, parse_json

TINY = json.loads((Path(__file__).parent / "golden" / "hf_tiny_configs.json").read_text())
MIXTRAL = json.dumps(TINY["mixtral"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not valid JSON"),
        ("{", "not valid JSON"),
        ("[1, 2]", "must be a JSON object"),
        ("null", "must be a JSON object"),
        ("weights", "not valid JSON"),
        ('{"a": NaN}', "finite"),
        ('{"a": -Infinity}', "finite"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ('{"a": ' + "9" * 10_000 + "}", "too many digits"),
        (MIXTRAL.replace('"hidden_size": 48', '"hidden_size": null'), "'hidden_size' is missing"),
        (MIXTRAL.replace('"hidden_size": 48', '"hidden_size": -48'), "whole number from 1"),
        (MIXTRAL.replace('"hidden_size": 48', '"hidden_size": 48.0'), "whole number from 1"),
        (MIXTRAL.replace('"hidden_size": 48', '"hidden_size": true'), "whole number from 1"),
        (MIXTRAL.replace('"hidden_size": 48', '"hidden_size": "48"'), "whole number from 1"),
        (MIXTRAL.replace('"hidden_size": 48', '"hidden_size": 1e999'), "whole number from 1"),
        (MIXTRAL.replace('"hidden_size": 48', '"hidden_size": 2147483647'), "d_model"),
        (MIXTRAL.replace('"hidden_size": 48', '"hidden_size": 1' + "0" * 4000), "bits"),
        (MIXTRAL.replace('"num_hidden_layers": 6', '"num_hidden_layers": 2000000000'), "num_hidden_layers"),
        (MIXTRAL.replace('"num_experts_per_tok": 3', '"num_experts_per_tok": 8'), "at most the number of experts"),
        (MIXTRAL.replace('"mixtral"', "7"), "must be text"),
        (MIXTRAL.replace('"mixtral"', '"' + "x" * 1_000_000 + '"'), "no family"),
        (MIXTRAL.replace('"mixtral"', r'"\u001b[31m[/red]"'), "no family"),
    ],
)  # fmt: skip
def test_one_short_sentence(text, words, tmp_path) -> None:
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(PimjaxError, match=words) as caught:
        load_config(path)
    assert len(str(caught.value)) < 600
    assert str(caught.value).isprintable()


def test_a_file_of_a_gigabyte_is_not_read(tmp_path) -> None:
    path = tmp_path / "config.json"
    with path.open("wb") as stream:
        stream.truncate(1_000_000_000)  # sparse
    begin = time.perf_counter()
    with pytest.raises(PimjaxError, match="at most"):
        load_config(path)
    assert time.perf_counter() - begin < 5


def test_the_largest_file_that_is_read_is_refused_for_what_it_holds(tmp_path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"model_type": "mixtral", "x": "' + "y" * (MAX_BYTES - 100) + '"}')
    with pytest.raises(PimjaxError, match="'hidden_size' is missing"):
        load_config(path)


@pytest.mark.parametrize("name", ["no.json", "a" * 5000 + ".json", "nul\0.json"])
def test_paths_that_are_none(name) -> None:
    with pytest.raises(PimjaxError):
        load_config(name)
    with pytest.raises(PimjaxError):
        load_config({"model": {"hf": name}})


def test_folders_and_pipes_are_no_files(tmp_path) -> None:
    with pytest.raises(PimjaxError, match="is not a file"):
        load_config({"model": {"hf": str(tmp_path)}})
    pipe = tmp_path / "pipe.json"
    os.mkfifo(pipe)
    with pytest.raises(PimjaxError, match="is not a file"):
        load_config(pipe)
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PimjaxError, match="UTF-8"):
        load_config(tmp_path / "binary.json")


SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=20)
)  # fmt: skip
VALUES = st.recursive(
    SCALARS | st.sampled_from([0, 1, 2, 6, 10**4, 2**31 - 1, 2**31, -1, "silu", "full_attention", "fp8"]),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
FIELDS = sorted({key for data in TINY.values() for key in data} | {
    "text_config", "vision_config", "quantization_config", "architectures", "dtype", "layer_types", "mlp_layer_types",
    "index_topk_pattern", "hybrid_override_pattern", "mlp_only_layers", "no_rope_layers", "per_layer_config",
})  # fmt: skip


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    name=st.sampled_from(sorted(TINY)),
    changes=st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=4),
    dropped=st.sets(st.sampled_from(FIELDS), max_size=3),
)
def test_mutations_are_imported_or_refused(name, changes, dropped) -> None:
    data = {key: value for key, value in TINY[name].items() if key not in dropped} | changes
    sentence = ""
    try:
        model = from_hf(data)
    except PimjaxError as error:
        sentence = str(error)
    if sentence:
        assert len(sentence) < 700
        assert "\n" not in sentence
        return
    assert parameter_count(model).total >= parameter_count(model).active > 0


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: raw.decode("latin-1")))
def test_any_text_is_an_object_or_a_sentence(text) -> None:
    sentence = ""
    try:
        assert isinstance(parse_json(text), dict)
    except PimjaxError as error:
        sentence = str(error)
    assert "\n" not in sentence
