"""Non-reversible parallel tempering: kernels, ladders, swaps, and the engine that runs them.

A replica never moves between levels, its label does. The unit of work is a tile (a group of
replicas of a block of walkers) with a random stream of its own, so that the numbers do not depend
on who computes them.
"""
