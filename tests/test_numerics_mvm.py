"""crossbar_mvm against the goldens, the NumPy oracle and itself under jit, vmap and other operand types."""

from __future__ import annotations

import json
import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import crossbar as oracle

from pimjax.errors import NumericsError
from pimjax.numerics import Crossbar, crossbar_mvm
from pimjax.numerics.device import pcm_device


@pytest.fixture(scope="module")
def golden(golden_folder):
    meta = json.loads((golden_folder / "crosssim_mvm.json").read_text())["files"]["small"]
    return meta, np.load(golden_folder / "crosssim_mvm_golden_small.npz")


def variant(name, limits, rows=64):
    if name == "A":
        return Crossbar.create(rows=rows, cols=rows, adc_range=limits)
    return Crossbar.create(
        rows=rows, cols=rows, max_slices=4, max_cycles=7, cell_bits=2, cycle_bits=1, adc_bits=6, adc_range=limits
    )


@pytest.mark.parametrize("name", ["A", "B"])
@pytest.mark.parametrize("options", [{}, {"packing": False}, {"operands": "bfloat16"}, {"operands": "int8"}])
def test_golden_code_for_code(golden, name, options):
    meta, data = golden
    weights, inputs = jnp.float32(data["W_int"] / 127), jnp.float32(data["X_int"] / 127)
    crossbar = variant(name, meta[f"lim_{name}"])
    result = np.asarray(crossbar_mvm(weights, inputs, crossbar, **options))
    np.testing.assert_allclose(result, data[f"y_{name}"], atol=1e-6, rtol=0)  # one code is above 1e-2


def test_golden_test_can_fail(golden):
    meta, data = golden
    weights, inputs = jnp.float32(data["W_int"] / 127), jnp.float32(data["X_int"] / 127)
    wrong = crossbar_mvm(weights, inputs, variant("A", 1.01 * meta["lim_A"]))
    assert np.abs(np.asarray(wrong) - data["y_A"]).max() > 1e-3


def test_golden_exact_in_float64(golden):
    meta, data = golden
    with jax.enable_x64(True):
        for name in "AB":
            result = crossbar_mvm(
                jnp.asarray(data["W_int"] / 127), jnp.asarray(data["X_int"] / 127), variant(name, meta[f"lim_{name}"])
            )
            assert result.dtype == jnp.float64
            assert (np.asarray(result).astype(np.float32) == data[f"y_{name}"]).mean() > 0.99
            np.testing.assert_allclose(result, data[f"y_{name}"], rtol=2e-7, atol=1e-7)


def test_large_matrix_equals_oracle():
    """1024 x 1024 on 256 x 256 tiles with the tie-free ranges of the golden file's kind."""
    rng = np.random.default_rng(3)
    weights, inputs = rng.integers(-127, 128, (1024, 1024)) / 127, rng.integers(-127, 128, (1024, 4)) / 127
    lim_a = 601 / 127
    lim_b = [31 * 2.2 / 3] * 3 + [31 * 0.275 / 3]
    analog = crossbar_mvm(jnp.float32(weights), jnp.float32(inputs), variant("A", lim_a, 256))
    np.testing.assert_allclose(analog, oracle.crossbar_mvm(weights, inputs, rows=256, adc_range=[lim_a]), atol=2e-5)
    sliced = crossbar_mvm(jnp.float32(weights), jnp.float32(inputs), variant("B", lim_b, 256))
    expected = oracle.crossbar_mvm(weights, inputs, rows=256, cell_bits=2, cycle_bits=1, adc_bits=6, adc_range=lim_b)
    np.testing.assert_allclose(sliced, expected, atol=2e-5)


