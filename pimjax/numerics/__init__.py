"""Crossbar numerics: what analog matrix products, converters and memory cells do to numbers."""

from pimjax.numerics.mvm import crossbar_mvm, read
from pimjax.numerics.programming import Programmed, program
from pimjax.numerics.settings import Crossbar, check_crossbar

__all__ = ["Crossbar", "Programmed", "check_crossbar", "crossbar_mvm", "program", "read"]
