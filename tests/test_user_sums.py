"""Users' energies that are sums of terms, from functions of an index or of rows of a data file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from jeffreysflow.cli import main
from jeffreysflow.config import Experiment
from jeffreysflow.config.loading import resolve_experiment
from jeffreysflow.config.project import Project
from jeffreysflow.errors import UserError
from jeffreysflow.launch.check import check_experiment
from jeffreysflow.launch.target import build_potential
from jeffreysflow.potentials import Base, Counted
from jeffreysflow.potentials.checks import check_potential, check_resolution
from jeffreysflow.potentials.consistency import check_consistency
from jeffreysflow.potentials.probe import check_density
from jeffreysflow.potentials.term_checks import check_terms
from jeffreysflow.potentials.user import load_user_potential
from jeffreysflow.potentials.user_sum import UserSum
from jeffreysflow.streams import Stream
from jeffreysflow.userfiles.data_table import read_data_table
from jeffreysflow.userfiles.sources import check_unchanged, source_hashes

PRIOR = "def prior(x):\n    return 0.5 * (x ** 2).sum(-1)\n"
BY_INDEX = """
import torch
dimension = 2
terms = 5
centres = torch.linspace(-2, 2, 5, dtype=torch.float64)
def energy_terms(x, index):
    return 0.3 * (x[:, :1] - centres.to(x.device)[index]) ** 2 * (1 + x[:, 1:] ** 2)
"""
BY_ROWS = """
dimension = 2
data = "points.csv"
def energy_terms(x, rows):
    return 0.3 * (x[:, :1] - rows[..., 0]) ** 2 * (1 + x[:, 1:] ** 2) * rows[..., 1]
"""
NUMPY = """
import numpy as np
framework = "numpy"
dimension = 2
terms = 5
centres = np.linspace(-2, 2, 5)
def energy_terms(x, index):
    assert isinstance(x, np.ndarray) and index.dtype == np.int64
    return 0.3 * (x[:, :1] - centres[index]) ** 2 * (1 + x[:, 1:] ** 2)
"""
NUMPY_ROWS = 'framework = "numpy"\n' + BY_ROWS
SHARED_ONLY = """
import torch
dimension = 2
terms = 5
centres = torch.linspace(-2, 2, 5, dtype=torch.float64)
def energy_terms(x, index):
    assert index.dim() == 1
    return 0.3 * (x[:, :1] - centres[index]) ** 2 * (1 + x[:, 1:] ** 2)
"""
WRONG_FOR_OWN = """
import torch
dimension = 2
terms = 5
centres = torch.linspace(-2, 2, 5, dtype=torch.float64)
def energy_terms(x, index):
    first = index if index.dim() == 1 else index[0]
    return 0.3 * (x[:, :1] - centres[first]) ** 2 * (1 + x[:, 1:] ** 2)
