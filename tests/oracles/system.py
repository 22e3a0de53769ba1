"""Plain versions of what `pimjax.system` counts and prices: loops over tokens, dies, links."""

from __future__ import annotations

import heapq
import math
from collections import Counter, OrderedDict


def visits(choices, holds):
    """Dies of each token: a list of sets."""
    found = []
    for token in choices:
        dies = set()
        for expert, chosen in enumerate(token):
            if chosen:
                dies |= {die for die, held in enumerate(holds[expert]) if held}
        found.append(dies)
    return found


def pair_bytes(choices, holds, home, token_bytes, result_bytes):
    """Bytes by (from, to) of one layer."""
    sent = Counter()
    for dies in visits(choices, holds):
        for die in dies - {home}:
            sent[home, die] += token_bytes
            sent[die, home] += result_bytes
    return sent


def model_pair_bytes(choices, holds, homes, num_tokens, token_bytes, result_bytes):
    """Bytes by (from, to) of all layers with the moves between them."""
    sent = Counter()
    for layer, (chosen, held, home) in enumerate(zip(choices, holds, homes, strict=True)):
        sent.update(pair_bytes(chosen, held, home, token_bytes, result_bytes))
        if layer + 1 < len(homes) and homes[layer + 1] != home:
            sent[home, homes[layer + 1]] += num_tokens * result_bytes
    return sent


def phase_end(used, links, *, home, release_ns, expert_ns, token_bytes, result_bytes):
    """Arrivals back at home by (token, die): a queue of events, each link first come first served."""
    path, bandwidth, latency = links.path, links.bandwidth_gb_per_s, links.latency_ns
    free = [0.0] * len(bandwidth)
    queue = []
    for token, dies in enumerate(used):
        for die in dies:
            there = [(int(k), token_bytes) for k in path[home][die] if k >= 0]
            back = [(int(k), result_bytes) for k in path[die][home] if k >= 0]
            heapq.heappush(queue, (float(release_ns[token]), token, die, [*there, None, *back]))
    done = {}
    while queue:
        now, token, die, way = heapq.heappop(queue)
        if not way:
            done[token, die] = now
            continue
        step, rest = way[0], way[1:]
        if step is None:
            heapq.heappush(queue, (now + expert_ns[die], token, die, rest))
            continue
        link, size = step
        start = max(now, free[link])
        free[link] = start + size / bandwidth[link]
        heapq.heappush(queue, (free[link] + latency[link], token, die, rest))
    return done


def network_energy(shape, system, loads, passes, tokens, die_crossings, die_moves):
    """Energy [nJ] of local sums and direct results, written out term by term."""
    wire, router = system.wire_energy_pj_per_bit_mm, system.router_energy_pj_per_bit
    pitch = shape.pitch_mm

    def way(bits, length):
        return bits * (wire * length + router * length / pitch) * 1e-3

    def tree(m, area):
        return 0.76 * math.sqrt(m * area) if m > 1 else 2 / 3 * m * math.sqrt(area)

    load = way(shape.width * shape.activation_bits, tree(shape.targets, shape.area_mm2))
    one = way(shape.width * shape.activation_bits, tree(shape.up_crossbars / shape.up_row_blocks, shape.group_area_mm2))
    one += way(
        shape.hidden * shape.activation_bits, tree(shape.down_crossbars / shape.down_row_blocks, shape.group_area_mm2)
    )
    up_sums = shape.up_strips * (shape.up_crossbars / shape.up_strips - 1) * shape.strip_columns
    down_sums = shape.down_strips * (shape.down_crossbars / shape.down_strips - 1) * shape.strip_columns
    one += way((up_sums + down_sums) * system.accumulator_bits, pitch)
    one += way(shape.gated * shape.hidden * system.accumulator_bits, pitch)
    one += way(shape.width * system.result_bits, 2 / 3 * math.sqrt(shape.area_mm2))
    link = system.link().energy_pj_per_bit * 1e-3
    crossing = (shape.width * shape.activation_bits + shape.width * system.result_bits) * link
    return loads * load + passes * one + die_crossings * crossing + die_moves * shape.width * system.result_bits * link


def residency(accesses, capacity, policy):
    """Hits of a cache of experts with dictionaries."""
    held: OrderedDict[int, int] = OrderedDict()  # in the order of their last use; value: uses
    hits = 0
    for expert in accesses:
        if expert < 0:
            continue
        if expert in held:
            hits += 1
            held[expert] += 1
            held.move_to_end(expert)
            continue
        if len(held) >= capacity:
            least = min(held.values()) if policy == "lfu" else None
            victim = next(one for one, uses in held.items() if least is None or uses == least)
            del held[victim]
        held[expert] = 1
    return hits


def swapped_experts(tokens, places, replacement):
    """Experts that each token has written, of places that hold the first experts at the start: a list in the order of use."""
    held = list(reversed(range(places)))  # the least recent first
    uses = dict.fromkeys(held, 0)
    missing = []
    for token in tokens:
        row = []
        for expert in token:
            if expert not in held:
                free = [one for one in held if one not in token]
                if replacement == "lfu":
                    fewest = min(uses[one] for one in free)
                    free = [one for one in free if uses[one] == fewest]
                held.remove(free[0])
                held.append(expert)
                uses[expert] = 0
                row.append(expert)
            held.remove(expert)
            held.append(expert)
            uses[expert] += 1
        missing.append(row)
    return missing
