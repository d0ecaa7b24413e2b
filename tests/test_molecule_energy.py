"""The energy of a molecule in kJ/mol, as it follows from stored ones in kT."""

import math
from pathlib import Path

import pytest
import torch

from jeffreysflow.analysis.checked_samples import checked_slabs
from jeffreysflow.distillation.ensemble import Ensemble
from jeffreysflow.estimation.averages import WeightedSums
from jeffreysflow.estimation.observables import parse_observables
from jeffreysflow.launch.measured import Measured
from jeffreysflow.molecules.bonded import Bonds
from jeffreysflow.molecules.cartesian import Cartesian
from jeffreysflow.molecules.chart import Chart
from jeffreysflow.molecules.force_field import ForceField
from jeffreysflow.molecules.molecule import Molecule
from jeffreysflow.molecules.nonbonded import Nonbonded
from jeffreysflow.stores.ensembles import EnsembleWriter, open_ensemble
from molecule_cases import CHIRAL, chiral_chart, reference_of, samples_of


class CountedField(ForceField):
    """Says how many configurations it has seen."""

    seen = 0

    def forward(self, r: torch.Tensor) -> torch.Tensor:
        self.seen += r.shape[2]
        return super().forward(r)


def field() -> CountedField:
    bonds = Bonds([list(bond) for bond in CHIRAL.bonds], [0.12] * 11, [2e5] * 11)
    charges = [0.3 * (-1) ** atom for atom in range(CHIRAL.atoms)]
    pairs = Nonbonded(charges, [0.2] * CHIRAL.atoms, [0.3] * CHIRAL.atoms, {})
    return CountedField(CHIRAL.atoms, [bonds], [pairs])


@pytest.mark.parametrize("kind", ["internal", "cartesian"])
def test_the_energy_follows_from_u_without_an_evaluation(kind: str) -> None:
    chart: Chart | Cartesian
    if kind == "internal":
        chart = chiral_chart()
        x = samples_of(chart, 50)
        # no molecule of this kind
        x[3, 0] = -1e3
    else:
        chart = Cartesian(reference_of(CHIRAL), 0.005)
        x = torch.randn(50, 36, generator=torch.Generator().manual_seed(1)).double()
        # two atoms in one place
        x[3, :3] = x[3, 3:6] + (chart.reference[1] - chart.reference[0]) / chart.length
    energy = field()
    molecule = Molecule(energy, chart, 300.0, CHIRAL)
    U, expected = molecule.energy(x), molecule.kilojoules(x)
    finite = U.isfinite()
    assert not finite[3]
    assert int(finite.sum()) > 45
    seen = energy.seen
    named = molecule.observables
    measured = Measured(parse_observables(["energy", "energy / 2"], molecule.dimension, named), ())
    values = measured.values(x[finite], U[finite])
    assert values[:, 0].tolist() == pytest.approx(expected[finite].tolist(), rel=1e-12, abs=1e-9)
    assert values[:, 1].tolist() == pytest.approx((values[:, 0] / 2).tolist())
    everywhere = molecule.kilojoules_of(x, U)
    assert bool((everywhere[~finite] == math.inf).all())
    assert bool((expected[~finite] == math.inf).all())
    assert energy.seen == seen
    # the control: without the determinant it is another
    assert float((molecule.unit * U - expected)[finite].abs().min()) > 1.0


def test_samples_none_of_which_has_a_weight_have_no_values_to_be_refused(tmp_path: Path) -> None:
    n = 6
    none = torch.full((n,), -math.inf).double()
    writer = EnsembleWriter(tmp_path / "store.zarr", "generated", "hash", n, 1)
    writer.write(Ensemble(torch.zeros(n, 1).double(), none, torch.zeros(n).double(), -none))
    writer.close()
    measured = Measured(parse_observables(["U"], 1), ())
    (slab,) = checked_slabs(open_ensemble(tmp_path / "store.zarr", "generated", "hash"), n)
    sums = WeightedSums.of(slab[1], measured.values(slab[0], slab[2]))
    assert sums.log_z == -math.inf
