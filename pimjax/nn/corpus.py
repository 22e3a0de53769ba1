"""Text that is on every machine with Python: the topics of its help system, as documents of ASCII codes."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np

from pimjax.array_typing import HostArray

VOCABULARY = 128
_HELD_OUT_EVERY = 10


class Corpus(NamedTuple):
    """Training and held-out documents as uint8 codes below 128, and the SHA-256 of the whole text in UTF-8."""

    train: list[HostArray]
    held_out: list[HostArray]
    sha256: str


def help_topics() -> Corpus:
    """The documents of ``pydoc_data.topics`` in the order of their names; every tenth is held out.

    Characters outside ASCII become "?". The text differs between Python versions, so its hash goes into every record.

    >>> corpus = help_topics()
    >>> len(corpus.train) > 5 * len(corpus.held_out) > 0
    True
    """
    from pydoc_data.topics import topics

    names = sorted(topics)
    digest = hashlib.sha256("".join(topics[name] for name in names).encode())
    documents = [np.frombuffer(topics[name].encode("ascii", "replace"), np.uint8) for name in names]
    held_out = [document for index, document in enumerate(documents) if index % _HELD_OUT_EVERY == 0]
    train = [document for index, document in enumerate(documents) if index % _HELD_OUT_EVERY]
    return Corpus(train, held_out, digest.hexdigest())


def windows(documents: list[HostArray], length: int, count: int, seed: int) -> HostArray:
    """`count` windows int32 ``[count, length]``, each inside one document, spread over the long enough documents.

    Documents take turns, places within one are drawn from `seed`.

    Raises:
      ValueError: no document is that long.
    """
    usable = [document for document in documents if len(document) >= length]
    if not usable:
        longest = max((len(document) for document in documents), default=0)
        raise ValueError(f"no document has {length} characters: the longest has {longest}")
    generator = np.random.default_rng(seed)
    rows = []
    for index in range(count):
        document = usable[index % len(usable)]
        begin = int(generator.integers(0, len(document) - length + 1))
        rows.append(document[begin : begin + length])
    return np.stack(rows).astype(np.int32)
