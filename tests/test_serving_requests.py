"""Requests: arrays, files of three kinds, generators, and everything that is wrong with them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from pimjax.errors import ServingError
from pimjax.serving import generate_requests, load_requests, make_requests

AZURE = (
    "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:47.1805900,396,109\n"
)
#: where the recorded serving runs lie; a test that needs them skips
FOLDER = Path(os.environ.get("PIMJAX_SERVING", "../shared/serving"))


def file_of(tmp_path: Path, text: str, name: str = "requests") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def test_azure(tmp_path) -> None:
    found = load_requests(file_of(tmp_path, AZURE))
    assert found.arrival_ns.tolist() == [0.0, 5e8]
    assert found.prompt_tokens.tolist() == [374, 396]
    assert found.output_tokens.tolist() == [44, 109]


def test_vllm_keeps_nanoseconds_of_a_clock(tmp_path) -> None:
    lines = [{"arrival_time": 1787267980.5, "input_toks": 3, "output_toks": 2},
             {"arrival_time": 1787267980.25, "input_toks": 7, "output_toks": 1, "request_id": "b"}]  # fmt: skip
    found = load_requests(file_of(tmp_path, "\n".join(map(json.dumps, lines))))
    assert found.arrival_ns.tolist() == [0.0, 2.5e8]
    assert found.prompt_tokens.tolist() == [7, 3]


def test_mooncake(tmp_path) -> None:
    line = {"timestamp": 27482, "input_length": 6955, "output_length": 52, "hash_ids": [46, 47]}
    text = json.dumps(line) + "\n\n" + json.dumps({**line, "timestamp": 27490}) + "\n"
    assert load_requests(file_of(tmp_path, text)).arrival_ns.tolist() == [0.0, 8e6]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "of no known format"),
        ("hello\n", "of no known format"),
        (AZURE.splitlines()[0] + "\n", "has no request"),
        (AZURE + "2023-11-16 18:15:47,396\n", "line 4 has 2 cells"),
        (AZURE + "yesterday,396,1\n", "line 4: TIMESTAMP is 'yesterday'"),
        (AZURE + "2023-13-16 18:15:47,396,1\n", "must be a date and a time"),
        (AZURE + "2023-11-16 18:15:47,0,1\n", "line 4: the prompt has 0 tokens"),
        (AZURE + "2023-11-16 18:15:47,-4,1\n", "'-4' is no number of tokens"),
        (AZURE + "2023-11-16 18:15:47,99999999999,1\n", "must have from 1 to"),
        ('{"timestamp": 1, "input_length": 5, "output_length": 0}', "the answer has 0 tokens"),
        ('{"timestamp": 1, "input_length": 5}', "line 1 has no 'output_length'"),
        ('{"timestamp": "a", "input_length": 5, "output_length": 1}', "the time is 'a'"),
        ('{"timestamp": -1, "input_length": 5, "output_length": 1}', "must be from 0 to"),
        ('{"timestamp": NaN, "input_length": 5, "output_length": 1}', "finite number of milliseconds"),
        ('{"timestamp": 1e999, "input_length": 5, "output_length": 1}', "finite number"),
        ('{"timestamp": 1, "input_length": 5.5, "output_length": 1}', "5.5 is no number of tokens"),
        ('{"timestamp": 1, "input_length": true, "output_length": 1}', "True is no number of tokens"),
        ('{"timestamp": 1, "input_length": 5, "output_length": 1}\n[1]', "line 2 is a list"),
        ('{"timestamp": 1, "input_length": 5, "output_length": 1}\n{', "line 2 is no JSON"),
        ('{"timestamp": 1' + "0" * 5000 + ', "input_length": 5, "output_length": 1}', "too many digits"),
        ('{"timestamp": 1, "input_length": 5, "output_length": 1, "x": ' + "[" * 90000, "line 1"),
        ('{"timestamp": 1, "a": "' + "x" * 1_100_000 + '"}', "characters; at most"),
    ],
)  # fmt: skip
def test_hostile_files(tmp_path, text, said) -> None:
    with pytest.raises(ServingError, match=said) as caught:
        load_requests(file_of(tmp_path, text))
    assert len(str(caught.value)) < 1000


def test_files_that_are_none(tmp_path) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    for path, said in ((tmp_path, "not a file"), (tmp_path / "no", "not a file"), (tmp_path / "bytes", "not UTF-8")):
        with pytest.raises(ServingError, match=said):
            load_requests(path)


def test_empty_requests_are_left_out_on_demand(tmp_path) -> None:
    assert len(load_requests(file_of(tmp_path, AZURE + "2023-11-16 18:15:48,0,1\n"), drop_empty=True)) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (([], 1, 1), "not empty"),
        (([1.0, 0.5], 1, 1), r"arrival_ns\[1\] is 0.5, before"),
        (([-1.0], 1, 1), "of at least 0"),
        (([np.nan], 1, 1), "finite"),
        (([0.0], 0, 1), "prompt_tokens"),
        (([0.0], [1, 2], 1), "2 entries for 1 arrivals"),
        (([0.0], 1, 1.5), "output_tokens"),
    ],
)
def test_hostile_arrays(arguments, said) -> None:
    with pytest.raises(ServingError, match=said):
        make_requests(*arguments)


def test_too_many_requests() -> None:
    with pytest.raises(ServingError, match="at most 4,000,000"):
        make_requests(np.zeros(4_000_001), 1, 1)


@pytest.mark.parametrize(("arrivals", "variation"), [("poisson", 1.0), ("gamma", 3.0), ("bursts", None)])
def test_generators_have_their_rate_and_spread(arrivals, variation) -> None:
    made = generate_requests(arrivals, count=40_000, rate_per_s=20.0, variation=3.0, burst=8, seed=3)
    assert abs(made.rate_per_s / 20.0 - 1.0) < 0.06
    gaps = np.diff(made.arrival_ns)
    if variation is None:
        assert np.mean(gaps == 0) == pytest.approx(7 / 8, abs=1e-3)
    else:
        assert gaps.std() / gaps.mean() == pytest.approx(variation, rel=0.06)


def test_drawn_lengths_stay_pairs() -> None:
    made = generate_requests("poisson", count=500, rate_per_s=1.0, prompt_tokens=[5, 50], output_tokens=[1, 10])
    assert set(zip(made.prompt_tokens.tolist(), made.output_tokens.tolist(), strict=True)) == {(5, 1), (50, 10)}


def test_recorded_files() -> None:
    if not (FOLDER / "azure_2023_conv.csv").is_file():
        pytest.skip(f"{FOLDER} (PIMJAX_SERVING) has no recorded serving runs")
    conversation = load_requests(FOLDER / "azure_2023_conv.csv")
    assert len(conversation) == 19_366
    assert 3400 < conversation.arrival_ns[-1] / 1e9 < 3600
    runs = sorted(FOLDER.glob("*__requests*.jsonl"))
    assert runs
    assert all(len(load_requests(path)) == 300 for path in runs)
