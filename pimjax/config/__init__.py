"""YAML -> validated frozen host objects -> pytrees of strongly typed arrays."""

from pimjax.config.build import Capacity as Capacity
from pimjax.config.build import Design as Design
from pimjax.config.build import build as build
from pimjax.config.config import Config as Config
from pimjax.config.hf import from_hf as from_hf
from pimjax.config.loader import load_config as load_config
from pimjax.config.parameters import parameter_count as parameter_count
from pimjax.config.presets import list_presets as list_presets
