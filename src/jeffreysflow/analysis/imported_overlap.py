"""What is missing between imported levels that hardly overlap."""

from __future__ import annotations

import math
from collections.abc import Sequence

from scipy.special import erfcinv

from jeffreysflow.config import SamplesConfig

__all__ = ["overlap_advice"]

_LEAST = 0.05
"""Of swaps between neighbours that would be accepted: with fewer, an average over the samples of
both has next to none of its own."""
_WANTED = 0.2
_MOST_BETWEEN = 6


def overlap_advice(section: SamplesConfig, accepted: Sequence[float]) -> list[str]:
    """A line for each pair of neighbours of which fewer than 5 % of swaps would be ``accepted``:
    which, and at what temperatures samples are missing, of which neighbours would accept 20 %.

    Of Gaussian energies with a constant heat capacity swaps are accepted in about a share
    ``erfc(c log(T_1 / T_2))``, from which their number follows (Kofke 2002, doi
    10.1063/1.1507776).
    """
    lines = []
    for k, share in enumerate(accepted, start=1):
        if share < _LEAST:
            pair, between = _missing(section, k, share)
            lines.append(
                f"{pair} hardly overlap: {share:.2g} of swaps between them would be accepted, "
                "less than 0.05; log Z, averages over all levels and the check of their "
                f"temperatures know nothing across this gap. Add samples at {between}"
            )
    return lines


def _missing(section: SamplesConfig, k: int, share: float) -> tuple[str, str]:
    """The names of levels k - 1 and k, and of what should lie between them."""
    low, high = section.lambdas[k - 1 : k + 1]
    number = _number_between(share)
    if section.temperature is None or not low:
        middle = f"lam between {low:.3g} and {high:.3g}"
        return f"levels {k - 1} and {k} (lam {low:.3g} and {high:.3g})", middle
    hot, cold = (section.temperature / lam for lam in (low, high))
    steps = [hot * (cold / hot) ** (i / (number + 1)) for i in range(1, number + 1)]
    between = ", ".join(f"{T:.3g}" for T in steps)
    return f"temperatures {hot:.4g} and {cold:.4g} (levels {k - 1} and {k})", f"T = {between}"


def _number_between(share: float) -> int:
    """Of levels, equally spaced in log T."""
    ratio = float(erfcinv(max(share, 1e-300)) / erfcinv(_WANTED))
    return min(max(math.ceil(ratio) - 1, 1), _MOST_BETWEEN)
