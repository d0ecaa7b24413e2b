"""Estimates from samples: observables, averages with errors, log Z, whether to trust them."""
