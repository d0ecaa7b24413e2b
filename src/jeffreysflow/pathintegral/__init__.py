"""Quantum averages from ring polymers: modes, actions, estimators, extrapolation."""
