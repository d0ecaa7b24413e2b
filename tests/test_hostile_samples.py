"""Files of samples that nobody meant to write: a right answer, one line, or a doubt."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jeffreysflow.analysis import imported_levels
from jeffreysflow.analysis.imported_axes import between_neighbours
from jeffreysflow.analysis.imported_copies import different, duplicated
from jeffreysflow.analysis.imported_energies import check_energies
from jeffreysflow.config import SamplesConfig
from jeffreysflow.domain import Domain
from jeffreysflow.errors import UserError
from jeffreysflow.estimation.thermometers import by_gradients
from jeffreysflow.judgement.doubts import Doubt
from jeffreysflow.judgement.import_doubts import doubts_about_import
from jeffreysflow.judgement.reference_doubts import doubts_about_reference
from jeffreysflow.potentials.user import load_user_potential
from jeffreysflow.stages import gather
from jeffreysflow.stores.completion import read_record
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.levels import open_levels
from jeffreysflow.stores.sample_files import ReadSamples, file_facts, read_samples
from jeffreysflow.stores.sealed import DamagedError
from jeffreysflow.stores.tables import DiagnosticRow, read_table
from sample_cases import BODY, KJ, PRECISION, TEMPERATURES, drawn, experiment_of, write_files

ONE = "      - {file: x.npz, lam: 1}"


def rows_of(folder: Path, files: str = ONE) -> list[DiagnosticRow]:
    experiment = experiment_of(folder, files=files)
    layout = Layout(folder / "results", experiment.name)
    gather.run(layout, experiment, "r")
    return read_table(layout.reference("r").diagnostics, DiagnosticRow)


def doubts_of(folder: Path, files: str = ONE, **arrays: np.ndarray) -> list[Doubt]:
    write_files(folder)
    if arrays:
        np.savez(folder / "x.npz", **arrays)
    return doubts_about_import(rows_of(folder, files))


@pytest.mark.parametrize("dtype", ["float32", "float16", ">f8", "int16", "longdouble"])
def test_numbers_of_any_kind_are_read(tmp_path: Path, dtype: str) -> None:
    write_files(tmp_path)
    x = (100 * drawn(300)).astype(dtype)
    for name, array in (("x", x), ("y", np.asfortranarray(x))):
        np.savez(tmp_path / f"{name}.npz", x=array)
        file = tmp_path / f"{name}.npz"
        found = read_samples(file, None, load_user_potential(tmp_path / "energy.py"))
        np.testing.assert_array_equal(found.x, x.astype(float))


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ({"x": drawn(300).astype(complex)}, "x must hold real numbers, found complex128"),
        ({"x": drawn(300).astype("U9")}, "x must hold real numbers, found <U9"),
        ({"x": drawn(300).astype("m8[s]")}, "x must hold real numbers, found timedelta64"),
        ({"x": drawn(300) > 0}, "x must hold real numbers, found bool"),
        ({"x": np.zeros(9, dtype=[("a", "f8")])}, "x must hold real numbers"),
        ({"U": np.full((200, 8), "a")}, "U must hold real numbers"),
        ({"log_weights": np.full((200, 8), 1j)}, "log_weights must hold real numbers"),
        ({"weights": np.ones((200, 8))}, "'weights' is not read; 'log_weights' is for natural log"),
        ({"log_weight": np.ones((200, 8))}, "'log_weight' is not read"),
        ({"Walkers": np.ones(1600)}, "'Walkers' is not read; 'walker' is for"),
        ({"u": np.ones((200, 8))}, "'u' is not read; 'U' is for energies"),
        ({"logw": np.ones((200, 8))}, "'logw' is not read; 'log_weights' is for natural log"),
        ({"log_w": np.ones((200, 8))}, "'log_w' is not read"),
        ({"LNW": np.ones((200, 8))}, "'LNW' is not read"),
        ({"energies": np.ones((200, 8))}, "'energies' is not read; 'U' is for energies"),
        ({"E_pot": np.ones((200, 8))}, "'E_pot' is not read; 'U' is for energies"),
        ({"chain": np.ones(1600)}, "'chain' is not read; 'walker' is for"),
        ({"trajectory": np.ones(1600)}, "'trajectory' is not read; 'walker' is for"),
    ],
)
def test_what_would_be_misread_or_ignored_is_one_line(
    tmp_path: Path, made: dict[str, Any], message: str
) -> None:
    write_files(tmp_path)
    arrays: dict[str, Any] = {"x": drawn(300), **made}
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(UserError, match=message):
        read_samples(tmp_path / "x.npz", None, load_user_potential(tmp_path / "energy.py"))


def test_other_arrays_are_none_of_our_business(tmp_path: Path) -> None:
    others = {"time": np.zeros(200), "box": np.array("none"), "kinetic_energy": np.zeros(200)}
    np.savez(tmp_path / "x.npz", x=drawn(300), **others)
    assert file_facts(tmp_path / "x.npz")[1:] == (200, 8)
    # beside what is read
    U = np.zeros((200, 8))
    np.savez(tmp_path / "x.npz", x=drawn(300), U=U, energy=U, log_weights=U, weights=U)
    assert file_facts(tmp_path / "x.npz")[1:] == (200, 8)


@pytest.mark.parametrize(
    ("walker", "message"),
    [
        (np.full(90, np.nan), "by a number or a text, found NaN"),
        (np.full(90, 1j), "found complex128"),
        (np.repeat([0, 1, 2, 3], [29, 30, 30, 1]), "walker 3 has 1 of 90 rows, others 29.5"),
    ],
)
def test_a_bad_label_does_not_cost_the_others_their_samples(
    tmp_path: Path, walker: np.ndarray, message: str
) -> None:
    np.savez(tmp_path / "x.npz", x=drawn(300, (90,)), walker=walker)
    with pytest.raises(UserError, match=message):
        file_facts(tmp_path / "x.npz")


def test_a_stray_short_file_does_not_cost_the_others_their_samples(tmp_path: Path) -> None:
    write_files(tmp_path)
    for name, draws in (("long", 200), ("fair", 30), ("stray", 3)):
        np.savez(tmp_path / f"{name}.npz", x=drawn(300, (draws, 8), seed=draws))
    files = "      - {file: 900.npz, temperature: 900}\n      - {file: [long.npz, %s.npz], lam: 1}"
    np.savez(tmp_path / "900.npz", x=drawn(900, (200, 16)))
    with pytest.raises(UserError, match=r"stray.npz' has 3 draws, others 200; all are cut"):
        experiment_of(tmp_path, files=files % "stray")
    assert experiment_of(tmp_path, files=files % "fair").reference("r").samples == 30 * 16


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.npz")
    with pytest.raises(UserError, match="is a pipe"):
        file_facts(tmp_path / "x.npz")


def test_weights_that_leave_next_to_nothing_are_a_grave_doubt(tmp_path: Path) -> None:
    one = np.full((200, 8), -np.inf)
    one[3, 2] = 0.0
    for log_weights in (one, 50.0 * np.isfinite(one)):
        found = doubts_of(tmp_path, x=drawn(300), log_weights=log_weights)
        assert all(doubt.grave for doubt in found)
        assert any("level 0 is worth 1 different samples" in doubt.text for doubt in found)
    assert not doubts_of(tmp_path, x=drawn(300), log_weights=np.zeros((200, 8)))


def test_a_few_frames_are_a_grave_doubt(tmp_path: Path) -> None:
    for x in (drawn(300)[:1], drawn(300)[:3, :1], np.full((200, 8, 2), 0.3)):
        assert any(
            "different samples" in doubt.text and doubt.grave for doubt in doubts_of(tmp_path, x=x)
        )


def test_weights_of_nothing_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="have the weight 0"):
        doubts_of(tmp_path, x=drawn(300), log_weights=np.full((200, 8), -np.inf))


def test_files_of_a_level_have_weights_all_or_none(tmp_path: Path) -> None:
    x = drawn(300)
    np.savez(tmp_path / "a.npz", x=x[:, :4], log_weights=np.full((200, 4), -300.0))
    np.savez(tmp_path / "b.npz", x=x[:, 4:])
    with pytest.raises(UserError, match=r"'b\.npz' has no log_weights"):
        doubts_of(tmp_path, "      - {file: [a.npz, b.npz], lam: 1}")


def test_energies_of_one_file_are_looked_at_although_another_has_none(tmp_path: Path) -> None:
    x = drawn(300)
    U = PRECISION / 2 * (x**2).sum(-1)
    np.savez(tmp_path / "b.npz", x=x[:, 4:])
    files = "      - {file: [b.npz, a.npz], lam: 1}"
    np.savez(tmp_path / "a.npz", x=x[:, :4], U=U[:, :4] + 9)
    assert not doubts_of(tmp_path, files)
    np.savez(tmp_path / "a.npz", x=x[:, :4], U=7 * U[:, :4])
    with pytest.raises(UserError, match="they are 7 times as large"):
        doubts_of(tmp_path, files)


@pytest.mark.parametrize("n", [1000, (1 << 20) + 1000])
def test_one_sample_that_clashes_hides_no_wrong_energies(n: int) -> None:
    rng = np.random.default_rng(1)
    U = torch.from_numpy(10 * rng.normal(size=n))
    U[5] = 1e6
    section = SamplesConfig.model_validate(
        {
            "kind": "samples",
            "temperature": 300,
            "energies": "kJ/mol",
            "files": [{"file": "a.npz", "temperature": 300}],
        }
    )
    in_kJ = KJ * U
    check_energies(in_kJ + 7, U, section, "here")
    with pytest.raises(UserError, match="right in kcal/mol; set energies: kcal/mol"):
        check_energies(in_kJ / 4.184, U, section, "here")
    with pytest.raises(UserError, match="their correlation is"):
        check_energies(in_kJ.flip(0), U, section, "here")
    # a clash that the program sees otherwise says nothing of the others
    in_kJ[5] = 3e300
    check_energies(in_kJ, U, section, "here")
    with pytest.raises(UserError, match="right in kcal/mol"):
        check_energies(in_kJ / 4.184, U, section, "here")


def test_what_is_left_out_counts_by_its_weight(tmp_path: Path) -> None:
    x, log_weights = drawn(300), np.zeros((200, 8))
    x[7, 3] = 1e200
    (doubt,) = doubts_of(tmp_path, x=x)
    assert not doubt.grave
    log_weights[7, 3] = np.log(1600)
    (doubt,) = doubts_of(tmp_path, x=x, log_weights=log_weights)
    assert doubt.grave
    assert "50.02% of the samples" in doubt.text


def marked(
    folder: Path, monkeypatch: pytest.MonkeyPatch, share: float, mark: str
) -> tuple[list[Doubt], Layout, str]:
    """The doubts about 500 draws of 8 trajectories of which a share at the hottest level is marked,
    the level's store and its hash.
    """
    write_files(folder, **{f"T{T:.0f}": drawn(T, (500, 8)) for T in TEMPERATURES})
    those = np.random.default_rng(3).random((500, 8)) < share
    assert (those.mean() > 0.5) == (share > 0.5)

    def with_marks(file: Path, *more: Any) -> ReadSamples:
        found = read_samples(file, *more)
        if file.name != "900.npz":
            return found
        if mark == "weightless":
            return found._replace(log_weights=np.where(those, -np.inf, 0.0))
        return found._replace(**{mark: those})

    experiment = experiment_of(folder)
    layout = Layout(folder / "results", experiment.name)
    with monkeypatch.context() as patch:
        patch.setattr(imported_levels, "read_samples", with_marks)
        gather.run(layout, experiment, "r")
    rows = read_table(layout.reference("r").diagnostics, DiagnosticRow)
    return doubts_about_reference([], rows), layout, experiment.reference_hash("r")


def test_cis_frames_are_left_out_as_what_weighs_nothing_and_mirror_images_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of unrestrained runs at 1000 K some 62 % are cis, and what is left is the target's."""
    stores = []
    for mark in ("turned", "weightless"):
        (tmp_path / mark).mkdir()
        found, layout, hash = marked(tmp_path / mark, monkeypatch, 0.62, mark)
        assert not found
        stores.append(open_levels(layout.reference("r").levels / "store.zarr", hash).samples(0))
        said = "of 4000 frames of level 0 are turned about a stiff bond, cis for trans"
        record = read_record(layout.reference("r").levels / "done.json", hash)
        assert (said in capsys.readouterr().out) == (mark == "turned")
        assert any(said in note for note in record["notes"]) == (mark == "turned")
    assert torch.equal(stores[0].x, stores[1].x)
    with pytest.raises(UserError, match="62% of its samples are frames of another molecule"):
        marked(tmp_path, monkeypatch, 0.62, "foreign")
    (doubt,), _, _ = marked(tmp_path, monkeypatch, 0.2, "foreign")
    assert doubt.grave
    assert "are frames of another molecule" in doubt.text
    with pytest.raises(UserError, match=r"all of its 4000 frames are turned .*no sample is left"):
        marked(tmp_path, monkeypatch, 1.1, "turned")


