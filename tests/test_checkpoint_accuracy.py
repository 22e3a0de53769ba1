"""A checkpoint through crossbars: against the exact model, against products done one by one, over settings and maps."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pimjax.errors import CheckpointError, ConfigError, NumericsError, PimjaxError
from pimjax.nn import analog_map, evaluate_checkpoint, load_checkpoint, open_checkpoint
from pimjax.nn.analog_selection import GROUPS, MATRICES
from pimjax.nn.checkpoint.evaluate import stack_crossbars
from pimjax.nn.checkpoint.text import into_windows, read_tokens
from pimjax.nn.decoder.analog_layer import AnalogOptions, analog_layer, run_layer
from pimjax.nn.decoder.experts import gated_unit
from pimjax.numerics.quality import signal_to_noise_db
from pimjax.numerics.settings import Crossbar

FOLDER = Path(__file__).parent / "golden" / "checkpoints"
NAMES = sorted(path.name for path in FOLDER.iterdir())
WINDOWS = np.random.default_rng(3).integers(1, 61, (2, 13))


def plain_perplexity(name: str) -> float:
    model = load_checkpoint(FOLDER / name)
    losses = [
        -np.asarray(jax.nn.log_softmax(model(window[:-1]).logits))[np.arange(12), window[1:]].mean()
        for window in WINDOWS
    ]
    return math.exp(float(np.mean(losses)))


@pytest.mark.parametrize("name", NAMES)
def test_layer_by_layer_equals_the_whole_model(name):
    found = evaluate_checkpoint(open_checkpoint(FOLDER / name), WINDOWS)
    assert found.exact_perplexity == pytest.approx(plain_perplexity(name), rel=1e-4)
    assert found.num_tokens == 24
    assert found.analog_weights == 0
    assert set(found.seconds) == {"reading", "compiling", "running"}


@functools.cache
def ladder():
    """Settings of one batch: 4 bits, 8 bits, 12 bits, an ideal converter with 12-bit weights and inputs."""
    settings = [{"adc_bits": bits} for bits in (4, 8, 12)]
    fine = {"weight_bits": 12, "input_bits": 12, "cell_bits": 11, "cycle_bits": 11, "adc_ideal": 1}
    crossbars = [Crossbar.create(rows=32, cols=32, **one) for one in (*settings, fine)]
    return evaluate_checkpoint(
        open_checkpoint(FOLDER / "gpt_oss"), WINDOWS, crossbars, input_percentile=100.0, random=False
    )


def test_more_bits_are_closer():
    found = ladder()
    assert (np.diff(found.layer_sqnr_db.min(axis=1)) > 0).all()
    assert (np.diff(found.stream_sqnr_db[:, -1]) > 0).all()
    assert found.layer_sqnr_db[-1].min() > 45
    assert found.perplexity[-1] == pytest.approx(found.exact_perplexity, rel=5e-3)
    assert abs(found.perplexity[0] / found.exact_perplexity - 1) > 0.02
    assert found.moved[0].max() > found.moved[-1].max()
    assert found.exact_perplexity == pytest.approx(plain_perplexity("gpt_oss"), rel=1e-4)


def test_all_weights_are_counted():
    model = load_checkpoint(FOLDER / "gpt_oss")
    named = [array for layer in model.weights().layers for key, array in layer.arrays.items() if key in MATRICES]
    assert ladder().analog_weights == sum(array.size for array in named) + model.outside["output"].size


def test_nothing_analog_is_the_exact_model():
    crossbars = [Crossbar.create(rows=32, adc_bits=4)]
    digital = analog_map("all", "all")
    found = evaluate_checkpoint(open_checkpoint(FOLDER / "gpt_oss"), WINDOWS, crossbars, analog=digital, random=False)
    assert found.perplexity[0] == pytest.approx(found.exact_perplexity, rel=1e-6)
    assert found.moved.max() == 0
    assert found.analog_weights == 0


def test_a_batch_of_noisy_settings_sees_one_chip():
    """Noise 0 is the quiet crossbar; the same draws scaled up do more; the same seed gives the same numbers."""
    quiet = Crossbar.create(rows=32, device="pcm")
    silent = dataclasses.replace(quiet.device, programming_scale=0.0, read_scale=0.0, drift_scale=0.0)
    aged = dataclasses.replace(quiet.device, drift_time_s=1e6)
    crossbars = [dataclasses.replace(quiet, device=one) for one in (silent, quiet.device, aged)]
    opened = open_checkpoint(FOLDER / "gpt_oss")
    some = analog_map(["experts", "query"], "up:1:0-2")
    found = evaluate_checkpoint(opened, WINDOWS, crossbars, analog=some, seed=5)
    assert (np.diff(found.layer_sqnr_db, axis=0) < 0).all()
    again = evaluate_checkpoint(opened, WINDOWS, crossbars, analog=some, seed=5)
    assert np.array_equal(found.perplexity, again.perplexity)
    plain = evaluate_checkpoint(opened, WINDOWS, [Crossbar.create(rows=32)], analog=some, random=False)
    np.testing.assert_allclose(found.layer_sqnr_db[0], plain.layer_sqnr_db[0], atol=0.3)


def test_a_layer_through_crossbars_is_its_products_one_by_one():
    """The compiled layer against `crossbar_linear` called for every matrix and every expert's tokens alone."""
    from pimjax.nn.crossbar_linear import crossbar_linear, fit_ranges

    own = open_checkpoint(FOLDER / "gpt_oss").layer(0)
    hidden = jax.random.normal(jax.random.key(0), (12, 16))
    crossbar = Crossbar.create(rows=8, adc_bits=6)
    names = ("query", "attention_output", "up", "down")
    masks = {name: jnp.array([True, False] * 3) if name in ("up", "down") else jnp.array(True) for name in names}
    options = AnalogOptions(samples=5, outputs=7, random=False)
    stacked = stack_crossbars([crossbar])
    percentiles = (jnp.float32(99.0), jnp.float32(99.0))
    found = analog_layer(
        own, hidden, hidden[None] * 1.1, stacked, masks, jax.random.key(1), percentiles, sequences=2, options=options
    )
    recorded: dict[str, jax.Array] = {}

    def record(weights, inputs, site):
        recorded.setdefault(site.name, inputs)
        return inputs @ weights.T

    exact = run_layer(own, hidden, 2, record)
    np.testing.assert_allclose(found.exact, exact.hidden, atol=1e-5)

    def evenly(rows, count):
        return rows[:: -(-len(rows) // count)]

    def plain(weights, inputs, site):
        product = inputs @ weights.T
        if site.name not in masks:
            return product
        if site.expert is None:
            seen, used = recorded[site.name], jnp.array(True)
        else:
            seen, used = recorded["router"], masks[site.name][site.expert]
        seen = evenly(seen, options.samples)
        if site.name == "down":
            arrays = {name: own.arrays[name][site.expert] for name in ("gate", "up", "gate_bias", "up_bias")}
            gate, up = (seen @ arrays[name].T + arrays[f"{name}_bias"][None] for name in ("gate", "up"))
            seen = gated_unit(gate, up, own.shape, own.numbers)
        ranges = fit_ranges(
            evenly(weights, options.outputs), seen, crossbar, percentile=percentiles[0], input_percentile=percentiles[1]
        )
        return jnp.where(used, crossbar_linear(weights, inputs, ranges, crossbar), product)

    other = jax.jit(lambda inputs: run_layer(own, inputs, 2, plain))(hidden * 1.1)
    np.testing.assert_allclose(found.analog[0], other.hidden, atol=1e-4)
    alone = jax.jit(lambda inputs: run_layer(own, inputs, 1, plain))(hidden[:6])
    wanted = signal_to_noise_db((exact.hidden - hidden)[:6], alone.hidden - hidden[:6])
    assert float(found.layer_sqnr_db[0]) == pytest.approx(float(wanted), abs=0.05)
    assert float(found.stream_sqnr_db[0]) == pytest.approx(
        float(signal_to_noise_db(exact.hidden, other.hidden)), abs=0.05
    )
    moved = 1 - np.mean(
        [
            len(set(a) & set(b)) / 2
            for a, b in zip(*(np.asarray(one.choice.experts) for one in (exact, other)), strict=True)
        ]
    )
    assert float(found.moved[0]) == pytest.approx(moved)


# --- maps, windows, tokens ----------------------------------------------------------------------------------------


def test_maps():
    made = analog_map(["experts:0-1", "query"], "up:1:0,2-9")
    assert made.mask("up", 0, 4).all()
    assert made.mask("up", 1, 4).tolist() == [False, True, False, False]
    assert not made.mask("up", 2, 4).any()
    assert made.mask("query", 7)
    assert not made.mask("output", -1)
    assert analog_map().mask("output", -1)
    assert all(set(members) <= set(MATRICES) for members in GROUPS.values())


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("weights", "names no matrix"), ("", "must be"), ("up:", "no list of numbers"), ("up:1-", "no list of numbers"),
        ("up:-1", "no list of numbers"), ("up:1:2:3", "too many parts"), ("query:0:1", "experts of matrices that have none"),
        ("all:0:1", "experts of matrices that have none"), ("up:1.5", "no list"), ("up:9999999", "no list"),
        ("up:*:a", "no list"), ("x" * 5000, "must be"), (3, "must be"), ([3], "must be"), (None, "must be"),
    ],
)  # fmt: skip
def test_words_of_a_map_that_are_none(word, words):
    with pytest.raises(ConfigError, match=words) as caught:
        analog_map(word)
    assert len(str(caught.value)) < 600


