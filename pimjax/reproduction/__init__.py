"""The paper's experiment recomputed: the authors' 25 published runs and the four claims."""

from pimjax.reproduction.lines import PublishedLine as PublishedLine
from pimjax.reproduction.lines import published_lines as published_lines
from pimjax.reproduction.run import reproduce as reproduce
from pimjax.reproduction.run import summarise as summarise
