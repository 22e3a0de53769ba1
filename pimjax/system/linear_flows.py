"""Flows of a linear layer outside the experts: every token passes it. NumPy or JAX.

* input to crossbars: rows x b_a bits, from the digital units (2/3 sqrt(A)), then each row block's part to its crossbars,
  0.76 sqrt(crossbars of a row block x area of the layer); row blocks count whole;
* partial sums: (crossbars - strips) x C x accumulator_bits, one core pitch; with digital accumulation those of every crossbar
  go to the units, 2/3 sqrt(A);
* results to the units: strips x C x result_bits, 2/3 sqrt(A).

Keys, values and embeddings from the memory: bytes x 8 bits, 2/3 sqrt(A).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from pimjax import checks
from pimjax.array_typing import AnyArray, ArrayLike
from pimjax.arrays import larger, smaller, where
from pimjax.errors import ConfigError
from pimjax.system.flows import NUMBERS, Flow
from pimjax.system.wires import Wire, along, farthest, multicast_length_mm, wire_energy_nj, wire_latency_ns


class LinearShape(NamedTuple):
    """One linear layer on crossbars; floats or arrays that broadcast.

    Attributes:
        row_blocks, strips, crossbars, sums: as `pimjax.chips.multiplexed.geometry.Linear`: rows, strips, tiles, adds.
        rows, columns: of a crossbar.
        activation_bits: of an input value.
        core_area_mm2: of a crossbar with its peripherals.
        area_mm2: A, silicon between the layer and the digital units.
    """

    row_blocks: Any
    strips: Any
    crossbars: Any
    sums: Any
    rows: Any
    columns: Any
    activation_bits: Any
    core_area_mm2: Any
    area_mm2: Any


SHAPE = checks.instance(LinearShape, "a LinearShape")


@checks.checked(ConfigError, shape=SHAPE, numbers=NUMBERS, local_sums=checks.flags(dims=0))
def linear_flows(shape: LinearShape, numbers: Any, *, local_sums: ArrayLike = True) -> tuple[Flow, ...]:
    """The flows of one token through the layer. Kernel.

    >>> from pimjax.config.system import SystemSection
    >>> shape = LinearShape(16.0, 16.0, 256.0, 240.0, 256.0, 256.0, 8.0, 0.634, 858.0)
    >>> [(flow.name, int(flow.bits)) for flow in linear_flows(shape, SystemSection().arrays())][:2]
    [('input from the units', 32768), ('row blocks to crossbars', 32768)]
    """
    pitch = shape.core_area_mm2**0.5
    units = along(multicast_length_mm(1.0, shape.area_mm2), pitch)
    own = smaller(shape.crossbars * shape.core_area_mm2, shape.area_mm2)
    each = shape.crossbars / larger(shape.row_blocks, 1.0)
    spread = along(multicast_length_mm(each, own), pitch)
    near = along(pitch, pitch)
    moved = where(local_sums, shape.sums, shape.crossbars) * shape.columns * numbers.accumulator_bits
    sum_way = Wire(*(where(local_sums, one, other) for one, other in zip(near, units, strict=True)))
    there = where(shape.crossbars > 0, shape.row_blocks, 0.0) * shape.rows * shape.activation_bits
    back = shape.strips * shape.columns * numbers.result_bits
    rows = (
        ("input from the units", there, units, "die network"),
        ("row blocks to crossbars", there, spread, "die network"),
        ("partial sums", moved, sum_way, "die network"),
        ("results to the units", back, units, "die network"),
    )
    return tuple(
        Flow(name, "uses", bits, way.length_mm, way.hops, wire_energy_nj(bits, way, numbers), resource)
        for name, bits, way, resource in rows
    )


@checks.checked(ConfigError, shape=SHAPE, numbers=NUMBERS)
def linear_fill_ns(shape: LinearShape, numbers: Any) -> AnyArray:
    """What wires add to a token's way through the layer: to the farthest of its crossbars and back [ns].

    >>> from pimjax.config.system import SystemSection
    >>> shape = LinearShape(16.0, 16.0, 256.0, 240.0, 256.0, 256.0, 8.0, 0.634, 858.0)
    >>> round(float(linear_fill_ns(shape, SystemSection().arrays())), 1)
    35.8
    """
    pitch = shape.core_area_mm2**0.5
    own = smaller(shape.crossbars * shape.core_area_mm2, shape.area_mm2)
    return 2 * wire_latency_ns(farthest(own, pitch), numbers)


@checks.checked(ConfigError, bits=checks.numbers(0), area_mm2=checks.numbers(0), pitch_mm=checks.numbers(0, above=True), numbers=NUMBERS)  # fmt: skip
def memory_flow(bits: ArrayLike, area_mm2: ArrayLike, pitch_mm: ArrayLike, numbers: Any) -> Flow:
    """What the memory's interface and the attention units exchange in a run. Kernel.

    >>> from pimjax.config.system import SystemSection
    >>> memory_flow(1000.0, 858.0, 0.8, SystemSection().arrays()).resource
    'die network'
    """
    way = along(multicast_length_mm(1.0, area_mm2), pitch_mm)
    return Flow(
        "memory to units", "bits", bits, way.length_mm, way.hops, wire_energy_nj(bits, way, numbers), "die network"
    )


__all__ = ["LinearShape", "linear_fill_ns", "linear_flows", "memory_flow"]