def test_windows():
    assert into_windows(np.arange(10), 4, most=3).tolist() == [[0, 1, 2, 3, 4]]
    assert into_windows(np.arange(4), 100).tolist() == [[0, 1, 2, 3]]
    with pytest.raises(CheckpointError, match="at least two"):
        into_windows(np.arange(1), 4)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.json", b"[1, 2", "not valid JSON"), ("a.json", b'{"a": 1}', "list of whole numbers"), ("a.json", b"[1.5]", "whole numbers"),
        ("a.json", b"[[1, 2]]", "whole numbers"), ("a.json", b"[1, [2]]", "whole numbers"), ("a.json", b"[]", "whole numbers"),
        ("a.json", b"[true]", "whole numbers"), ("a.json", b"[" * 50_000, "not valid JSON"), ("a.json", b"[" + b"9" * 5000 + b"]", "JSON"),
        ("a.json", b"[99999999999999999999999]", "whole numbers"), ("a.npy", b"abc", "no NumPy array"), ("a.npy", b"", "no NumPy array"),
        ("a.txt", b"\xff\xfe\x00", "not UTF-8"), ("a.txt", b"words", "has no tokenizer.json"),
    ],
)  # fmt: skip
def test_texts_that_are_none(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=words):
        read_tokens(tmp_path / name, FOLDER / "gpt_oss")


