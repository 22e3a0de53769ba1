"""Figures and pages made from results: `make_report` (HTML), `draw_figure` (PNG, SVG, PDF)."""
