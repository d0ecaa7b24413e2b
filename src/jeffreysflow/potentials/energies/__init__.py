"""The energies that come with the package: one file each, found by its name."""
