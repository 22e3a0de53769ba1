"""Recording a running transformers model; `benchmarks/validation/trace_capture.py` does it for every family."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pimjax.config import from_hf
from pimjax.errors import TraceError
from pimjax.trace import capture, route


@pytest.mark.parametrize("model", [None, 3, "gpt2", object(), {}, [], np.zeros(3), TraceError])
def test_what_is_no_model_is_refused(model):
    with pytest.raises(TraceError, match="give a PyTorch module"), capture(model):
        pass


@pytest.fixture(scope="module")
def model():
    torch = pytest.importorskip("torch", reason="needs the extra hf")
    transformers = pytest.importorskip("transformers", reason="needs the extra hf")
    torch.manual_seed(0)
    config = transformers.MixtralConfig(
        vocab_size=97, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=48, num_local_experts=8, num_experts_per_tok=2,
    )  # fmt: skip
    return transformers.MixtralForCausalLM(config).eval()


def test_recorded_choices_are_those_of_the_router_logits(model):
    torch = pytest.importorskip("torch")
    ids = torch.randint(3, 97, (2, 9), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[1, :4] = 0
    with torch.no_grad(), capture(model) as recorder:
        output = model(input_ids=ids, attention_mask=mask, output_router_logits=True)
    trace = recorder.trace()
    assert trace.num_tokens.tolist() == [9, 5]
    assert trace.layer_ids == (0, 1)
    logits = np.stack([layer.numpy().reshape(2, 9, 8) for layer in output.router_logits])
    own = route(logits[:, 1, 4:], 2, kind="softmax")
    assert np.array_equal(trace.request(1).trim().expert_order, own.expert_order)


def test_hooks_are_removed_and_nothing_recorded_is_said(model):
    before = sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())
    with capture(model) as recorder:
        pass
    assert sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()) == before
    with pytest.raises(TraceError, match="nothing was recorded"):
        recorder.trace()
    with pytest.raises(TraceError, match="no router that is known under 'encoder'"), capture(model, part="encoder"):
        pass


def test_every_imported_family_with_experts_was_recorded():
    """Layers, experts and k of the imported model, and the choices of its own router logits (all but Llama 4's class
    return them)."""
    root = Path(__file__).parents[1]
    recorded = json.loads((root / "benchmarks" / "results" / "trace_capture.json").read_text())["imported"]
    small = json.loads((root / "tests" / "golden" / "hf_tiny_configs.json").read_text())
    assert set(recorded) == {name for name, data in small.items() if from_hf(data).num_moe_layers}
    assert all(row["as_imported"] and row["decisions"] > 50 for row in recorded.values())
    assert {name for name, row in recorded.items() if row.get("differ_from_router_logits") != 0} == {
        "llama4",
        "llama4 listed",
    }