def test_a_few_frames_that_are_not_cis_are_a_doubt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, _, _ = marked(tmp_path, monkeypatch, 0.995, "turned")
    assert any("different samples" in doubt.text for doubt in found)


def test_copies_are_counted_without_rounding() -> None:
    x = torch.from_numpy(drawn(300, (40, 3)))
    for stays in range(1, 39):
        y = x.clone()
        y[1 : stays + 1] = y[0]
        assert duplicated(y) == 0.0
    assert different(x[:, 0]) == pytest.approx(40)
    copies = x[:, 0].clone()
    copies[20:] = copies[20]
    assert different(copies) == pytest.approx(40**2 / (20 + 20**2))
    # a zero is a zero, whatever its sign
    assert duplicated(torch.tensor([[[0.0], [-0.0]]]).double()) == 0.5


def stored(kind: str, x: np.ndarray) -> np.ndarray:
    """As a file of such numbers has them."""
    if kind in ("whole", "decimals"):
        return np.round(1000 * x) if kind == "whole" else np.round(x, 3)
    if kind == "rounded float32":
        return np.round(x, 3).astype("float32").astype(float)
    return x.astype(kind).astype(float)


KINDS = ["float64", "float32", "float16", "whole", "decimals", "rounded float32"]


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_of_few_digits_coincide_by_chance(kind: str) -> None:
    for seed, d in ((1, 1), (2, 1), (3, 2)):
        x = stored(kind, np.random.default_rng(seed).normal(size=(5000, 4, d)))
        assert duplicated(torch.from_numpy(x)) == 0.0
        # copies are told among them
        x[:, 2] = x[::-1, 0]
        rough = d == 1 and kind not in KINDS[:2]
        assert duplicated(torch.from_numpy(x)) == pytest.approx(0.25, rel=0.3 if rough else 0.01)


