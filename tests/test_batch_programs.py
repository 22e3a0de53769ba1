"""Compiled programs that are kept between runs of the command line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

import pimjax
from pimjax.batch import estimate_batch
from pimjax.cli.program_cache import cache_folder, use_compilation_cache
from pimjax.estimation import stored_programs


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "programs"
    stored_programs.keep_in(place)
    yield place
    stored_programs.keep_in(None)


def _run(traced: list[int], key: str = "double", size: int = 3) -> list[float]:
    """A fresh start: nothing is in memory; `traced` grows when the function is traced."""

    @jax.jit
    def double(x):
        traced.append(1)
        return {"b": 2 * x, "a": x + 1}

    stored_programs._held.clear()
    x = jnp.arange(size, dtype=jnp.float32)
    call = stored_programs.compiled(double, (x,), key=(key,), results={"b": 0, "a": 0})
    out = call(x)
    np.testing.assert_array_equal(out["a"], x + 1)
    return np.asarray(out["b"]).tolist()


def test_a_kept_program_is_neither_traced_nor_compiled_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    traced: list[int] = []
    assert _run(traced) == [0, 2, 4]
    assert _run(traced) == [0, 2, 4]
    assert len(traced) == 1
    assert (folder.stat().st_mode & 0o077) == 0
    _run(traced, key="other")
    _run(traced, size=4)
    with jax.default_matmul_precision("float32"):
        _run(traced)
    assert len(traced) == 4
    assert len(list(folder.iterdir())) == 4
    monkeypatch.setattr(stored_programs, "_KEPT", 2)
    _run(traced, size=5)
    assert len(list(folder.iterdir())) == 2
    _run(traced, size=5)  # the newest stays
    assert len(traced) == 5


def test_files_that_cannot_be_trusted_are_ignored(folder: Path) -> None:
    traced: list[int] = []
    _run(traced)
    [path] = folder.iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])  # torn
    assert _run(traced) == [0, 2, 4]
    assert len(traced) == 2
    path.chmod(0o666)  # anybody could have written it
    _run(traced)
    assert len(traced) == 3
    stored_programs.keep_in(Path("/proc/nowhere"))  # cannot be made: everything is compiled, nothing fails
    assert not stored_programs.is_on()
    assert _run(traced) == [0, 2, 4]


def test_batches_and_estimates_are_the_same_with_kept_programs(folder: Path) -> None:
    configs = [pimjax.reference_config(dpus=units) for units in (2, 5)]
    fields = ("latency_ns", "energy_nj")
    first = estimate_batch(configs, fields=fields)
    assert list(folder.iterdir())
    stored_programs._held.clear()
    jax.clear_caches()
    again = estimate_batch(configs, fields=fields)
    for name in fields:
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    count = len(list(folder.iterdir()))
    one = pimjax.estimate(configs[0], fidelity="closed")
    assert len(list(folder.iterdir())) == count + 1
    assert one.latency_ns.dtype == np.float64
    assert float(one.latency_ns) == pytest.approx(float(first.latency_ns[0, 0]), rel=1e-6)


def test_a_program_that_jax_has_in_its_own_cache_is_kept_whole(folder: Path, tmp_path: Path) -> None:
    """After an upgrade JAX's cache still knows the program, the folder does not."""
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in names}
    try:
        for name, value in zip(names, (str(tmp_path / "of_jax"), 0.0), strict=True):
            jax.config.update(name, value)
        compilation_cache.reset_cache()

        def several(x):
            return {"y": jnp.tanh(x @ x.T).sum(0) + jnp.sort(x[:, 0]), "z": jnp.cumsum(x, axis=1) / (1 + x)}

        x = jnp.linspace(0, 1, 64).reshape(8, 8)
        expected = jax.jit(several)(x)  # JAX keeps it
        assert list((tmp_path / "of_jax").iterdir())
        for _ in range(2):  # compiled and kept, then loaded
            jax.clear_caches()
            stored_programs._held.clear()
            call = stored_programs.compiled(jax.jit(several), (x,), key=("several",), results={"y": 0, "z": 0})
            jax.tree.map(np.testing.assert_array_equal, call(x), expected)
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()


def test_the_command_line_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("PIMJAX_CACHE", raising=False)
    assert cache_folder() == tmp_path / "pimjax" / "programs"
    monkeypatch.setenv("PIMJAX_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    monkeypatch.setenv("PIMJAX_CACHE", "off")
    assert cache_folder() is None
    use_compilation_cache()
    assert not stored_programs.is_on()
    assert not list(tmp_path.iterdir())
