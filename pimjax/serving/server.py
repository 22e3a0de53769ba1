"""`Server`: what a server decides with: batch limits, memory for keys and values, ranks. Host.

The rules are those of vLLM's scheduler (version 1 engine, first come first served), as :mod:`pimjax.serving.exact` states
them line by line. Left out: prefix caching between requests, pools that separate prefill and decode, speculative decoding.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from pimjax import checks
from pimjax.errors import ServingError
from pimjax.serving.requests import MAX_TOKENS, Requests

BALANCES = ("least_loaded", "round_robin")
UNLIMITED_BLOCKS = 1 << 40


@dataclass(frozen=True)
class Server:
    """Settings of a server; names as in vLLM where it has them.

    Attributes:
        max_num_seqs: most requests that run at once, per rank.
        max_num_batched_tokens: most tokens of one step, per rank.
        kv_tokens: tokens whose keys and values fit, per rank; None: no limit.
        block_tokens: tokens per block of that memory.
        chunked_prefill: a prompt may be split over steps; else a step takes whole prompts only.
        reserve_full_prompt: a request starts only where its whole prompt fits into free memory.
        reuse_preempted: a preempted request finds those of its blocks again that nobody took meanwhile (the part of prefix
            caching that concerns a request itself); else it is computed from its beginning.
        async_scheduling: a step is scheduled when its predecessor starts, so requests that arrive meanwhile, and memory
            that it frees, wait for the step after.
        ranks: data-parallel ranks, each with a queue and a memory of its own.
        lockstep: all ranks take every step together (experts spread over them); else each on its own.
        balance: where an arriving request goes: "least_loaded" (smallest 4 x waiting + running, first of equals), or
            "round_robin".

    Raises:
        ServingError: a value out of range.

    >>> Server(max_num_seqs=4).max_num_batched_tokens
    2048
    """

    max_num_seqs: int = 128
    max_num_batched_tokens: int = 2048
    kv_tokens: int | None = None
    block_tokens: int = 16
    chunked_prefill: bool = True
    reserve_full_prompt: bool = True
    reuse_preempted: bool = False
    async_scheduling: bool = False
    ranks: int = 1
    lockstep: bool = False
    balance: str = "least_loaded"

    def __post_init__(self) -> None:
        rules = {
            "max_num_seqs": checks.whole(1, 65_536),
            "max_num_batched_tokens": checks.whole(1, MAX_TOKENS),
            "kv_tokens": checks.optional(checks.whole(1, 2**50)),
            "block_tokens": checks.whole(1, 65_536),
            "ranks": checks.whole(1, 1024),
            "balance": checks.word(*BALANCES),
        }
        for field in fields(self):
            rule = rules.get(field.name, checks.flag)
            checks.require(ServingError, f"Server.{field.name}", getattr(self, field.name), rule)

    @property
    def kv_blocks(self) -> int:
        """Blocks per rank.

        >>> Server(kv_tokens=100, block_tokens=16).kv_blocks
        6
        """
        return UNLIMITED_BLOCKS if self.kv_tokens is None else self.kv_tokens // self.block_tokens

    def check(self, requests: Any) -> None:
        """Raise where a request can never be served.

        Raises:
            ServingError: `requests` are none, one is larger than the memory, or one does not fit a step without chunks.

        >>> from pimjax.serving.requests import make_requests
        >>> Server(kv_tokens=64).check(make_requests([0.0], 60, 5))
        """
        checks.require(
            ServingError,
            "requests",
            requests,
            checks.instance(Requests, "Requests from make_requests, generate_requests or load_requests"),
        )
        reached = requests.prompt_tokens + requests.output_tokens - 1  # the last token's keys and values are not kept
        largest = int(np.argmax(reached))
        if -(-int(reached[largest]) // self.block_tokens) > self.kv_blocks:
            raise ServingError(
                f"request {largest} reaches {int(reached[largest]):,} tokens but Server.kv_tokens is {self.kv_tokens:,} in blocks "
                f"of {self.block_tokens}: it can never be served; raise kv_tokens or leave the request out"
            )
        if not self.chunked_prefill and int(reached[largest]) > self.max_num_batched_tokens:
            raise ServingError(
                f"request {largest} reaches {int(reached[largest]):,} tokens but without chunked_prefill a step takes at most "
                f"Server.max_num_batched_tokens = {self.max_num_batched_tokens:,}: raise it or set chunked_prefill"
            )