def test_token_ids(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(5, dtype=np.int16))
    (tmp_path / "b.json").write_text("[0, 1, 2, 3, 4]")
    for name in ("a.npy", "b.json"):
        assert read_tokens(tmp_path / name, tmp_path).tolist() == [0, 1, 2, 3, 4]
    np.save(tmp_path / "pickled.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(CheckpointError, match="no NumPy array"):
        read_tokens(tmp_path / "pickled.npy", tmp_path)
    with (tmp_path / "large.txt").open("wb") as stream:
        stream.truncate(1_000_000_000)  # sparse
    with pytest.raises(CheckpointError, match="at most"):
        read_tokens(tmp_path / "large.txt", tmp_path)
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_tokens(tmp_path / "none", tmp_path)


def test_a_text_is_cut_by_the_tokenizer_of_the_folder(tmp_path):
    tokenizers = pytest.importorskip("tokenizers", reason="needs the extra checkpoints")
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0, "one": 1, "two": 2}, unk_token="[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "a.txt").write_text("two one three two")
    assert read_tokens(tmp_path / "a.txt", tmp_path).tolist() == [2, 1, 0, 2]
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": 3}))
    with pytest.raises(CheckpointError, match="no tokenizer that can be read"):
        read_tokens(tmp_path / "a.txt", tmp_path)


def test_what_is_refused():
    opened = open_checkpoint(FOLDER / "gpt_oss")
    with pytest.raises(CheckpointError, match="at least two"):
        evaluate_checkpoint(opened, np.ones((2, 1), int))
    with pytest.raises(CheckpointError, match="windows is"):
        evaluate_checkpoint(opened, np.full((2, 4), 61))
    with pytest.raises(NumericsError, match="must share rows and columns"):
        evaluate_checkpoint(opened, WINDOWS, [Crossbar.create(rows=8), Crossbar.create(rows=16)])
    with pytest.raises(PimjaxError, match="adc_bits"):
        evaluate_checkpoint(opened, WINDOWS, [Crossbar(adc_bits=-1.0)])
