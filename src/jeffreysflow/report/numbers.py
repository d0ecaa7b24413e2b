"""Numbers as people read them: errors to a digit or two, per cent, times in minutes."""

from __future__ import annotations

import math

from jeffreysflow.config.flow import FlowConfig
from jeffreysflow.config.loss import USUAL_LOSS

__all__ = ["MISSING", "count_text", "duration", "loss_text", "percent", "theta_text", "with_error"]

MISSING = "–"

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def with_error(value: float, error: float = math.nan, digits: int = 3, *, fine: bool = True) -> str:
    """A value down to its standard error; to ``digits`` when there is none.

    The error keeps one digit, or two when it starts with 1 or 2 (and ``fine``).

    >>> with_error(0.270475, 0.00041)
    '0.2705 ± 0.0004'
    >>> with_error(-1.7e-5, 1.4e-6)
    '(−1.70 ± 0.14) × 10⁻⁵'
    >>> with_error(0.00178)
    '0.00178'
    """
    if not math.isfinite(value):
        return MISSING if math.isnan(value) else str(value)
    known = math.isfinite(error) and error > 0
    size = max(abs(value), error) if known else abs(value)
    power = math.floor(math.log10(size)) if size > 0 else 0
    shift = power if power < -4 or power > 5 else 0
    value, error = value / 10.0**shift, error / 10.0**shift
    places = max(_places(error, fine) if known else digits - 1 - (power - shift), 0)
    text = f"{value:.{places}f}".replace("-", "−")
    if known:
        text = f"{text} ± {error:.{places}f}"
    if shift:
        text = f"({text})" if known else text
        text += f" × 10{str(shift).translate(_SUPERSCRIPTS)}"
    return text


def _places(error: float, fine: bool) -> int:
    power = math.floor(math.log10(error))
    return (1 if fine and error < 3 * 10.0**power else 0) - power


def percent(value: float, error: float = math.nan) -> str:
    """A fraction in per cent, down to its standard error, or to a tenth of a per cent.

    >>> percent(0.98712, 0.00014)
    '98.71 ± 0.01 %'
    >>> percent(0.935), percent(0.00002)
    ('93.5 %', '0.002 %')
    """
    if math.isnan(value):
        return MISSING
    if math.isfinite(error) and error > 0:
        return with_error(100 * value, 100 * error, fine=False) + " %"
    return f"{100 * value:.1f} %" if value == 0 or abs(value) >= 5e-4 else f"{100 * value:.1g} %"


def duration(seconds: float) -> str:
    """
    >>> duration(4.217), duration(95), duration(7260)
    ('4.2 s', '1 min 35 s', '2 h 1 min')
    """
    if math.isnan(seconds):
        return MISSING
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def count_text(number: float) -> str:
    """A count to three digits: who compares costs needs no more.

    >>> count_text(40960), count_text(1234567), count_text(12.4), count_text(0)
    ('41,000', '1.23 million', '12.4', '0')
    """
    if not math.isfinite(number):
        return MISSING
    if number == 0:
        return "0"
    if number >= 1e15:
        return with_error(number)
    for size, name in ((1e12, " trillion"), (1e9, " billion"), (1e6, " million")):
        if number >= size:
            return f"{number / size:.3g}{name}"
    digits = 2 - math.floor(math.log10(number))
    return f"{round(number, digits):,.{max(digits, 0)}f}"


def theta_text(theta: float | str) -> str:
    """
    >>> theta_text(0.75), theta_text("auto")
    ('θ = 0.75', 'θ chosen')
    """
    return "θ chosen" if isinstance(theta, str) else f"θ = {theta:g}"


def loss_text(flow: FlowConfig) -> str:
    """What a flow was trained with.

    >>> loss_text(FlowConfig(reference="r", theta=0.75))
    'θ = 0.75'
    """
    texts = [
        theta_text(part.theta) if part.loss.kind == USUAL_LOSS else part.loss.kind.replace("_", " ")
        for part in flow.parts
    ]
    return ", at the last level ".join(texts)
