"""Where tensors live and how many threads work on them."""

from __future__ import annotations

import os

import torch

from jeffreysflow.errors import UserError
from jeffreysflow.launch.cards import hold_cards

__all__ = ["sum_in_order", "use_device", "use_threads"]


def use_device(name: str, threads: int, processes: int = 1) -> torch.device:
    """Set the number of CPU threads, and resolve `auto`, `cpu` or `cuda`; where that is a GPU, hold
    one for each of ``processes``, as far as there are.

    Raises
    ------
    UserError : `cuda` is asked for and there is none.
    """
    use_threads(threads)
    if name == "cpu":
        return torch.device(name)
    if torch.version.cuda is not None:
        hold_cards(processes)
    if torch.cuda.is_available():
        sum_in_order()
        return torch.device("cuda")
    if name == "cuda":
        raise UserError("device: found 'cuda', but no CUDA device; allowed here: auto, cpu")
    return torch.device("cpu")


def sum_in_order() -> None:
    """On a GPU, sums in a fixed order from then on, if CUDA was not used before; torch warns of
    operations that have none.
    """
    # as cuBLAS wants it
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def use_threads(threads: int) -> None:
    """So many CPU threads, for arithmetic without denormal numbers."""
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
