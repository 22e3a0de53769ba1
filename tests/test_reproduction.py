"""The paper's claims from given runs: hand-worked ratios, every term shown."""

from __future__ import annotations

import pytest

from pimjax.reproduction import published_lines, reproduce
from pimjax.reproduction.claims import MultiplexedRuns, claims, finite

NAMES = ["area_efficiency", "generation_speedup", "generation_energy_saving", "gops_per_w_per_mm2"]


def _rows() -> list[dict]:
    """All runs by the event engine in 100 ns, 50 nJ; the published prefill in 200 ns, no cache in 400 ns and 600 nJ."""
    special = {"prefill 1": (200.0, 50.0), "generate 8, no cache": (400.0, 600.0)}
    rows = []
    for line in published_lines():
        latency, energy = special.get(line.name, (100.0, 50.0))
        rows.append({"name": line.name, "event": {"latency_ns": latency, "energy_nj": energy, "flops": 5e4}})
    return rows


def test_claims_are_ratios_of_the_runs() -> None:
    chips = MultiplexedRuns(
        moe={
            "unshared, token by token": {"passes_per_ns_per_mm2": 2.0},
            "shared": {"passes_per_ns_per_mm2": 5.0},
            "worse": {"passes_per_ns_per_mm2": 3.0},
        },
        generation={
            "no cache": {"latency_ns": 90.0, "energy_nj": 80.0},
            "kv+go": {"latency_ns": 30.0, "energy_nj": 10.0},
        },
        efficiency={"gops_per_w_per_mm2_of_moe": 7.0},
    )
    found = claims(_rows(), chips)
    assert [claim["name"] for claim in found] == NAMES
    assert [claim["multiplexed"] for claim in found] == [2.5, 3.0, 8.0, 7.0]
    # 200 / 100 ns over an area of 0.4; 400 / 100 ns; 600 / 50 nJ; 5e4 operations in 50 nJ over 973.824 mm2
    expected = [2 / 0.4, 4.0, 12.0, 1000 / 973.824]
    assert [claim["authors_method"] for claim in found] == pytest.approx(expected)
    area, speed = found[0]["terms"], found[1]["terms"]
    assert {name: chip["gain"] for name, chip in area["multiplexed_chips"].items()} == {
        "unshared, token by token": 1.0,
        "shared": 2.5,
        "worse": 1.5,
    }
    assert "shared" in found[0]["meaning"]
    assert area["authors_runs"]["U2C"]["gain"] == pytest.approx(2 / 0.6)
    forgotten = speed["authors_forgotten_traffic"]
    assert forgotten["speedup_if_counted"] == pytest.approx(400 / (100 + forgotten["go_traffic_ns"]))
    assert speed["multiplexed_runs"] == {"no cache": 90.0, "kv+go": 30.0}
    assert finite(found)


def test_lines_without_claims_hold_the_authors_numbers(monkeypatch) -> None:
    few = [
        line for line in published_lines() if line.name in ("prefill S2O", "generate 8, kv+go", "generate 32, no cache")
    ]
    monkeypatch.setattr("pimjax.reproduction.run.published_lines", lambda: few)
    results = reproduce(with_claims=False)
    assert results["claims"] == []
    by_name = {line["name"]: line for line in results["lines"]}
    for name in ("prefill S2O", "generate 8, kv+go"):
        line = by_name[name]
        assert line["event"]["latency_ns"] == line["reference"]["latency_ns"]
        assert abs(line["deviation"]["fluid"]["latency_ns"]) < 0.002
        assert set(line) == {"args", "name", "event", "fluid", "closed", "reference", "deviation"}
    assert by_name["generate 32, no cache"]["event"] is None
    assert by_name["generate 32, no cache"]["fluid"]["latency_ns"] > 0
