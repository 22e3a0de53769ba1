"""The loop over steps: one source that runs as Python, or compiled by numba. Rules: :mod:`pimjax.serving.exact`.

Scalars, arrays and named tuples of arrays only. The curves are read by functions of their own, which numba compiles with
the loop where it is installed.
"""

from __future__ import annotations

import numpy as np

try:
    from numba.extending import register_jitable as shared
except ImportError:  # numba is an extra

    def shared(function):
        """The function as it is."""
        return function


COLUMNS = 10


@shared
def interval(grid, x):
    """Grid point below x and the weight of the next one; constant outside."""
    last = len(grid) - 1
    if last == 0 or x <= grid[0]:
        return 0, 0.0
    if x >= grid[last]:
        return last - 1, 1.0
    low = 0
    high = last
    while high - low > 1:
        middle = (low + high) // 2
        if grid[middle] <= x:
            low = middle
        else:
            high = middle
    return low, (x - grid[low]) / (grid[low + 1] - grid[low])


@shared
def along(values, place, weight):
    """Between two entries of one axis."""
    if weight == 0.0:
        return values[place]
    return values[place] * (1.0 - weight) + values[place + 1] * weight


@shared
def across(values, row, row_weight, column, column_weight):
    """Between four entries of two axes."""
    low = along(values[row], column, column_weight)
    if row_weight == 0.0:
        return low
    return low * (1.0 - row_weight) + along(values[row + 1], column, column_weight) * row_weight


@shared
def count_routing(loads, requests, positions, number, visits, queues):
    """Longest queue and distinct experts, summed over layers; `visits` [L, E] and `queues` [G] are scratch."""
    visits[:] = 0
    recorded = len(loads.lengths)
    layers = visits.shape[0]
    most = loads.ids.shape[3]
    for index in range(number):
        request = requests[index] % recorded
        token = positions[index] % loads.lengths[request]
        for layer in range(layers):
            for k in range(most):
                expert = loads.ids[request, token, layer, k]
                if expert >= 0:
                    visits[layer, expert] += 1
    peak = 0
    distinct = 0
    for layer in range(layers):
        queues[:] = 0
        for expert in range(visits.shape[1]):
            if visits[layer, expert] > 0:
                distinct += 1
                queues[loads.group_of_expert[layer, expert]] += visits[layer, expert]
        longest = 0
        for group in range(len(queues)):
            if queues[group] > longest:
                longest = queues[group]
        peak += longest
    return peak, distinct


@shared
def add_chunk(table, start, length, cost):
    """Add a piece of a prompt to cost [2]."""
    row, row_weight = interval(table.length_grid, length)
    column, column_weight = interval(table.start_grid, start)
    before, before_weight = interval(table.prefix_grid, start)
    after, after_weight = interval(table.prefix_grid, start + length)
    for q in range(2):
        cost[q] += across(table.chunk[q], row, row_weight, column, column_weight)
        cost[q] += along(table.prefix[q], after, after_weight) - along(table.prefix[q], before, before_weight)


@shared
def add_batch(table, tokens, samples, decodes, context, chunks, routed, peak, distinct, cost):
    """Add what depends on the whole batch of a rank to cost [2]."""
    place, weight = interval(table.tokens_grid, tokens)
    other, other_weight = interval(table.samples_grid, samples)
    for q in range(2):
        cost[q] += along(table.tokens[q], place, weight) + along(table.samples[q], other, other_weight)
    if decodes > 0:
        row, row_weight = interval(table.decode_grid, decodes)
        column, column_weight = interval(table.context_grid, context / decodes)
        for q in range(2):
            cost[q] += across(table.decode[q], row, row_weight, column, column_weight)
            if chunks:
                cost[q] += across(table.beside[q], row, row_weight, column, column_weight)
            if routed:
                cost[q] += along(table.peak_slope[q], row, row_weight) * (
                    peak - along(table.mean_peak, row, row_weight)
                )
                cost[q] += along(table.distinct_slope[q], row, row_weight) * (
                    distinct - along(table.mean_distinct, row, row_weight)
                )


