"""Are the terms of a finite sum terms of it, whichever are asked for together?"""

from __future__ import annotations

import torch

from jeffreysflow.errors import UserError
from jeffreysflow.potentials.base import Base
from jeffreysflow.potentials.consistency import rounding_of
from jeffreysflow.potentials.finite_sum import FiniteSum
from jeffreysflow.streams import Stream

__all__ = ["check_terms"]

_ROWS = 7
_SEVERAL = 5
_MOST = 1 << 16
"""Terms at a time."""
_SAME_SLOPE = 1e-3
"""Of the largest slope: single precision, and what terms that cancel lose."""


def check_terms(potential: FiniteSum, base: Base, name: str, seed: int = 0) -> None:
    """Evaluate the terms of a finite sum at samples of the base, all of them, and some in another
    order and one by one.

    Raises
    ------
    UserError : one is NaN or -inf; depends on what other terms are asked for; or the energy is not
        the sum of all and the prior, to 1e-9 of the largest, or its gradient not theirs.
    """
    x = base.sample(_ROWS, Stream(seed, "check terms", name))
    with torch.no_grad():
        total = potential.prior(x).double()
        _refuse_no_number(total, "prior(x)", x, name)
        for index in torch.split(torch.arange(potential.terms), _MOST):
            terms = potential.energy_terms(x, index).double()
            _check_each(terms, index, x, name)
            total = total + terms.sum(dim=1)
        _check_apart(potential, x, name, seed)
        energy = potential.energy(x).double()
    slack = max(rounding_of(energy), rounding_of(total))
    off = ~((energy == total) | ((energy - total).abs() <= slack))
    if bool(off.any()):
        row = int(off.nonzero()[0])
        raise UserError(
            f"{name}: energy(x) is not prior(x) and the sum of its {potential.terms} terms: "
            f"{float(energy[row]):.12g} and {float(total[row]):.12g}, at x = {x[row].tolist()}"
        )
    if potential.term_derivatives and potential.derivatives:
        _check_gradients(potential, x[energy.isfinite()], name)


def _check_gradients(potential: FiniteSum, x: torch.Tensor, name: str) -> None:
    """Of the whole energy and of a mini-batch of all terms: an energy of its own hides terms that
    torch cannot see through.
    """
    if not len(x):
        return
    _, whole = potential.energy_and_gradient(x)
    summed = torch.zeros_like(whole)
    for some in torch.split(torch.arange(potential.terms), _MOST):
        # the prior and so many times its terms, as a mean over all pieces
        share = len(some) / potential.terms
        summed += share * potential.batch_energy_and_gradient(x, some)[1]
    scale = whole.abs().amax(dim=1, keepdim=True) + summed.abs().amax(dim=1, keepdim=True)
    off = (whole - summed).abs() > _SAME_SLOPE * scale
    if bool(off.any()):
        row, column = off.nonzero()[0].tolist()
        raise UserError(
            f"{name}: the gradient of energy(x) is not that of prior(x) and the sum of its "
            f"{potential.terms} terms: {float(whole[row, column]):.6g} and "
            f"{float(summed[row, column]):.6g} along x{column + 1}, at x = {x[row].tolist()}; "
            "something in energy_terms or prior is detached"
        )


def _refuse_no_number(values: torch.Tensor, what: str, x: torch.Tensor, name: str) -> None:
    bad = ~(values.isfinite() | values.isposinf())
    if bool(bad.any()):
        row = int(bad.nonzero()[0])
        raise UserError(
            f"{name}: {what} is {float(values[row]):g} at x = {x[row].tolist()}, a sample of the "
            "base"
        )


def _check_each(terms: torch.Tensor, index: torch.Tensor, x: torch.Tensor, name: str) -> None:
    bad = ~(terms.isfinite() | terms.isposinf())
    if bool(bad.any()):
        column = int(bad.any(dim=0).nonzero()[0])
        _refuse_no_number(terms[:, column], f"term {int(index[column])} of the energy", x, name)


def _check_apart(potential: FiniteSum, x: torch.Tensor, name: str, seed: int) -> None:
    stream = Stream(seed, "check terms", name, "some")
    index = (stream.uniform(min(_SEVERAL, potential.terms)) * potential.terms).long()
    together = potential.energy_terms(x, index)
    apart = torch.cat([potential.energy_terms(x, term[None]) for term in index], dim=1)
    rows = (torch.arange(len(x))[:, None] + index) % potential.terms
    own = potential.energy_terms(x, rows)
    one_by_one = torch.cat(
        [potential.energy_terms(x[r : r + 1], rows[r]) for r in range(len(x))], dim=0
    )
    for found, known in ((together, apart), (own, one_by_one)):
        slack = rounding_of(known)
        off = ~((found == known) | ((found - known).abs() <= slack))
        if bool(off.any()):
            row, column = off.nonzero()[0].tolist()
            raise UserError(
                f"{name}: a term of the energy depends on the others that are asked for with it: "
                f"{float(found[row, column]):.6g} among {len(index)}, "
                f"{float(known[row, column]):.6g} otherwise, at x = {x[row].tolist()}"
            )
