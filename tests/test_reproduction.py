"""The paper's claims from given runs: hand-worked ratios, every term shown; which assumption carries each."""

from __future__ import annotations

import pytest

import pimjax
from pimjax.reproduction import published_lines, reproduce
from pimjax.reproduction.ablations import CACHES, EFFICIENCY, SHARING, ablations, cache_gains, sharing_line
from pimjax.reproduction.chip_runs import (
    AUTHORS_MEMORY,
    MOE_CHIPS,
    SCHEDULED,
    SHARED,
    UNSHARED,
    MultiplexedRuns,
    efficiency_run,
    moe_run,
)
from pimjax.reproduction.claims import claim_rows, claims, finite
from pimjax.reproduction.efficiency import READINGS, expert_pass

NAMES = ["area_efficiency", "generation_speedup", "generation_energy_saving", "gops_per_w_per_mm2"]
CHIP, EXPERTS, MIXTURE = READINGS
EXPERT_AREA_MM2 = 973.824  # 16 experts x 96 crossbars x 0.634 mm2


def _rows() -> list[dict]:
    """All runs by the event engine in 100 ns, 50 nJ; the published prefill in 200 ns, no cache in 400 ns and 600 nJ."""
    special = {"prefill 1": (200.0, 50.0), "generate 8, no cache": (400.0, 600.0)}
    rows = []
    for line in published_lines():
        latency, energy = special.get(line.name, (100.0, 50.0))
        event = {"latency_ns": latency, "energy_nj": energy, "flops": 5e4, "area_mm2": 4000.0}
        rows.append({"name": line.name, "event": event})
    return rows


def _moe(**rates: float) -> dict[str, dict[str, float]]:
    """Every chip at 2 passes per ns and mm2, some at others."""
    named = {"unshared": UNSHARED, "scheduled": SCHEDULED, "shared": SHARED}
    return {name: {"passes_per_ns_per_mm2": 2.0} for name in MOE_CHIPS} | {
        named[name]: {"passes_per_ns_per_mm2": rate} for name, rate in rates.items()
    }


def test_claims_are_ratios_of_the_runs() -> None:
    sharing = [sharing_line(SHARING[0], _moe(scheduled=3.0, shared=5.0)), sharing_line(SHARING[1], _moe(scheduled=4.0))]
    chips = MultiplexedRuns(
        moe=_moe(scheduled=3.0, shared=5.0),
        generation={
            "no cache": {"latency_ns": 90.0, "energy_nj": 80.0},
            "kv+go": {"latency_ns": 30.0, "energy_nj": 10.0},
        },
        efficiency={CHIP: 5.0, EXPERTS: 6.0, MIXTURE: 7.0},
        ablations={name: [] for name in NAMES} | {"area_efficiency": sharing},
    )
    found = claims(_rows(), chips)
    assert [claim["name"] for claim in found] == NAMES
    assert [claim["multiplexed"] for claim in found] == [2.5, 3.0, 8.0, 7.0]
    # 200 / 100 ns over an area of 0.4; 400 / 100 ns; 600 / 50 nJ; 5e4 operations in 50 nJ over 973.824 mm2
    expected = [2 / 0.4, 4.0, 12.0, 1000 / EXPERT_AREA_MM2]
    assert [claim["authors_method"] for claim in found] == pytest.approx(expected)
    area, speed = found[0]["terms"], found[1]["terms"]
    gains = {name: chip["gain"] for name, chip in area["multiplexed_chips"].items()}
    assert gains == dict.fromkeys(MOE_CHIPS, 1.0) | {SCHEDULED: 1.5, SHARED: 2.5}
    assert SHARED in found[0]["meaning"]
    # sharing alone: 5 / 3 of the same schedule without it; where every chip is at 2 and that schedule at 4, a half
    assert found[0]["range"] == {"gain": [1.0, 2.5], "sharing_alone": [0.5, pytest.approx(5 / 3)]}
    assert area["authors_runs"]["U2C"]["gain"] == pytest.approx(2 / 0.6)
    forgotten = speed["authors_forgotten_traffic"]
    assert forgotten["speedup_if_counted"] == pytest.approx(400 / (100 + forgotten["go_traffic_ns"]))
    assert speed["multiplexed_runs"] == {"no cache": 90.0, "kv+go": 30.0}
    assert finite(found)


def test_an_efficiency_names_its_area() -> None:
    chips = MultiplexedRuns(
        moe=_moe(),
        generation={name: {"latency_ns": 1.0, "energy_nj": 1.0} for name in ("no cache", "kv+go")},
        efficiency={CHIP: 5.0, EXPERTS: 6.0, MIXTURE: 7.0},
        ablations={name: [] for name in NAMES} | {"area_efficiency": [sharing_line(SHARING[0], _moe())]},
    )
    found = claims(_rows(), chips)
    rows = {row[0]: row[1:4] for row in claim_rows(found)}
    assert list(rows) == [*NAMES[:3], *READINGS]
    assert rows[CHIP] == (None, pytest.approx(1000 / 4000), 5.0)
    assert rows[MIXTURE] == (None, pytest.approx(1000 / EXPERT_AREA_MM2), 7.0)
    one = expert_pass(1)
    assert rows[EXPERTS] == (None, pytest.approx(one["flops"] / one["energy_nj"] / EXPERT_AREA_MM2), 6.0)
    # 4 x 4096 x 688 operations; 96 products of 12.5 nJ at 0.6, 192 hops, 77 additions, 688 activations
    energy = 96 * 12.5 * 0.6 + 192 * 0.01293 + 77 * 0.00943 + 688 / 256 * 2e-5
    reading = found[3]["reading_without_area"]
    assert reading["tops_per_w"] == pytest.approx(4 * 4096 * 688 / energy / 1e3, rel=1e-12)
    assert round(reading["tops_per_w"], 2) == 15.59


