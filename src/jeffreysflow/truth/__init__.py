"""Exact references: what the samples must reproduce."""
