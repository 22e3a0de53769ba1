"""The paper's experiment recomputed: the authors' 25 published runs and the four claims."""

from pimjax.reproduction.claims import claims as claims
from pimjax.reproduction.lines import PublishedLine as PublishedLine
from pimjax.reproduction.lines import published_lines as published_lines
from pimjax.reproduction.run import reproduce as reproduce
