"""The public names: complete, importable one by one, no heavy import at start."""

from __future__ import annotations

import subprocess
import sys

import pytest

import pimjax


def test_every_public_name_loads() -> None:
    for name in pimjax.__all__:
        assert getattr(pimjax, name) is not None
    assert set(dir(pimjax)) == set(pimjax.__all__)
    assert len(pimjax.__all__) <= 51


@pytest.mark.parametrize("name", pimjax._MODULES)
def test_every_namespace_lists_its_names(name: str) -> None:
    namespace = getattr(pimjax, name)
    assert namespace.__all__
    for each in namespace.__all__:
        assert getattr(namespace, each) is not None


def test_names_that_moved_into_namespaces_are_still_found() -> None:
    from pimjax.trace import default_trace

    assert pimjax.default_trace is default_trace
    assert "default_trace" not in pimjax.__all__
    assert not set(pimjax._MOVED) & set(pimjax.__all__)


def test_unknown_names_raise() -> None:
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = pimjax.no_such_thing


def test_import_is_light_and_leaves_jax_alone() -> None:
    script = (
        "import sys, pimjax, pimjax.cli; assert 'jax' not in sys.modules, 'jax'; "
        "import jax; before = jax.config.jax_enable_x64; import pimjax.config, pimjax.schedule, pimjax.estimation; "
        "assert jax.config.jax_enable_x64 == before == False; "
        "heavy = [m for m in ('matplotlib', 'pyarrow', 'numba', 'optax', 'orbax', 'plotly') if m in sys.modules]; "
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