def serve_loop(
    arrival,
    prompt,
    output,
    routing,
    max_num_seqs,
    max_tokens,
    block,
    kv_blocks,
    chunked,
    reserve,
    reuse,
    asynchronous,
    ranks,
    lockstep,
    round_robin,
    keep_log,
    table,
    loads,
    scheduled_ns,
    first_ns,
    finish_ns,
    preemptions,
    energy_nj,
    rank_of,
):
    """Serve all requests; fills the arrays from `scheduled_ns` on and returns (log [steps, COLUMNS], steps, ns of all steps)."""
    count = len(arrival)
    groups = 1 if lockstep else ranks
    size = ranks // groups
    routed = len(loads.lengths) > 0
    layers, experts = loads.group_of_expert.shape
    visits = np.zeros((layers, experts), np.int64)
    queues = np.zeros(loads.num_groups, np.int64)
    decode_routing = np.zeros(max_num_seqs, np.int64)
    decode_position = np.zeros(max_num_seqs, np.int64)
    computed = np.zeros(count, np.int64)
    generated = np.zeros(count, np.int64)
    blocks = np.zeros(count, np.int64)
    scheduled = np.zeros(count, np.int64)
    running = np.zeros((ranks, max_num_seqs), np.int64)
    num_running = np.zeros(ranks, np.int64)
    # A preempted request goes back in front of the queue that it had left, so the first place never falls below zero.
    queue = np.zeros((ranks, count), np.int64)
    queue_first = np.zeros(ranks, np.int64)
    queue_end = np.zeros(ranks, np.int64)
    taken = np.zeros(ranks, np.int64)  # blocks taken in all
    lost = np.zeros(count, np.int64)  # full blocks of a preempted request, and the count from which on they are taken
    evicted_from = np.zeros(count, np.int64)
    free = np.zeros(ranks, np.int64)
    free[:] = kv_blocks
    unfinished = np.zeros(groups, np.int64)
    clock = np.zeros(groups)
    visible_from = np.zeros(groups)
    cost = np.zeros(2)
    log = np.zeros((1024 if keep_log else 1, COLUMNS))
    steps = 0
    busy = 0.0
    upcoming = 0
    while True:
        group = -1
        for g in range(groups):
            if unfinished[g] > 0 and (group < 0 or clock[g] < clock[group]):
                group = g
        if upcoming < count and (group < 0 or arrival[upcoming] <= clock[group]):
            rank = 0
            if round_robin:
                rank = upcoming % ranks
            else:
                least = -1
                for r in range(ranks):
                    load = 4 * (queue_end[r] - queue_first[r])
                    if unfinished[r // size] > 0:  # what is done has left a group that is idle
                        load += num_running[r]
                    if least < 0 or load < least:
                        least = load
                        rank = r
            g = rank // size
            if unfinished[g] == 0:  # it was idle: nothing is under way, and what was done has left
                clock[g] = max(clock[g], arrival[upcoming])
                visible_from[g] = clock[g]
                for r in range(g * size, (g + 1) * size):
                    for place in range(num_running[r]):
                        free[r] += blocks[running[r, place]]
                    num_running[r] = 0
            unfinished[g] += 1
            rank_of[upcoming] = rank
            queue[rank, queue_end[rank]] = upcoming
            queue_end[rank] += 1
            upcoming += 1
            continue
        if group < 0:
            break

        now = clock[group]
        visible = visible_from[group] if asynchronous else now
        total_tokens = 0
        total_decodes = 0
        total_context = 0
        longest_ns = 0.0
        energy = 0.0
        for r in range(group * size, (group + 1) * size):
            budget = max_tokens
            preempted = False
            place = 0
            while place < num_running[r]:
                request = running[r, place]
                need = 0
                if generated[request] < output[request]:
                    need = prompt[request] + generated[request] - computed[request]
                take = min(need, budget)
                wanted = 0
                if take > 0:
                    wanted = (computed[request] + take + block - 1) // block - blocks[request]
                while wanted > free[r] and place < num_running[r]:
                    num_running[r] -= 1
                    last = running[r, num_running[r]]
                    preempted = True
                    if generated[last] < output[last]:
                        lost[last] = computed[last] // block
                        evicted_from[last] = taken[r] + free[r]
                    free[r] += blocks[last]
                    if generated[last] < output[last]:
                        computed[last] = 0
                        blocks[last] = 0
                        scheduled[last] = 0
                        preemptions[last] += 1
                        queue_first[r] -= 1
                        queue[r, queue_first[r]] = last
                if place == num_running[r]:
                    break
                free[r] -= wanted
                taken[r] += wanted
                blocks[request] += wanted
                scheduled[request] = take
                budget -= take
                place += 1
            while not preempted and queue_first[r] < queue_end[r] and budget > 0 and num_running[r] < max_num_seqs:
                request = queue[r, queue_first[r]]
                need = prompt[request] + generated[request]
                found = 0
                if reuse and lost[request] > 0:
                    left = max(0, lost[request] - max(0, taken[r] - evicted_from[request]))
                    found = min(left, (need - 1) // block) * block
                take = min(need - found, budget)
                if arrival[request] > visible or (need - found > take and not chunked):
                    break
                wanted = (found + take + block - 1) // block
                reserved = (need + block - 1) // block if reserve else wanted
                if reserved > free[r]:
                    break
                queue_first[r] += 1
                running[r, num_running[r]] = request
                num_running[r] += 1
                scheduled[request] = take
                computed[request] = found
                blocks[request] = wanted
                free[r] -= wanted
                taken[r] += wanted
                budget -= take
                if np.isnan(scheduled_ns[request]):
                    scheduled_ns[request] = now

            # What the rank does, while requests that are done leave.
            cost[:] = 0.0
            decodes = 0
            context = 0
            samples = 0
            kept = 0
            for place in range(num_running[r]):
                request = running[r, place]
                if generated[request] == output[request]:
                    free[r] += blocks[request]
                    continue
                running[r, kept] = request
                kept += 1
                take = scheduled[request]
                if take == 0:
                    continue
                need = prompt[request] + generated[request] - computed[request]
                if take == need:
                    samples += 1
                if need == 1 and computed[request] >= prompt[request]:
                    decode_routing[decodes] = routing[request]
                    decode_position[decodes] = computed[request]
                    decodes += 1
                    context += computed[request]
                else:
                    add_chunk(table, computed[request], take, cost)
            num_running[r] = kept
            tokens = max_tokens - budget
            if tokens > 0:
                peak = 0
                distinct = 0
                if routed and decodes > 0:
                    peak, distinct = count_routing(loads, decode_routing, decode_position, decodes, visits, queues)
                chunks = tokens > decodes
                add_batch(table, tokens, samples, decodes, context, chunks, routed, peak, distinct, cost)
                longest_ns = max(longest_ns, cost[0])
                energy += cost[1]
            total_tokens += tokens
            total_decodes += decodes
            total_context += context

        if total_tokens == 0:  # what there is came after the step was scheduled, or waits for memory that is free now
            visible_from[group] = now
            continue
        place, weight = interval(table.joint_grid, total_tokens)
        duration = longest_ns + along(table.joint[0], place, weight)
        energy += along(table.joint[1], place, weight)
        end = now + duration
        if keep_log:
            if steps == len(log):
                longer = np.zeros((2 * steps, COLUMNS))
                longer[:steps] = log
                log = longer
            row = log[steps]
            row[0] = now
            row[1] = duration
            row[2] = energy
            row[3] = group
            row[4] = total_decodes
            row[5] = total_tokens - total_decodes
            for r in range(group * size, (group + 1) * size):
                row[6] += num_running[r]
                row[7] += queue_end[r] - queue_first[r]
                row[8] += kv_blocks - free[r]
            row[9] = total_context
        steps += 1
        busy += duration
        share = energy / total_tokens
        for r in range(group * size, (group + 1) * size):
            kept = 0
            for place in range(num_running[r]):
                request = running[r, place]
                take = scheduled[request]
                stays = True
                if take > 0:
                    energy_nj[request] += share * take
                    emits = take == prompt[request] + generated[request] - computed[request]
                    computed[request] += take
                    scheduled[request] = 0
                    if emits:
                        generated[request] += 1
                        if generated[request] == 1:
                            first_ns[request] = end
                        if generated[request] == output[request]:
                            finish_ns[request] = end
                            unfinished[group] -= 1
                            stays = asynchronous
                if stays:
                    running[r, kept] = request
                    kept += 1
                else:
                    free[r] += blocks[request]
            num_running[r] = kept
        clock[group] = end
        visible_from[group] = now
    return log, steps, busy
