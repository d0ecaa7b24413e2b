"""Units in those of OpenMM: kJ/mol, nm and K."""

__all__ = ["ANGSTROM", "ELECTRONVOLT", "GAS_CONSTANT", "KILOCALORIE"]

GAS_CONSTANT = 8.31446261815324e-3
"""kJ/mol/K."""
KILOCALORIE = 4.184
"""kJ."""
ELECTRONVOLT = 96.48533212331
"""kJ/mol."""
ANGSTROM = 0.1
"""nm."""