"""
KINDS = {
    "by index": (BY_INDEX, True),
    "by rows": (BY_ROWS, True),
    "numpy": (NUMPY, True),
    "numpy by rows": (NUMPY_ROWS, True),
    "shared terms only": (SHARED_ONLY, False),
    "wrong for terms of each row": (WRONG_FOR_OWN, False),
}
POINTS = "centre,weight\n" + "".join(f"{c},1\n" for c in (-2, -1, 0, 1, 2))
X = torch.tensor(
    [[0.5, -1.0], [1.5, 0.25], [0.0, 0.0], [-2.0, 1.0], [0.7, 0.3]], dtype=torch.float64
)
OWN = torch.tensor([[0, 1], [4, 4], [2, 0], [3, 1], [1, 3]])


def loaded(folder: Path, code: str, points: str | None = POINTS) -> UserSum:
    folder.mkdir(exist_ok=True)
    (folder / "mine.py").write_text(code)
    if points is not None:
        (folder / "points.csv").write_text(points)
    potential = load_user_potential(folder / "mine.py")
    assert isinstance(potential, UserSum)
    return potential


def expected(x: torch.Tensor) -> torch.Tensor:
    """All five terms [n, 5]."""
    centres = torch.linspace(-2, 2, 5, dtype=torch.float64)
    return 0.3 * (x[:, :1] - centres) ** 2 * (1 + x[:, 1:] ** 2)


def checked(potential: UserSum, name: str = "mine") -> None:
    base = Base(potential.domain)
    check_terms(potential, base, name)
    for check in (check_potential, check_consistency, check_resolution, check_density):
        check(potential, base, name)


@pytest.mark.parametrize("kind", KINDS)
def test_all_kinds_are_the_same_sum(tmp_path: Path, kind: str) -> None:
    code, takes_own = KINDS[kind]
    potential = loaded(tmp_path, code + PRIOR)
    known, prior = expected(X), 0.5 * X.square().sum(dim=1)
    checked(potential)
    assert potential.terms == 5
    for dtype in (torch.float64, torch.float32):
        x = X.to(dtype)
        whole = potential.energy(x)
        assert whole.dtype == dtype
        torch.testing.assert_close(whole.double(), prior + known.sum(dim=1), rtol=1e-6, atol=0)
        some = potential.energy_terms(x, torch.tensor([4, 1, 1]))
        torch.testing.assert_close(some.double(), known[:, [4, 1, 1]], rtol=1e-6, atol=1e-6)
        own = potential.energy_terms(x, OWN)
        torch.testing.assert_close(own.double(), known.gather(1, OWN), rtol=1e-6, atol=1e-6)
        assert own.dtype == dtype
    batch = prior + 2.5 * known.gather(1, OWN).sum(dim=1)
    torch.testing.assert_close(potential.batch_energy(X, OWN), batch)
    assert potential._takes_own is takes_own
    if potential.derivatives == 0:
        for ask in (
            potential.energy_and_gradient,
            lambda x: potential.batch_energy_and_gradient(x, OWN),
        ):
            with pytest.raises(UserError, match="needs gradients"):
                ask(X)
        return
    y = X.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(
        0.5 * y.square().sum() + 2.5 * expected(y).gather(1, OWN).sum(), y
    )
    torch.testing.assert_close(potential.batch_energy_and_gradient(X, OWN)[1], gradient)
    (gradient,) = torch.autograd.grad(0.5 * y.square().sum() + expected(y).sum(), y)
    torch.testing.assert_close(potential.energy_and_gradient(X)[1], gradient)


def test_term_by_term_costs_no_more_than_the_batch(tmp_path: Path) -> None:
    counting = SHARED_ONLY.replace(
        "    assert", "    calls.append(len(x) * len(index) if index.dim() == 1 else 0)\n    assert"
    )
    potential = loaded(tmp_path, "calls = []\n" + counting)
    potential.energy_terms(X, OWN)
    assert potential._takes_own is False
    calls = potential._shared_terms._function.__globals__["calls"]  # type: ignore[attr-defined]
    calls.clear()
    counted = Counted(potential)
    counted.batch_energy(X, OWN)
    assert sum(calls) == counted.tally.count == OWN.numel()


REGRESSION = """
import torch
dimension = 2
terms = 40
A = torch.linspace(-1.7, 2.3, 80, dtype=torch.float64).sin().reshape(40, 2)
def energy_terms(x, index):
    a = A[index]
    product = x @ a.T if index.dim() == 1 else torch.einsum("nd,nbd->nb", x, a)
    return torch.nn.functional.softplus(product)
"""


def test_no_bit_depends_on_what_was_evaluated_before(tmp_path: Path) -> None:
    """As after a resume, or on another rank: there a call of few rows comes first."""
    x = Stream(1, "x").normal(9, 2)
    index = Stream(1, "index").integers(40, 9, 4)
    fresh, used = loaded(tmp_path, REGRESSION), loaded(tmp_path, REGRESSION)
    used.energy_terms(x, index)
    for rows in (slice(0, 1), slice(2, 4), slice(0, 9)):
        first = fresh.energy_terms(x[rows], index[rows])
        assert torch.equal(first, used.energy_terms(x[rows], index[rows]))


WALLED = """
import torch
dimension = 1
terms = 3
def energy_terms(x, index):
    inside = (x[:, :1] > 101) & (x[:, :1] < 102)
    return torch.where(inside, (x[:, :1] - index) ** 2, torch.inf)
