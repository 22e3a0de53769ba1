"""Files of serving requests, changed in their bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from fuzz.inputs import changed_bytes
from fuzz.runner import NotPhysical
from pimjax.serving import load_requests

FILES = [
    b"TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.9951690,396,109\n",
    b'{"request_id": "a", "input_toks": 23, "output_toks": 5, "arrival_time": 17872.082}\n'
    b'{"request_id": "b", "input_toks": 10, "output_toks": 7, "arrival_time": 17872.347}\n',
    b'{"timestamp": 27482, "input_length": 6955, "output_length": 52, "hash_ids": [46, 47]}\n'
    b'{"timestamp": 30535, "input_length": 6472, "output_length": 26, "hash_ids": [46]}\n',
]


def request_bytes() -> st.SearchStrategy[tuple[bytes, str]]:
    """Bytes of a file and how it is to be read."""
    return st.tuples(changed_bytes(FILES), st.sampled_from(["auto", "auto", "azure", "vllm", "mooncake"]))


def read_requests(value: tuple[bytes, str], folder: Path) -> None:
    """Read it: what is accepted can be served."""
    content, kind = value
    file = folder / "requests"
    file.write_bytes(content)
    found = load_requests(file, kind)
    if not (np.diff(found.arrival_ns) >= 0).all() or found.prompt_tokens.min() < 1 or found.output_tokens.min() < 1:
        raise NotPhysical(f"{found}")
