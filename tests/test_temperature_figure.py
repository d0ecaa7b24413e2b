"""Averages along a ladder, drawn: which quantities, in which units."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib.pyplot as plt
import pytest

from jeffreysflow.config import SamplesConfig
from jeffreysflow.report.figures import temperatures
from jeffreysflow.stores.tables import TemperatureRow

RST = Path(__file__).parents[1] / "workflow" / "report" / "temperatures.rst"
QUANTITIES = [
    *("log_z", "observable:phi", "observable:energy", "U", "region:beta", "region:alpha"),
    *("observable:psi", "observable:ends"),
]


def data(structure: Any, reference: Any = None) -> Any:
    rows = [
        TemperatureRow(lam, name, float(number), 0.1, counted=1.0 + number)
        for number, name in enumerate(QUANTITIES)
        for lam in (0.25, 1.0)
    ]
    experiment = SimpleNamespace(
        potential=SimpleNamespace(structure=structure), references={"r": reference}
    )
    return SimpleNamespace(experiment=experiment, temperatures={"r": rows})


def drawn(found: Any) -> list[Any]:
    figure = temperatures.draw(found)
    axes = [ax for ax in figure.axes if ax.get_visible()]
    plt.close(figure)
    return axes


def test_of_a_molecule_u_is_told_from_the_energy_and_temperatures_are_in_kelvin() -> None:
    axes = drawn(data(SimpleNamespace(temperature=300.0)))
    labels = [ax.get_ylabel() for ax in axes]
    assert labels == [
        *("E/kT - log|det|, at the target's T", "energy (kJ/mol)"),
        *("population of beta", "population of alpha", "phi", "psi"),
    ]
    assert {ax.get_xlabel() for ax in axes} == {"temperature (K)"}
    assert sorted(axes[0].lines[0].get_xdata()) == [300.0, 1200.0]


def test_of_another_energy_a_temperature_has_the_unit_that_is_told() -> None:
    axes = drawn(data(None))
    assert [ax.get_ylabel() for ax in axes][:2] == ["U (kT of the target)", "energy"]
    assert axes[0].get_xlabel() == "temperature / that of the target"
    assert sorted(axes[0].lines[0].get_xdata()) == [1.0, 4.0]
    imported = SamplesConfig.model_construct(temperature=2.0)
    (ax, *_) = drawn(data(None, imported))
    assert ax.get_xlabel() == "temperature"
    assert sorted(ax.lines[0].get_xdata()) == [2.0, 8.0]


@pytest.mark.parametrize("said", ["first six are shown", "all are in temperatures.csv", "kJ/mol"])
def test_the_caption_says_what_is_left_out(said: str) -> None:
    assert said in " ".join(temperatures.CAPTION.split())
    assert RST.read_text().split() == temperatures.CAPTION.split()