"""


def test_terms_of_which_nothing_can_be_told_go_one_by_one(tmp_path: Path) -> None:
    potential, x = loaded(tmp_path, WALLED), torch.tensor([[101.5], [101.2]]).double()
    found = potential.energy_terms(x, torch.tensor([[0, 1], [2, 2]]))
    known = torch.tensor([[101.5**2, 100.5**2], [99.2**2, 99.2**2]])
    torch.testing.assert_close(found, known.double(), rtol=1e-6, atol=0)
    assert potential.takes_own_terms is None


@pytest.mark.parametrize("sign", ["", "-"])
def test_terms_on_a_half_line_are_tried_where_they_are(tmp_path: Path, sign: str) -> None:
    half = BY_INDEX.replace("** 2)\n", f"** 2) + 0 * ({sign}x).log().sum(-1, keepdim=True)\n")
    assert loaded(tmp_path, half.replace("torch.linspace", "3 + torch.linspace")).takes_own_terms
    shared = half.replace("(x, index):\n", "(x, index):\n    assert index.dim() == 1\n")
    assert loaded(tmp_path / "shared", shared).takes_own_terms is False


def test_many_terms_that_hide_their_gradients_are_refused(tmp_path: Path) -> None:
    """More than are evaluated at a time."""
    many = "dimension = 1\nterms = 70_000\ndef energy(x): return 70_000 * x[:, 0] ** 2\n"
    many += "def energy_terms(x, index): return (x * {other}).expand(-1, len(index))\n"
    checked(loaded(tmp_path / "whole", many.format(other="x")))
    with pytest.raises(UserError, match=r"the gradient of energy\(x\) is not that .*detached"):
        checked(loaded(tmp_path / "half", many.format(other="x.detach()")))


@pytest.mark.parametrize("hidden", ["energy_terms", "prior"])
def test_terms_that_hide_their_gradients_are_refused(tmp_path: Path, hidden: str) -> None:
    """Of an energy of its own torch sees the gradients, and of the terms that kernels see none."""
    plain = BY_INDEX + PRIOR + FASTER
    checked(loaded(tmp_path, plain))
    detached = plain + f"plain = {hidden}\ndef {hidden}(x, *i): return plain(x.detach(), *i)\n"
    own = "first, second = energy_terms, prior\n"
    energy = "def energy(x): return second(x) + first(x, torch.arange(5)).sum(-1)\n"
    with pytest.raises(UserError, match=r"the gradient of energy\(x\) is not that .*detached"):
        checked(loaded(tmp_path / "other", detached.replace("plain = ", own + energy + "plain = ")))


def test_one_term_is_a_sum(tmp_path: Path) -> None:
    potential = loaded(tmp_path, BY_ROWS + PRIOR, "0.5,1\n")
    assert potential.terms == 1
    index = torch.zeros(len(X), 1, dtype=torch.int64)
    torch.testing.assert_close(potential.batch_energy(X, index), potential.energy(X))
    checked(potential)


FASTER = "def energy(x):\n    return prior(x) + energy_terms(x, torch.arange(5)).sum(-1)\n"


def test_an_energy_of_its_own_takes_the_place_of_the_sum(tmp_path: Path) -> None:
    potential = loaded(tmp_path, BY_INDEX + PRIOR + FASTER)
    checked(potential)
    assert potential.has_own_energy
    torch.testing.assert_close(
        potential.energy(X), potential.batch_energy(X, torch.arange(5)), rtol=1e-12, atol=0
    )
    pair = "def energy_and_gradient(x):\n    return energy(x), 0 * x\n"
    both = loaded(tmp_path, BY_INDEX + PRIOR + FASTER + pair)
    assert not bool(both.energy_and_gradient(X)[1].any())
    assert bool(both.batch_energy_and_gradient(X, OWN)[1].any())
    unreal = loaded(tmp_path, BY_INDEX + PRIOR + FASTER + pair.replace("0 *", "0j *"))
    with pytest.raises(UserError, match=r"must be floating point, found torch\.complex128"):
        unreal.energy_and_gradient(X)


@pytest.mark.parametrize("off", ["+ 1e-6", "- prior(x)", "* 1.0001"])
def test_an_energy_that_is_not_the_sum_is_refused(off: str, tmp_path: Path) -> None:
    potential = loaded(tmp_path, BY_INDEX + PRIOR + FASTER.replace("(-1)", f"(-1) {off}"))
    said = r"mine: energy\(x\) is not prior\(x\) and the sum of its 5 terms"
    with pytest.raises(UserError, match=said):
        checked(potential)


def test_variables_of_a_plain_energy_make_no_sum(tmp_path: Path) -> None:
    code = "import torch\ndimension = 2\nterms = 0\ndata = 'nowhere.csv'\n" + PRIOR.replace(
        "prior", "energy"
    )
    (tmp_path / "mine.py").write_text(code)
    assert load_user_potential(tmp_path / "mine.py").terms is None
    own = BY_INDEX.replace("dimension", "data = torch.zeros(3)\ndimension")
    assert loaded(tmp_path, own).data is None
    assert loaded(tmp_path, own).numbers_a_term == 1
    assert loaded(tmp_path, BY_ROWS).numbers_a_term == 2


REFUSED: dict[str, tuple[str, str]] = {
    "no terms": (
        BY_INDEX.replace("terms = 5", ""),
        "'terms' must be an integer from 1 to 100,000,000, or 'data'",
    ),
    "zero": (BY_INDEX.replace("= 5", "= 0"), "'terms' must be an integer from 1 .*found 0"),
    "too many": (BY_INDEX.replace("= 5", "= 10**13"), "from 1 to 100,000,000.*found 10{13}"),
    "a float": (BY_INDEX.replace("= 5", "= 5.0"), "'terms' must be an integer from 1 .*found 5.0"),
    "true": (BY_INDEX.replace("= 5", "= True"), "'terms' must be an integer from 1 .*found true"),
    "no function": (BY_INDEX.replace("def energy_terms", "def term"), "'energy_terms' must be"),
    "a number": (
        "dimension = 2\nterms = 5\nenergy_terms = 3\n",
        "'energy_terms' must be a function, found 3",
    ),
    "one by one": ("per_sample = True\n" + BY_INDEX, "per_sample = True: 'energy_terms' takes"),
    "other length": (
        BY_ROWS.replace("dimension", "terms = 4\ndimension"),
        "'terms' is 4, and points.csv has 5 rows",
    ),
    "no file": (BY_ROWS.replace("points", "nowhere"), "data file .*nowhere.csv: No such file"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_file_is_refused_in_one_line(case: str, tmp_path: Path) -> None:
    code, said = REFUSED[case]
    with pytest.raises(UserError, match=said) as caught:
        loaded(tmp_path, code)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_terms_have_no_workers(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(BY_INDEX)
    with pytest.raises(UserError, match=r"potential.workers 2: .* has terms; leave workers out"):
        load_user_potential(tmp_path / "mine.py", workers=2)


WRONG: dict[str, tuple[Callable[[str], str], str]] = {
    "shape": (
        lambda code: code.replace("[index]", "[index].sum()"),
        r"energy_terms\(x, index\) of 5 terms must have shape \[7, 5\] .* found \[7, 1\]",
    ),
    "raises": (
        lambda code: code.replace("    return", "    raise KeyError('oops')\n    return", 1),
        r"energy_terms\(x, index\) raised on x of shape \[7, 2\]: KeyError: 'oops'",
    ),
    "nan": (
        lambda code: code.replace(
            "** 2)\n", "** 2) + torch.where(index == 3, torch.nan, 0.0)\n", 1
        ),
        "term 3 of the energy is nan at x = ",
    ),
    "prior": (
        lambda code: code.replace(".sum(-1)", ""),
        r"prior\(x\) must have shape \[7\].*found \[7, 2\]",
    ),
    "complex": (
        lambda code: code.replace("** 2)\n", "** 2) + 0j\n", 1),
        r"energy_terms\(x, index\) of . terms must be floating point, found torch.complex128",
    ),
    "prior complex": (
        lambda code: code.replace(".sum(-1)", ".sum(-1) + 0j"),
        r"prior\(x\) must be floating point, found torch.complex128",
    ),
    "prior nan": (
        lambda code: code.replace("0.5 * (x ** 2)", "x.log()"),
        r"prior\(x\) is nan at x = ",
    ),
    "others": (
        lambda code: code.replace("** 2)\n", "** 2) + index.sum()\n", 1),
        "a term of the energy depends on the others",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_terms_are_refused_in_one_line(case: str, tmp_path: Path) -> None:
    change, said = WRONG[case]
    code = BY_INDEX + PRIOR
    assert change(code) != code
    potential = loaded(tmp_path, change(code))
    with pytest.raises(UserError, match=said) as caught:
        checked(potential)
    assert "\n" not in str(caught.value)


def test_a_batch_larger_than_the_data_is_refused(tmp_path: Path) -> None:
    potential = loaded(tmp_path, BY_ROWS)
    with pytest.raises(UserError, match="a mini-batch of 6 terms: from 1 to the 5 of the energy"):
        potential.batch_energy(X, torch.arange(6) % 5)


# --- tables


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("1,2\n3,4\n", [[1, 2], [3, 4]]),
        ("a,b\n1,2\n\n3,4\n\n", [[1, 2], [3, 4]]),
        ("# a, b\r\n1 , 2e0\r\n3,-4\r\n", [[1, 2], [3, -4]]),
        ('"velocity, km/s"\n9.172\n9.350', [[9.172], [9.35]]),
        ("\ufeff1\n2\n", [[1], [2]]),
    ],
)
def test_a_table_of_numbers(text: str, rows: list[list[float]], tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text(text, encoding="utf-8")
    table, names = read_data_table(tmp_path / "data.csv")
    assert table.dtype == torch.float64
    assert table.tolist() == rows
    assert names == {"a": ("a", "b"), "#": ("a", "b"), '"': ("velocity, km/s",)}.get(text[0], ())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "no rows of numbers"),
        (b"a,b\n\n", "no rows of numbers"),
        (b"1,2\n3\n", "line 2 has 1 columns, those before it 2"),
        (b"a,b\n1,2\n3,4,5\n", "line 3 has 3 columns, those before it 2"),
        (b"1,2\n3,nan\n", "line 2, column 2: must be a finite number, found 'nan'"),
        (b"1,2\n\n-inf,4\n", "line 3, column 1: must be a finite number, found '-inf'"),
        (b"a,b\n1,two\n", "line 2, column 2: must be a finite number, found 'two'"),
        (b"1,b\n1,2\n", "line 1, column 2: must be a finite number, found 'b'"),
        (b"1,\n1,2\n", "line 1, column 2: must be a finite number, found ''"),
        (b"9.l72\n9.35\n", "line 1, column 1: must be a finite number, found '9.l72'"),
        (b"NA,NA\n1,2\n", "line 1, column 1: must be a finite number, found 'NA'"),
        (b"n.a.\n1\n", "line 1, column 1: must be a finite number, found 'n.a.'"),
        (b"unknown,x\n1,2\n", "line 1, column 1: must be a finite number, found 'unknown'"),
        (b"TRUE\n1\n", "line 1, column 1: must be a finite number, found 'TRUE'"),
        (b"missing\n1\n", "line 1, column 1: must be a finite number, found 'missing'"),
        (b"1_0\n2\n", "line 1, column 1: must be a finite number, found '1_0'"),
        (b"1,2\n3,\xff\n", "not a text file"),
        (b'1,2\n"3,4\n', "line 2: unexpected end of data"),
    ],
)
def test_what_is_no_table_of_numbers_is_one_line(text: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_bytes(text)
    with pytest.raises(UserError, match=said) as caught:
        read_data_table(tmp_path / "data.csv")
    assert "data.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


# --- what the data determine


EXPERIMENT = """
title: terms
potential: {file: mine.py}
references:
  r: {ladder: {kind: fixed, values: [0, 1]}, walkers: 10, warmup_rounds: 8, rounds: 8}
