"""Errors a user can cause: one clear sentence each.

The sentence says what is wrong, where, the value, what is allowed and what to do. The command line prints it
without a traceback and exits with code 2.
"""

from __future__ import annotations


class PimjaxError(ValueError):
    """Base of every error that bad input can raise."""


class ConfigError(PimjaxError):
    """A configuration key or value is not acceptable: names the key, the value and what is allowed."""


class TraceError(PimjaxError):
    """A routing trace or trace file is not acceptable."""


class ScheduleError(PimjaxError):
    """Choices, groups or a policy cannot be scheduled."""


class NumericsError(PimjaxError):
    """Crossbar numerics were given values, shapes or bits out of range."""


class CapacityError(PimjaxError):
    """A problem is larger than an engine or a padded array accepts."""


class MissingExtraError(PimjaxError):
    """An optional dependency is not installed: names the pip command that installs it."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed; run: pip install 'pimjax[{extra}]'"
        )
        self.package = package
        self.extra = extra
