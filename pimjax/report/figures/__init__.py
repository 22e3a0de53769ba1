"""Figures for papers by matplotlib: one module each, drawn by name to PNG, SVG or PDF."""

from pimjax.report.figures.draw import FIGURES as FIGURES
from pimjax.report.figures.draw import draw_figure as draw_figure