@settings(max_examples=25)
@given(
    data=st.data(),
    weight_bits=st.integers(2, 9),
    input_bits=st.integers(2, 9),
    adc_bits=st.integers(2, 10),
    flags=st.tuples(st.booleans(), st.booleans(), st.booleans(), st.booleans()),
)
def test_equals_oracle(data, weight_bits, input_bits, adc_bits, flags):
    """Any bits, codes, flags and ranges: one padded shape, so all examples are one compilation."""
    weight_offset, input_offset, one_sided, ideal = flags
    cell_bits = data.draw(st.integers(-(-weight_bits // 5), 9), "cell_bits")
    cycle_bits = data.draw(st.integers(-(-input_bits // 5), 9), "cycle_bits")
    rng = np.random.default_rng(data.draw(st.integers(0, 2**31), "seed"))
    weights, inputs = rng.uniform(-1, 1, (7, 19)), rng.uniform(-1, 1, (19, 3))
    # Irrational multiples of a cell: no sum of integers lies on a rounding boundary.
    limits = 8 * np.sqrt(2) * rng.uniform(0.2, 1.5, 5)
    common = dict(
        rows=8, weight_bits=weight_bits, cell_bits=cell_bits, input_bits=input_bits, cycle_bits=cycle_bits,
        adc_bits=adc_bits, weight_offset=weight_offset, input_offset=input_offset, adc_one_sided=one_sided,
        adc_ideal=ideal,
    )  # fmt: skip
    expected = oracle.crossbar_mvm(weights, inputs, adc_range=limits, **common)
    with jax.enable_x64(True):
        crossbar = Crossbar.create(cols=8, max_slices=5, max_cycles=5, adc_range=limits, **common)
        result = crossbar_mvm(jnp.asarray(weights), jnp.asarray(inputs), crossbar)
        np.testing.assert_allclose(result, expected, atol=1e-9 * max(1, np.abs(expected).max()))


def test_range_per_column_and_block():
    rng = np.random.default_rng(0)
    weights, inputs = rng.uniform(-1, 1, (6, 12)), rng.uniform(-1, 1, (12, 5))
    limits = np.sqrt(2) * rng.uniform(0.5, 3.0, (1, 6))
    crossbar = Crossbar.create(rows=4, adc_range=limits)
    expected = oracle.crossbar_mvm(weights, inputs, rows=4, adc_range=limits)
    np.testing.assert_allclose(crossbar_mvm(jnp.float32(weights), jnp.float32(inputs), crossbar), expected, atol=1e-5)
    by_block = np.sqrt(2) * rng.uniform(0.5, 3.0, (1, 3, 6))
    result = crossbar_mvm(jnp.float32(weights), jnp.float32(inputs), Crossbar.create(rows=4, adc_range=by_block))
    expected = sum(
        oracle.crossbar_mvm(weights[:, 4 * b : 4 * b + 4], inputs[4 * b : 4 * b + 4], rows=4, adc_range=by_block[:, b])
        for b in range(3)
    )
    np.testing.assert_allclose(result, expected, atol=1e-5)


def test_thousands_of_settings_compile_once():
    rng = np.random.default_rng(1)
    weights, inputs = jnp.float32(rng.uniform(-1, 1, (8, 8))), jnp.float32(rng.uniform(-1, 1, (8, 2)))
    base = Crossbar.create(rows=8, max_slices=4, max_cycles=7, cell_bits=2, cycle_bits=1)
    traces = 0

    @jax.jit
    def sweep(crossbars):
        nonlocal traces
        traces += 1
        return jax.vmap(lambda c: crossbar_mvm(weights, inputs, c))(crossbars)

    def stack(count, seed):
        rng = np.random.default_rng(seed)
        stacked = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *leaf.shape)), base)
        return stacked.replace(
            adc_bits=jnp.float32(rng.integers(2, 10, count)),
            cell_bits=jnp.float32(rng.integers(2, 8, count)),
            cycle_bits=jnp.float32(rng.integers(1, 8, count)),
            weight_offset=jnp.float32(rng.integers(0, 2, count)),
            adc_ideal=jnp.float32(rng.integers(0, 2, count)),
            adc_range=jnp.float32(rng.uniform(1, 8, (count, 4))),
            device=stacked.device.replace(on_off_ratio=jnp.float32(rng.uniform(5, 1e3, count))),
        )

    first, second = stack(2048, 0), stack(2048, 1)
    results = sweep(first)
    sweep(second)
    assert traces == 1
    for lane in (0, 77, 2047):
        alone = crossbar_mvm(weights, inputs, jax.tree.map(operator.itemgetter(lane), first))
        np.testing.assert_allclose(results[lane], alone, atol=1e-5)


def test_product_is_shared_by_converter_settings():
    """Vmapping over ADC settings only must not multiply the products: no batched dot in the program."""
    weights, inputs = jnp.ones((16, 16)), jnp.ones((16, 4))
    base = Crossbar.create(rows=16)

    def lane(bits, limit):
        return crossbar_mvm(weights, inputs, base.replace(adc_bits=bits, adc_range=limit[None]))

    program = str(jax.make_jaxpr(jax.vmap(lane))(jnp.full(512, 6.0), jnp.full(512, 3.0)))
    products = [line for line in program.splitlines() if "dot_general" in line]
    assert products
    assert all("f32[16,4]" in line.split("=")[0] for line in products), products


def test_window_is_taken_off_digitally():
    rng = np.random.default_rng(2)
    weights, inputs = jnp.float32(rng.uniform(-1, 1, (5, 9))), jnp.float32(rng.uniform(-1, 1, (9, 4)))
    for offset in (0, 1):
        ideal = Crossbar.create(rows=4, adc_ideal=True, weight_offset=offset, max_slices=4, cell_bits=2)
        leaky = ideal.replace(device=ideal.device.replace(on_off_ratio=jnp.float32(10.0)))
        np.testing.assert_allclose(
            crossbar_mvm(weights, inputs, leaky), crossbar_mvm(weights, inputs, ideal), atol=2e-5
        )
        # A real converter sees the smaller signal (or the added leak) and gives other codes.
        coarse = leaky.replace(adc_ideal=jnp.float32(0), adc_range=jnp.full(4, 2.0), adc_bits=jnp.float32(4))
        exact = ideal.replace(adc_ideal=jnp.float32(0), adc_range=jnp.full(4, 2.0), adc_bits=jnp.float32(4))
        assert np.abs(crossbar_mvm(weights, inputs, coarse) - crossbar_mvm(weights, inputs, exact)).max() > 1e-3


def test_zero_noise_with_key_changes_no_code(golden):
    meta, data = golden
    weights, inputs = jnp.float32(data["W_int"] / 127), jnp.float32(data["X_int"] / 127)
    result = crossbar_mvm(weights, inputs, variant("B", meta["lim_B"]), jax.random.key(0))
    np.testing.assert_allclose(result, data["y_B"], atol=1e-6)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"adc_bits": 0}, "adc_bits is 0"),
        ({"adc_bits": 7.5}, "whole numbers"),
        ({"weight_bits": 1}, "weight_bits is 1"),
        ({"cell_bits": 0}, "cell_bits is 0"),
        ({"input_bits": 99}, "input_bits is 99"),
        ({"adc_range": -1.0}, "inverted"),
        ({"adc_range": float("nan")}, "finite"),
        ({"adc_range": [1.0, 2.0, 3.0]}, "shape"),
        ({"rows": 0}, "rows is 0"),
        ({"adc_ideal": 2}, "flag"),
        ({"output_noise": -0.1}, "output_noise"),
        ({"cell_bits": 2}, "max_slices"),
        ({"cycle_bits": 1}, "max_cycles"),
        ({"wire_row": 1e-4}, "wire_sweeps"),
        ({"device": pcm_device(stuck_on=0.6, stuck_off=0.6)}, "stuck"),
        ({"device": pcm_device(on_off_ratio=0.5)}, "on_off_ratio"),
    ],
)
def test_bad_settings_name_the_setting(change, words):
    with pytest.raises(NumericsError, match=words):
        crossbar_mvm(jnp.ones((2, 3)), jnp.ones((3, 1)), Crossbar(**change))