flows: {f: {reference: r}}
"""


def resolved(folder: Path, points: str, code: str | None = None) -> Experiment:
    loaded(folder, code or BY_ROWS + PRIOR, points)
    (folder / "terms.yaml").write_text(EXPERIMENT)
    project = Project(experiments=[str(folder / "terms.yaml")], scale="quick")
    return resolve_experiment(folder / "terms.yaml", project)


@pytest.mark.parametrize("drawn", ["numpy.random.rand()", "numpy.random.default_rng().random()"])
def test_what_an_energy_draws_at_import_is_the_same_again_or_refused(
    tmp_path: Path, drawn: str
) -> None:
    """Every process imports it anew."""
    code = f"import numpy\n{BY_INDEX}\nOFF = {drawn}\ndef prior(x): return OFF * x[:, 0] ** 2\n"
    experiment = resolved(tmp_path, POINTS, code=code)
    if "default_rng" not in drawn:
        check_experiment(experiment)
        return
    with pytest.raises(UserError, match="the energy is another one each time its file is imported"):
        check_experiment(experiment)


def test_the_data_are_part_of_the_experiment(tmp_path: Path) -> None:
    first = resolved(tmp_path, POINTS)
    assert set(first.sources) == {"mine.py", "points.csv"}
    check_experiment(first)
    assert resolved(tmp_path, POINTS).reference_hash("r") == first.reference_hash("r")
    changed = resolved(tmp_path, POINTS.replace("2,1", "2,1.5"))
    assert changed.reference_hash("r") != first.reference_hash("r")
    assert changed.flow_hash("f") != first.flow_hash("f")
    with pytest.raises(UserError, match=r"points.csv: changed while the workflow runs"):
        build_potential(first)
    assert build_potential(changed).terms == 5


def test_other_data_are_other_sources(tmp_path: Path) -> None:
    potential = loaded(tmp_path, BY_ROWS)
    hashes = source_hashes(potential)
    check_unchanged(loaded(tmp_path, BY_ROWS), (), hashes)
    with pytest.raises(UserError, match=r"points.csv: changed"):
        check_unchanged(loaded(tmp_path, BY_ROWS, POINTS + "3,1\n"), (), hashes)


def test_a_path_of_a_table_is_a_name_of_it(tmp_path: Path) -> None:
    potential = loaded(
        tmp_path,
        "from pathlib import Path\n" + BY_ROWS.replace('"points.csv"', 'Path("points.csv")'),
    )
    assert potential.terms == 5


PAIR = """
def energy_and_gradient(x):
    index = np.arange(5)
    slope = 0.6 * (x[:, :1] - centres[index]) * (1 + x[:, 1:] ** 2)
    other = 0.6 * (x[:, :1] - centres[index]) ** 2 * x[:, 1:]
    return energy_terms(x, index).sum(-1), np.stack([slope.sum(-1), other.sum(-1)], axis=1)