#: Line of the caches' ablation -> speed-up of the specification, two digits behind the point.
SPEEDUPS = {
    "the authors' memory: one LPDDR4 channel": 0.74,
    "embedding on crossbars": 0.40,
    "32 layers": 0.38,
    "10.7 GB/s, twice the channel": 0.96,
    "44.8 GB/s": 2.12,
    "256 GB/s": 4.13,
    "819 GB/s": 4.79,
    "8 MiB of SRAM before the channel": 4.54,
    "the authors' attention law": 3.19,
    "additions on digital units": 2.08,
    "both: their attention, digital additions": 4.20,
}


@pytest.mark.parametrize("line", [line for line in CACHES if line.name in SPEEDUPS], ids=lambda line: line.name)
def test_one_assumption_at_a_time_gives_the_speed_up(line) -> None:
    assert line.preset == AUTHORS_MEMORY
    assert cache_gains(line)[0] == pytest.approx(SPEEDUPS[line.name], abs=0.005)


def test_every_speed_up_of_the_specification_has_its_line() -> None:
    assert set(SPEEDUPS) <= {line.name for line in CACHES}


def test_the_last_line_of_the_caches_is_the_default_chip() -> None:
    run = {
        "model.routing": "expert_choice",
        "workload.prompt_tokens": 32,
        "workload.generated_tokens": 8,
        "workload.prefill": False,
    }
    none, both = (
        pimjax.estimate(pimjax.load_config("paper_multiplexed", {**run, **caches}), fidelity="closed")
        for caches in ({}, {"workload.kv_cache": True, "workload.go_cache": "full"})
    )  # fmt: skip
    expected = [float(none.latency_ns / both.latency_ns), float(none.energy_nj / both.energy_nj)]
    assert cache_gains(CACHES[-1]) == pytest.approx(expected, rel=1e-12)


#: Line of the sharing's ablation -> what sharing alone gives without wires, as the specification has it, and with them.
SHARING_ALONE = {
    "the default: 32 tokens": (2.06, 1.94),
    "s = 0.4 and 64 units": (0.73, 0.74),
    "s = 0.4, 64 units, 128 tokens": (0.67, 0.68),
}


@pytest.mark.parametrize(("place", "network"), [(0, "none"), (1, "dies")])
def test_sharing_gains_are_a_range(place, network) -> None:
    """Without wires 4.262 = 2.07 by the schedule x 2.06 by sharing; 0.73 and 0.67 by sharing with half as much shared and
    many units. Wires slow the plan without sharing and without schedule most, and so change which of the two gives more."""
    lines = {line.name: line for line in SHARING}
    found = {
        name: sharing_line(
            lines[name],
            {chip: moe_run(chip, {"system": network, **lines[name].set}) for chip in (UNSHARED, SCHEDULED, SHARED)},
        )
        for name in SHARING_ALONE
    }
    assert [round(line["sharing_alone"], 2) for line in found.values()] == [
        two[place] for two in SHARING_ALONE.values()
    ]
    first = next(iter(found.values()))
    expected = [(4.262, 2.07), (4.313, 2.22)][place]
    assert (round(first["value"], 3), round(first["schedule_alone"], 2)) == expected


def test_wires_are_a_line_of_every_claim() -> None:
    for lines in (CACHES, SHARING, EFFICIENCY):
        (free,) = (line for line in lines if line.set == {"system": "none"})
        assert pimjax.load_config(free.preset).system.network == "dies"


def test_efficiencies_on_the_authors_memory() -> None:
    found = efficiency_run(AUTHORS_MEMORY)
    assert (round(found[CHIP], 2), round(found[MIXTURE], 2)) == (4.19, 25.12)
    assert found[EXPERTS] == pytest.approx(found["expert_gops_per_w"] / found["expert_area_mm2"])


def test_every_claim_has_its_lines(monkeypatch) -> None:
    monkeypatch.setattr("pimjax.reproduction.ablations.CACHES", CACHES[:2])
    monkeypatch.setattr("pimjax.reproduction.ablations.SHARING", SHARING[:2])
    monkeypatch.setattr("pimjax.reproduction.ablations.EFFICIENCY", EFFICIENCY[:2])
    found = ablations(_moe(shared=5.0), {CHIP: 1.0, "chip_gops_per_w": 2.0})
    assert {name: len(lines) for name, lines in found.items()} == dict.fromkeys(NAMES, 2)
    assert found["area_efficiency"][0]["value"] == 2.5
    assert found["area_efficiency"][1]["set"] == {"system": "none"}
    assert found["generation_speedup"][1]["value"] != found["generation_energy_saving"][1]["value"]
    assert found["gops_per_w_per_mm2"][0].keys() == {"assumption", "preset", "set", CHIP}
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
