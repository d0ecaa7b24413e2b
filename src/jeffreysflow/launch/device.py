"""Where tensors live and how many threads work on them."""

from __future__ import annotations

import torch

from jeffreysflow.errors import UserError
from jeffreysflow.launch.cards import hold_cards

__all__ = ["use_device", "use_threads"]


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
        return torch.device("cuda")
    if name == "cuda":
        raise UserError("device: found 'cuda', but no CUDA device; allowed here: auto, cpu")
    return torch.device("cpu")


def use_threads(threads: int) -> None:
    """So many CPU threads, for arithmetic without denormal numbers."""
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
