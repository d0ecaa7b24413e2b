"""Torch modules that a user's file makes, and all files that they are made of."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.nn.parameter import is_lazy

from jeffreysflow.errors import UserError, described, shown
from jeffreysflow.userfiles.digest import digest
from jeffreysflow.userfiles.fresh import modules_imported
from jeffreysflow.userfiles.importing import import_user_file, undisturbed
from jeffreysflow.userfiles.opened import files_opened

__all__ = ["MadeModule", "load_weights", "make_module", "module_hashes", "weights_hash"]


class MadeModule(NamedTuple):
    """A module for evaluation, in float64 and without gradients of its parameters, and the
    ``hashes`` of the files that it was made of: its own, modules of the user's own that this
    imported, and data that was opened; by their paths from the folder of the file.
    """

    module: nn.Module
    hashes: Mapping[str, str]


def make_module(file: Path, name: str) -> MadeModule:
    """What the function ``name`` of a user's file makes. Random numbers in it are the same each
    time.

    Raises
    ------
    UserError : no such file or function, it raises, or makes something else.
    """
    if not file.is_file():
        raise UserError(f"{name} file {file}: no such file")
    imported = import_user_file(file)
    make = getattr(imported.module, name, None)
    if not callable(make):
        raise UserError(
            f"{file}: '{name}' must be a function that makes a torch module, found {shown(make)}"
        )
    try:
        with modules_imported() as later, undisturbed(), files_opened(file.parent) as opened:
            module = make()
    except (Exception, SystemExit) as error:
        raise UserError(f"{file}: {name}() raised {described(error)}") from error
    if not isinstance(module, nn.Module):
        raise UserError(f"{file}: {name}() must make a torch module, found {shown(module)}")
    if any(map(is_lazy, _tensors(module))):
        raise UserError(
            f"{file}: {name}() has parameters of no size yet (a lazy module); give their sizes"
        )
    for kept, value in module.state_dict().items():
        if not isinstance(value, torch.Tensor) or value.is_complex():
            found = "complex numbers" if isinstance(value, torch.Tensor) else shown(value)
            raise UserError(
                f"{file}: {name}() keeps {found} as '{kept}'; allowed: real parameters and buffers"
            )
    try:
        module = module.eval().to(torch.float64).requires_grad_(False)
    except Exception as error:
        raise UserError(f"{file}: {name}() cannot be made float64: {described(error)}") from error
    return MadeModule(module, _hashes(file, imported.files | later | opened))


def _tensors(module: nn.Module) -> Iterator[torch.Tensor]:
    yield from module.parameters()
    yield from module.buffers()


def load_weights(module: nn.Module, file: Path) -> None:
    """Parameters and buffers from safetensors.

    Raises
    ------
    UserError : the file cannot be read, is none of safetensors, does not fit, or holds a number
        that is not finite.
    """
    try:
        module.load_state_dict(load_file(file))
    except SafetensorError as error:
        raise UserError(
            f"weights {file}: not safetensors ({_in_one_line(error)}); allowed: what "
            "safetensors.torch.save_file(module.state_dict(), file) writes"
        ) from error
    except Exception as error:
        # a module may have its own way to load them
        raise UserError(f"weights {file}: {_in_one_line(error)}") from error
    for name, values in module.state_dict().items():
        if values.is_floating_point() and not bool(values.isfinite().all()):
            raise UserError(f"weights {file}: '{name}' holds a number that is not finite")


def module_hashes(file: Path, name: str, weights: Path | None) -> dict[str, str]:
    """``MadeModule.hashes``, with that of a file of weights.

    Raises
    ------
    UserError : as ``make_module``.
    """
    named = {} if weights is None else weights_hash(file, weights)
    return dict(sorted({**make_module(file, name).hashes, **named}.items()))


def weights_hash(file: Path, weights: Path) -> dict[str, str]:
    """That of a file of weights, by its path from the folder of ``file``."""
    return _hashes(file, {weights.resolve()})


def _hashes(file: Path, files: frozenset[Path] | set[Path]) -> dict[str, str]:
    folder = file.resolve().parent
    try:
        return {os.path.relpath(each, folder): digest(each) for each in sorted(files)}
    except OSError as error:
        raise UserError(f"{file}: reads {error.filename}: {error.strerror}") from error


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())
