"""Boltzmann generators distilled from parallel tempering with the Jeffreys divergence.

Energies are in units of kT (a density is ``exp(-U)``), samples are arrays ``[n, d]``.
"""

__version__ = "0.1.0"
