"""NumPy oracle of the crossbar product: CrossSim's method, one conversion at a time, in float64.

Written from the description in golden/crosssim_mvm.json, without looking at the JAX kernel: the whole converted
array of every (block, slice, cycle) is made, clipped, rounded and added, as a user of a NumPy simulator would do it.
"""

from __future__ import annotations

import numpy as np


def encode(values, bits):
    """Signed integers of values in [-1, 1]."""
    levels = 2 ** (bits - 1) - 1
    return np.rint(np.clip(np.asarray(values, np.float64), -1, 1) * levels)


def digits(integers, base, count):
    """Signed digits, least significant first."""
    magnitude, sign = np.abs(integers), np.sign(integers)
    parts = []
    for _ in range(count):
        parts.append(sign * (magnitude % base))
        magnitude = magnitude // base
    return parts


def convert(signal, limit, bits, one_sided=False):
    """(codes, step) of a converter with range [-limit, limit] or [0, limit]."""
    high = 2**bits - 1 if one_sided else 2 ** (bits - 1) - 1
    step = limit / high
    low = 0.0 if one_sided else -limit
    return np.rint(np.clip(signal, low, limit) / step), step


def crossbar_mvm(
    weights,
    inputs,
    *,
    rows,
    weight_bits=8,
    cell_bits=7,
    input_bits=8,
    cycle_bits=7,
    adc_bits=8,
    adc_range=1.0,
    adc_ideal=False,
    adc_one_sided=False,
    weight_offset=False,
    input_offset=False,
    dtype=np.float64,
    return_codes=False,
):
    """The product [out, batch]; adc_range: one limit per slice (each a scalar or [out])."""
    w_int, x_int = encode(weights, weight_bits), encode(inputs, input_bits)
    w_add = 2 ** (weight_bits - 1) if weight_offset else 0
    x_add = 2 ** (input_bits - 1) if input_offset else 0
    w_magnitude = weight_bits - (not weight_offset)
    x_magnitude = input_bits - (not input_offset)
    cell_bits, cycle_bits = min(cell_bits, w_magnitude), min(cycle_bits, x_magnitude)
    slices, cycles = -(-w_magnitude // cell_bits), -(-x_magnitude // cycle_bits)
    w_parts = [part.astype(dtype) for part in digits(w_int + w_add, 2**cell_bits, slices)]
    x_parts = [part.astype(dtype) for part in digits(x_int + x_add, 2**cycle_bits, cycles)]
    unit = (2**cell_bits - 1) * (2**cycle_bits - 1)
    limits = np.broadcast_to(np.asarray(adc_range, np.float64).T, np.asarray(adc_range).T.shape or (slices,)).T
    total = np.zeros((w_int.shape[0], x_int.shape[1]), dtype)
    codes_seen = []
    for start in range(0, w_int.shape[1], rows):
        block = slice(start, start + rows)
        for i in range(slices):
            for k in range(cycles):
                signal = (w_parts[i][:, block] @ x_parts[k][block]) / dtype(unit)
                if adc_ideal:
                    value = signal
                else:
                    limit = limits[i] if np.ndim(limits[i]) == 0 else limits[i][:, None]
                    codes, step = convert(signal, limit, adc_bits, adc_one_sided)
                    codes_seen.append(codes)
                    value = codes * step
                total += (2.0 ** (cell_bits * i + cycle_bits * k) * unit) * value
    total = total - w_add * x_int.sum(0)[None] - x_add * (w_int + w_add).sum(1)[:, None]
    result = total / ((2 ** (weight_bits - 1) - 1) * (2 ** (input_bits - 1) - 1))
    return (result, np.array(codes_seen)) if return_codes else result


def wire_currents(conductance, voltages, wire_row, wire_col):
    """Column currents [cols, batch] of one crossbar with wires: all node voltages in one sparse nodal system.

    Kirchhoff's current law at every crossing of both wire planes, solved directly (scipy), one conductance matrix
    [cols, rows] and drives [rows, batch].
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.linalg import splu

    cols, rows = conductance.shape
    size = rows * cols

    def row_node(i, j):
        return i * cols + j

    def col_node(i, j):
        return size + i * cols + j

    entries, right = [], np.zeros((2 * size, voltages.shape[1]))

    def connect(a, b, g):
        entries.extend([(a, a, g), (b, b, g), (a, b, -g), (b, a, -g)])

    for i in range(rows):
        entries.append((row_node(i, 0), row_node(i, 0), 1 / wire_row))
        right[row_node(i, 0)] = voltages[i] / wire_row
        for j in range(cols):
            connect(row_node(i, j), col_node(i, j), conductance[j, i])
            if j + 1 < cols:
                connect(row_node(i, j), row_node(i, j + 1), 1 / wire_row)
            if i + 1 < rows:
                connect(col_node(i, j), col_node(i + 1, j), 1 / wire_col)
    for j in range(cols):
        entries.append((col_node(rows - 1, j), col_node(rows - 1, j), 1 / wire_col))
    first, second, value = zip(*entries, strict=True)
    matrix = coo_matrix((value, (first, second)), shape=(2 * size, 2 * size)).tocsc()
    nodes = splu(matrix).solve(right)
    return np.array([nodes[col_node(rows - 1, j)] / wire_col for j in range(cols)])