def test_many_single_precision_numbers_are_no_copies() -> None:
    x = np.random.default_rng(4).normal(size=(100_000, 10, 1)).astype("float32").astype(float)
    # the control: as copies, these .7 % would be a doubt
    assert x.size - len(np.unique(x)) > 0.006 * x.size
    assert duplicated(torch.from_numpy(x)) == 0.0


def test_another_order_of_axes_is_a_grave_doubt(tmp_path: Path) -> None:
    chains = np.concatenate([autocorrelated(500, 10, seed) for seed in range(8)], axis=1)
    found = [doubt for doubt in doubts_of(tmp_path, x=chains.swapaxes(0, 1)) if doubt.grave]
    assert any("[trajectory, draw, coordinate] in the place of" in doubt.text for doubt in found)
    assert not any("in the place of" in doubt.text for doubt in doubts_of(tmp_path, x=chains))
    # many short trajectories, correlated each for itself
    many = np.concatenate([autocorrelated(20, 10, seed) for seed in range(200)], axis=1)
    assert not any("in the place of" in doubt.text for doubt in doubts_of(tmp_path, x=many))


@pytest.mark.parametrize(("draws", "walkers"), [(1, 40), (2, 3), (4, 1000), (5, 12)])
def test_independent_trajectories_are_in_order(draws: int, walkers: int) -> None:
    for seed in range(50):
        x = torch.from_numpy(np.random.default_rng(seed).normal(size=(draws, walkers, 4)))
        assert between_neighbours(x) == 0.0
        # nor are those that stand still
        assert between_neighbours(x[:1].expand(draws, -1, -1)) == 0.0


