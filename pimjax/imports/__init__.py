"""Descriptions that people already have of their models, read into the keys of the section `model`.

`config.json` of a Hugging Face checkpoint: one file per kind of family in `families/`, found by `model_type`. What
this package gives are plain keys; :func:`pimjax.config.from_hf` makes a validated `ModelConfig` of them.
"""

from pimjax.imports.registry import HfModel as HfModel
from pimjax.imports.registry import family_names as family_names
from pimjax.imports.registry import read_hf as read_hf
