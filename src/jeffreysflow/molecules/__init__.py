"""Molecules: force fields as batched torch energies, and internal coordinates.

Lengths are in nm, angles in radian, energies in kJ/mol, as in OpenMM; the potential that is made of
them is in kT. Positions are [atom, 3, n]: the batch comes last, which is many times faster here.
"""