def test_samples_of_another_origin_are_a_grave_doubt(tmp_path: Path) -> None:
    x = drawn(300)
    assert not doubts_of(tmp_path, x=x)
    for shift in (0.2, 1e6):
        (doubt,) = doubts_of(tmp_path, x=x + np.array([0, shift]))
        assert doubt.grave
        assert "worst at level 0 on x2" in doubt.text


def autocorrelated(draws: int, tau: float, seed: int) -> np.ndarray:
    """A single walker of the target, [draw, 1, 2]."""
    rho = (tau - 1) / (tau + 1)
    noise = np.random.default_rng(seed).normal(size=(draws, 1, 2))
    x = noise.copy()
    for k in range(1, draws):
        x[k] = rho * x[k - 1] + np.sqrt(1 - rho**2) * noise[k]
    return x / np.sqrt(PRECISION)


def temperature_doubts(x: np.ndarray, gradient: float = PRECISION) -> list[Doubt]:
    samples = torch.from_numpy(x)
    found = by_gradients(samples, gradient * samples, Domain.euclidean(x.shape[2]))
    stderr = None if np.isnan(found.error) else found.error
    row = DiagnosticRow("level", 0, 1.0, "", "temperature_ratio", found.ratio, stderr, found.dof)
    return doubts_about_import([row])


