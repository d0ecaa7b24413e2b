"""Figures, summary table and the one-page report, from tables and arrays alone."""
