"""Where tensors live and how many threads work on them."""

from __future__ import annotations

import torch

from jeffreysflow.errors import UserError

__all__ = ["use_device"]


def use_device(name: str, threads: int) -> torch.device:
    """Set the number of CPU threads, and resolve `auto`, `cpu` or `cuda`.

    Raises
    ------
    UserError : `cuda` is asked for and there is none.
    """
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("device: found 'cuda', but no CUDA device; allowed here: auto, cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
