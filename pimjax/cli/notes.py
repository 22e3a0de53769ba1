"""Notes on stderr: what a user set and what has no effect in this run."""

from __future__ import annotations

from collections.abc import Iterable

from pimjax.cli.output import stderr
from pimjax.config.config import Config


def show_notes(*configs: Config, keys: Iterable[str] = (), accuracy: bool = False) -> None:
    """One line for each key that was set without effect; see :func:`pimjax.chips.ledger.without_effect`."""
    from pimjax.chips.ledger import without_effect

    for sentence in without_effect(*configs, keys=keys, accuracy=accuracy):
        stderr.note(sentence)