@pytest.mark.parametrize(
    ("weights", "inputs", "words"),
    [
        (np.ones((2, 3)), np.ones((4, 1)), "same, non-empty"),
        (np.ones(3), np.ones((3, 1)), "same, non-empty"),
        (np.array([[np.nan]]), np.ones((1, 1)), "weights holds Inf or NaN"),
        (np.array([[np.inf]]), np.ones((1, 1)), "weights holds Inf or NaN"),
        (np.ones((1, 1)), np.array([[-np.inf]]), "inputs holds Inf or NaN"),
    ],
)
def test_bad_arrays(weights, inputs, words):
    with pytest.raises(NumericsError, match=words):
        crossbar_mvm(jnp.float32(weights), jnp.float32(inputs), Crossbar.create(rows=4))


def test_unknown_names():
    with pytest.raises(NumericsError, match="no setting 'bits'"):
        Crossbar.create(bits=3)
    with pytest.raises(NumericsError, match="presets are"):
        Crossbar.create(device="memristor")
    with pytest.raises(NumericsError, match="operands"):
        crossbar_mvm(jnp.ones((1, 1)), jnp.ones((1, 1)), Crossbar.create(), operands="int4")


def test_misfits_inside_jit_are_nan():
    call = jax.jit(crossbar_mvm)
    weights, inputs = jnp.ones((2, 3)), jnp.ones((3, 1))
    assert jnp.isnan(call(weights, inputs, Crossbar(cell_bits=2, rows=4))).all()
    assert jnp.isnan(call(weights.at[0, 0].set(jnp.inf), inputs, Crossbar(rows=4))[0]).all()
    assert jnp.isfinite(call(weights, inputs, Crossbar(rows=4))).all()
    wide = Crossbar.create(rows=4, weight_offset=True, cell_bits=8)
    assert jnp.isnan(jax.jit(lambda w: crossbar_mvm(w, inputs, wide, operands="int8"))(weights)).all()
