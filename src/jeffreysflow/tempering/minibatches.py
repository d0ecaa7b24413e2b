"""The mini-batches of a round: which terms kernel and swaps see, of every walker and replica."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from jeffreysflow.errors import UserError
from jeffreysflow.potentials import AnnealingPath
from jeffreysflow.potentials.finite_sum import check_batch_size
from jeffreysflow.tempering.batches import random_batches
from jeffreysflow.tempering.block_state import BlockState
from jeffreysflow.tempering.kernel import Kernel
from jeffreysflow.tempering.noisy_kernel import NoisyKernel
from jeffreysflow.tempering.swap_rule import SwapRule
from jeffreysflow.tempering.tile_state import TileState

__all__ = ["Minibatches", "check_minibatch", "check_minibatches"]


def check_minibatch(what: str, size: int, terms: int | None) -> None:
    """So many terms at a time of an energy of so many (None: no finite sum), which ``what`` needs.

    Raises
    ------
    UserError : it has none, or fewer.
    """
    if terms is None:
        raise UserError(f"{what} needs an energy that is a finite sum of terms")
    check_batch_size(size, terms, f"{what}: ")


def check_minibatches(kernel: Kernel, rule: SwapRule, terms: int | None) -> None:
    """A kernel and a swap rule against an energy of so many terms (None: no finite sum).

    Raises
    ------
    UserError : they need a finite sum, one of more terms, or a size of mini-batches; or the noise
        of swaps would be measured on other batches than it comes from.
    """
    _check_reuse(kernel, rule)
    wanted = {}
    if kernel.minibatch is not None:
        wanted[f"kernel '{kernel.name}'"] = kernel.minibatch
    if rule.estimates:
        what = f"swap rule '{rule.name}'"
        if rule.size is None and not isinstance(kernel, NoisyKernel):
            also = ", and has no batch to reuse" if rule.reused else ": give its 'size'"
            raise UserError(f"{what}: kernel '{kernel.name}' shares no mini-batches{also}")
        wanted[what] = rule.size or next(iter(wanted.values()))
    for what, size in wanted.items():
        check_minibatch(what, size, terms)


def _check_reuse(kernel: Kernel, rule: SwapRule) -> None:
    """Of batches of their own, two replicas have independent noise; of the second one, by which it
    is measured, the same.
    """
    own = isinstance(kernel, NoisyKernel) and kernel.batches == "replica"
    if own and rule.reused and rule.measures is not None:
        raise UserError(
            f"swap rule '{rule.name}' measures the noise on batches that a walker's levels share, "
            f"and those of kernel '{kernel.name}' are of each replica: take batch 'fresh', or "
            "batches 'walker'"
        )


class Minibatches:
    """Draws them, and evaluates what swaps compare. ``estimates`` is how often V is estimated a
    swap: 1, or 2 while the noise is measured. ``blind``: energies are known at records only, and
    nobody sees whether a fresh sample of the base is in a wall.
    """

    def __init__(
        self, kernel: Kernel, rule: SwapRule, path: AnnealingPath, local_steps: int
    ) -> None:
        self._terms = path.target.terms
        check_minibatches(kernel, rule, self._terms)
        self._noisy = kernel if isinstance(kernel, NoisyKernel) else None
        self._rule, self._path, self._steps = rule, path, local_steps
        self.blind = self._noisy is not None and rule.estimates and path.base is not None
        self.estimates = 1
        self._of_kernel: dict[int, torch.Tensor] = {}
        self._of_swaps: list[dict[int, torch.Tensor]] = []

    def draw(self, blocks: Mapping[int, BlockState], *, again: bool) -> None:
        """Those of a round that walkers share among their levels; ``again`` a second one a swap."""
        self.estimates = 2 if again else 1
        if self._terms is None:
            return
        noisy, rule = self._noisy, self._rule
        if noisy is not None and noisy.batches == "walker":
            self._of_kernel = {
                block: labels.batches(self._terms, noisy.minibatch, self._steps)
                for block, labels in blocks.items()
            }
        size = rule.size or (noisy.minibatch if noisy is not None else None)
        if rule.estimates and size is not None:
            fresh = self.estimates - int(rule.reused)
            self._of_swaps = [
                {block: labels.batches(self._terms, size)[0] for block, labels in blocks.items()}
                for _ in range(fresh)
            ]

    def refuse_walls(self, met: bool) -> None:
        """Where ``blind``, swaps would lift samples of the base out of a wall.

        Raises
        ------
        UserError : they are, and a wall was ``met``.
        """
        if not self.blind or not met:
            return
        assert self._noisy is not None
        raise UserError(
            f"swap rule '{self._rule.name}' with kernel '{self._noisy.name}': the energy is +inf "
            "at samples of lambda = 0, and mini-batches need not know: take swap_rule 'exact', a "
            "kernel with an accept step, or a base without samples there"
        )

    def of_kernel(self, state: TileState) -> torch.Tensor | None:
        """[moves, rows, B], drawn from the tile's stream where every replica has its own."""
        noisy = self._noisy
        if noisy is None or self._terms is None:
            return None
        if noisy.batches == "walker":
            return _of_rows(self._of_kernel[state.tile.block], state)
        rows = state.tile.shape[0] * state.tile.shape[1]
        return random_batches(state.stream, self._terms, noisy.minibatch, self._steps, rows)

    def swap_energies(self, state: TileState, of_kernel: torch.Tensor | None) -> list[torch.Tensor]:
        """V of the tile's rows, or as many ``estimates``: ``U_M^B - U_0``."""
        if not self._rule.estimates:
            return [state.point.V]
        shared = [_of_rows(each[state.tile.block], state) for each in self._of_swaps]
        if self._rule.reused:
            assert of_kernel is not None
            shared.insert(0, of_kernel[-1])
        x, V = state.point.x, state.point.V
        found = [self._path.batch_energies(x, index.to(x.device))[1] for index in shared]
        # a few terms need not know of a wall
        return [torch.where(V.isposinf(), V, estimate) for estimate in found]


def _of_rows(of_walkers: torch.Tensor, state: TileState) -> torch.Tensor:
    """Batches [..., walker, B] of a block for the rows (replica, walker) of its tile."""
    replicas, walkers = state.tile.shape
    shape = of_walkers.shape[:-2]
    spread = of_walkers.unsqueeze(-3).expand(*shape, replicas, walkers, -1)
    return spread.reshape(*shape, replicas * walkers, -1)
