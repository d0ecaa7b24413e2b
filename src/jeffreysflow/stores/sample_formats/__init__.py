"""Formats of files with samples that something else has drawn: one file each, found by its name."""
