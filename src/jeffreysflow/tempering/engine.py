"""The engine: rounds of local moves and swaps, warm-up, recording, and agreement among ranks."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch

from jeffreysflow.potentials import AnnealingPath
from jeffreysflow.potentials.potential import require
from jeffreysflow.tempering.archive import Archive, Draws, Statistics
from jeffreysflow.tempering.block_state import BlockState
from jeffreysflow.tempering.communicator import Communicator, SerialCommunicator
from jeffreysflow.tempering.kernel import Kernel
from jeffreysflow.tempering.minibatches import Minibatches
from jeffreysflow.tempering.settings import TemperingSettings
from jeffreysflow.tempering.start import Start
from jeffreysflow.tempering.swap_energies import SwapEnergies
from jeffreysflow.tempering.swap_rule import SwapRule
from jeffreysflow.tempering.swap_rules.exact import Exact
from jeffreysflow.tempering.tally import run_statistics
from jeffreysflow.tempering.tile_state import TileState
from jeffreysflow.tempering.tuning import Tuned, retuned, untuned

__all__ = ["Engine", "StoppedError"]

_AGREEMENT_SECONDS = 2.0


class StoppedError(Exception):
    """A run that was asked to stop has saved its checkpoint at ``round``; ``why`` it was asked."""

    def __init__(self, why: int, round: int) -> None:
        super().__init__(why, round)
        self.why, self.round = why, round


class Engine:
    """One tempering run, or one rank's share of it.

    A round is ``local_steps`` moves of every replica (an exact redraw at lambda = 0), a record if
    it is due, and one swap round. After the warm-up a rank whose walker blocks are all its own
    sends no message but, every two seconds or so, a word about checkpoints and whether to stop.

    Parameters
    ----------
    path : what is tempered along; without a base it is the power path.
    start : where replicas start (independent samples). Samples live on its device, that of path
        and target.
    rule : how swaps are decided, by default exactly.

    Raises
    ------
    UserError : the kernel needs gradients, and the target has none; kernel or rule see mini-batches
        of what is no finite sum, or of fewer terms.
    """

    def __init__(
        self,
        path: AnnealingPath,
        start: Start,
        kernel: Kernel,
        settings: TemperingSettings,
        communicator: Communicator | None = None,
        rule: SwapRule | None = None,
    ) -> None:
        if kernel.gradients:
            require(path.target, 1, f"kernel '{kernel.name}'", "slice and random_walk do without")
        else:
            path = path.without_gradients()
        self._path, self._start, self._kernel, self._settings = path, start, kernel, settings
        self._rule = rule or Exact()
        self._communicator = communicator or SerialCommunicator()
        self._tuned = untuned(settings, annealed=path.base is not None)
        self.round = 0
        grid = settings.grid
        ranks = grid.ranks(self._communicator.size)
        self._energies = SwapEnergies(grid, self._communicator)
        mine = [tile for tile in grid.tiles if ranks[tile.index] == self._communicator.rank]
        device = start.mean.device
        self._tiles = {tile.index: TileState(tile, settings, path, device) for tile in mine}
        self._blocks = {
            tile.block: BlockState(tile.block, tile.shape[1], settings, self._rule) for tile in mine
        }
        self._minibatches = Minibatches(kernel, self._rule, path, settings.local_steps)
        # of the owners of a block, that of its first replicas speaks for it
        self._spoken_for = {
            tile.block: self._blocks[tile.block] for tile in mine if tile.group == 0
        }

    @property
    def ladder(self) -> torch.Tensor:
        """Lambda of each level [M + 1]."""
        return self._tuned.ladder

    @property
    def step_size(self) -> torch.Tensor:
        """Step size of each level [M + 1], of a coordinate of average scale."""
        return self._tuned.step_size

    @property
    def rounds(self) -> int:
        """All rounds of the run."""
        return self._settings.warmup_rounds + self._settings.rounds

    def run(
        self,
        archive: Archive,
        checkpoint_seconds: float = math.inf,
        progress: Callable[[int], None] = lambda done: None,
        stop_asked: Callable[[], int] = lambda: 0,
    ) -> Statistics:
        """Run to the end, from the archive's checkpoint if it has one.

        ``stop_asked`` is asked on every rank; what is not 0 on one of them ends the run on all.

        Raises
        ------
        StoppedError : a rank was asked to stop; the checkpoint is saved.
        UserError : an energy is NaN, or hardly any sample of the base has a finite one; one is +inf
            where only mini-batches are seen.
        """
        self._buffers = {
            index: Draws.empty(
                archive.draws_per_chunk, *state.tile.shape, self._path.domain.dimension
            )
            for index, state in self._tiles.items()
        }
        if not self._resume(archive):
            for state in self._tiles.values():
                level = self._blocks[state.tile.block].level[state.tile.replicas]
                before = self._path.evaluations
                self._minibatches.refuse_walls(state.start(self._start, level, self.ladder))
                state.evaluations[0] += self._path.evaluations - before
            if self._settings.warmup_rounds == 0:
                self._freeze(archive)
        pause = min(checkpoint_seconds, _AGREEMENT_SECONDS)
        progress(self.round)
        ahead, last_save, last_word = 1, time.monotonic(), time.monotonic()
        while self.round < self.rounds:
            stop = min(self.round + ahead, self.rounds)
            steps = stop - self.round
            while self.round < stop:
                self._one_round(archive)
            progress(self.round)
            now = time.monotonic()
            # rank 0's clock decides; how often has no influence on the numbers
            rate = steps / max(now - last_word, 1e-6)
            ahead = max(1, min(int(pause * rate), 4 * ahead))
            save = now - last_save >= checkpoint_seconds
            words = self._communicator.all_gather((ahead, save, stop_asked()))
            (ahead, save, _), why = words[0], max(why for _, _, why in words)
            last_word = now
            if (save or why) and self.round < self.rounds:
                self._save(archive)
                if why:
                    raise StoppedError(why, self.round)
                last_save = last_word = time.monotonic()
        statistics = run_statistics(
            self._communicator,
            self._tiles.values(),
            self._spoken_for,
            ladder=self._tuned.ladder,
            step_size=self._tuned.step_size,
            metric=self._tuned.metric.expand(-1, self._path.domain.dimension),
            swap_noise=self._tuned.noise,
            swap_kurtosis=self._tuned.kurtosis,
        )
        archive.finish(statistics)
        return statistics

    def _one_round(self, archive: Archive) -> None:
        settings = self._settings
        steps, warming = self._tuned.steps(self._kernel.power), self.round < settings.warmup_rounds
        recorded = self.round - settings.warmup_rounds + 1
        records = recorded > 0 and recorded % settings.thin == 0
        batches = self._minibatches
        batches.draw(self._blocks, again=warming and self._rule.measures is not None)
        estimates: list[dict[int, torch.Tensor]] = [{} for _ in range(batches.estimates)]
        for index, state in self._tiles.items():
            labels, before = self._blocks[state.tile.block], self._path.evaluations
            level = labels.level[state.tile.replicas]
            of_kernel = batches.of_kernel(state)
            state.advance(level, self.ladder, steps, self._kernel, of_kernel)
            if records or not self._rule.estimates:
                state.evaluate(level, self.ladder)
            if records and batches.blind:
                batches.refuse_walls(bool(state.point.V.isposinf().any()))
            found = batches.swap_energies(state, of_kernel)
            for kept, values in zip(estimates, found, strict=True):
                kept[index] = values.cpu()
            state.evaluations[int(not warming)] += self._path.evaluations - before
        if records:
            self._record(archive, recorded // settings.thin - 1)
        V, *again = (self._energies.by_block(mine) for mine in estimates)
        for block, values in V.items():
            more = again[0][block] if again else None
            self._blocks[block].swap(values, self.ladder, self.round, self._tuned.noise, more)
        self.round += 1
        if self.round <= settings.warmup_rounds:
            self._adapt()
            if self.round == settings.warmup_rounds:
                self._freeze(archive)

    def _record(self, archive: Archive, draw: int) -> None:
        size = archive.draws_per_chunk
        filled = draw % size + 1
        for index, state in self._tiles.items():
            shape, point = state.tile.shape, state.point
            labels = self._blocks[state.tile.block].level[state.tile.replicas]
            values = (point.x.view(*shape, -1), point.U_0.view(shape), point.V.view(shape), labels)
            for kept, value in zip(self._buffers[index], values, strict=True):
                kept[filled - 1] = value.cpu().numpy()
            if filled == size or draw + 1 == self._settings.draws:
                full = Draws(*(kept[:filled] for kept in self._buffers[index]))
                archive.write(state.tile, draw - filled + 1, full)

    def _freeze(self, archive: Archive) -> None:
        for state in self._tiles.values():
            state.reset()
            state.spread = None
        for labels in self._blocks.values():
            labels.reset()
        archive.begin(self.ladder.double().numpy(), self.step_size.double().numpy())

    def _adapt(self) -> None:
        self._tuned = retuned(
            self._tuned,
            self.round,
            self._settings,
            self._kernel,
            self._rule,
            self._path.domain,
            self._communicator,
            self._tiles.values(),
            self._spoken_for,
            self._blocks.values(),
        )

    def _save(self, archive: Archive) -> None:
        tiles = {}
        for index, state in self._tiles.items():
            buffers = self._buffers[index]._asdict()
            tiles[index] = state.arrays() | {f"drawn_{name}": a for name, a in buffers.items()}
        blocks = {block: labels.arrays() for block, labels in self._spoken_for.items()}
        archive.save({"round": self.round, **self._tuned.shared()}, tiles, blocks)

    def _resume(self, archive: Archive) -> bool:
        checkpoint = archive.load()
        if checkpoint is None:
            return False
        self.round = checkpoint.shared["round"]
        self._tuned = Tuned.restored(checkpoint.shared, self._settings.dtype)
        for index, state in self._tiles.items():
            arrays = checkpoint.tile(index)
            state.restore(arrays)
            self._buffers[index] = Draws(*(arrays[f"drawn_{name}"] for name in Draws._fields))
        for block, labels in self._blocks.items():
            labels.restore(checkpoint.block(block))
        return True