def test_too_short_a_run_is_of_no_other_temperature() -> None:
    runs = [autocorrelated(300, 40, seed)[..., :1] for seed in range(30)]
    assert not any(temperature_doubts(x) for x in runs)
    # what hardly moves seems cold
    stuck = [temperature_doubts(autocorrelated(100, 1e5, seed)) for seed in range(10)]
    assert not any(doubt.grave for doubts in stuck for doubt in doubts)
    assert any("with no error" in doubt.text for doubts in stuck for doubt in doubts)
    # but samples in another unit are told without an error, too
    for x in runs:
        (doubt,) = temperature_doubts(10 * x)
        assert doubt.grave
    # a pair of levels says less
    row = DiagnosticRow("pair", 1, 1.0, "", "temperature_ratio", -3.0)
    assert [doubt.grave for doubt in doubts_about_import([row])] == [False]


def test_samples_of_a_barrier_are_a_grave_doubt(tmp_path: Path) -> None:
    write_files(tmp_path)
    energy = "dimension = 2\n\n\ndef energy(x):\n    return (5 * (x**2 - 1) ** 2).sum(1)\n"
    np.savez(tmp_path / "x.npz", x=0.1 * drawn(300))
    (tmp_path / "energy.py").write_text(energy)
    (doubt,) = doubts_about_import(rows_of(tmp_path))
    assert doubt.grave
    assert "inverse temperatures do not fit" in doubt.text


def test_a_damaged_store_of_another_run_is_left_as_it_is(tmp_path: Path) -> None:
    write_files(tmp_path)
    experiment = experiment_of(tmp_path)
    layout = Layout(tmp_path / "results", experiment.name)
    gather.run(layout, experiment, "r")
    store = layout.reference("r").levels / "store.zarr"
    chunk = store / "x" / "c" / "0" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:-9])
    target = load_user_potential(tmp_path / "energy.py")
    with pytest.raises(UserError, match=r"is damaged$") as caught:
        read_samples(store, 0, target)
    # at which the command line would take back the records of the run that it is of
    assert not isinstance(caught.value, DamagedError)


def test_a_link_to_itself_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.npz").symlink_to(tmp_path / "x.npz")
    write_files(tmp_path)
    with pytest.raises(UserError, match=r"references\.r\.files: .*[Ll]oop"):
        experiment_of(tmp_path, files=ONE)
    (tmp_path / "loop.py").symlink_to(tmp_path / "loop.py")
    with pytest.raises(UserError, match=r"potential\.file: .*[Ll]oop"):
        experiment_of(tmp_path, body=BODY.replace("energy.py", "loop.py"))


def test_what_differs_from_the_target_by_little_is_shown(tmp_path: Path) -> None:
    write_files(tmp_path)
    files = "      - {file: 900.npz, lam: 0.25}\n      - {file: 300.npz, lam: 0.999999999}"
    with pytest.raises(UserError, match=r"found \[0.25, 0.999999999\]"):
        experiment_of(tmp_path, files=files)