"""


@pytest.mark.parametrize(
    ("reference", "flow", "what"),
    [
        ("kernel: {name: sgld, step_size: 0.01, parameters: {batch: 2}}", "", "kernel: 'sgld'"),
        ("", "theta: 0, renyi: 1, training: {terms: 2}", "training.terms"),
        (
            "",
            "levels: all, rejuvenation_kernel: delayed_acceptance, "
            "rejuvenation_parameters: {batch: 2}",
            "rejuvenation_kernel: 'delayed_acceptance'",
        ),
        ("", "levels: all", None),
    ],
)
def test_single_terms_need_gradients_of_their_own(
    tmp_path: Path, reference: str, flow: str, what: str | None
) -> None:
    """The whole sum of this file has some, its terms in numpy have none."""
    (tmp_path / "mine.py").write_text(NUMPY + PAIR)
    text = EXPERIMENT.replace("r: {ladder", f"r: {{{reference or 'start: base'}, ladder")
    text = text.replace("f: {reference: r}", f"f: {{reference: r, {flow or 'theta: 0'}}}")
    (tmp_path / "terms.yaml").write_text(text)
    project = Project(experiments=[str(tmp_path / "terms.yaml")], scale="quick")
    experiment = resolve_experiment(tmp_path / "terms.yaml", project)
    if what is None:
        check_experiment(experiment)
        return
    with pytest.raises(UserError, match="needs gradients of single terms") as caught:
        check_experiment(experiment)
    assert what in str(caught.value)


@pytest.mark.parametrize(
    ("code", "slow"),
    [(BY_ROWS, False), (SHARED_ONLY, True), (WALLED.replace("n = 1", "n = 2"), None)],
)
def test_validate_counts_the_terms_and_says_what_is_slow(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], code: str, slow: bool | None
) -> None:
    loaded(tmp_path, code)
    base = "base: {mean: [101.5, 0], sd: 0.1}\n" if slow is None else ""
    (tmp_path / "terms.yaml").write_text(EXPERIMENT + base)
    assert main(["validate", "--energies", f"experiments={tmp_path / 'terms.yaml'}"]) == 0
    said = capsys.readouterr().out
    assert ("a sum over data of 5 rows and 2 columns" in said) == (code == BY_ROWS)
    assert ("its first line, 'centre, weight', is taken for names" in said) == (code == BY_ROWS)
    assert ("one term at a time, slowly" in said) == (slow is not False)
    assert ("cannot give every sample terms of its own" in said) == (slow is True)
    assert ("terms are hardly ever finite about 0" in said) == (slow is None)
