"""Notes on stderr: what a user set and what has no effect in this run."""

from __future__ import annotations

from pimjax.cli.output import stderr
from pimjax.config.config import Config


def show_notes(*configs: Config, accuracy: bool = False) -> None:
    """One line for each key that was set without effect; see :func:`pimjax.chips.ledger.without_effect`."""
    from pimjax.chips.ledger import without_effect

    sentences = [sentence for config in configs for sentence in without_effect(config, accuracy=accuracy)]
    for sentence in dict.fromkeys(sentences):
        stderr.print("[yellow]note[/yellow] ", end="")
        stderr.print(sentence, markup=False, soft_wrap=True)
