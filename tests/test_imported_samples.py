"""References of samples that are there already: all that follows tempering works from them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from jeffreysflow.analysis.imported_copies import duplicated
from jeffreysflow.config import Experiment, Project, resolve_experiment
from jeffreysflow.errors import UserError
from jeffreysflow.judgement.doubts import Doubt
from jeffreysflow.judgement.reference_doubts import doubts_about_reference
from jeffreysflow.report.data import ExperimentData
from jeffreysflow.report.figures import figure_files
from jeffreysflow.stages import distill, estimate, gather, generate, truth
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.levels import open_levels
from jeffreysflow.stores.tables import DiagnosticRow, EstimateRow, TemperatureRow, read_table
from sample_cases import KJ, PRECISION, TEMPERATURES, drawn, experiment_of, write_files


def gathered(folder: Path, experiment: Experiment) -> Layout:
    layout = Layout(folder / "results", experiment.name)
    gather.run(layout, experiment, "r")
    return layout


def doubts(layout: Layout) -> list[Doubt]:
    return doubts_about_reference([], read_table(layout.reference("r").diagnostics, DiagnosticRow))


def estimates(layout: Layout) -> dict[str, EstimateRow]:
    rows = read_table(layout.reference("r").estimates, EstimateRow)
    return {row.quantity: row for row in rows}


def test_everything_that_follows_tempering_works_from_them(tmp_path: Path) -> None:
    write_files(tmp_path)
    experiment = experiment_of(tmp_path)
    layout = gathered(tmp_path, experiment)
    assert not doubts(layout)
    levels = open_levels(
        layout.reference("r").levels / "store.zarr", experiment.reference_hash("r")
    )
    assert levels.lam.tolist() == [300 / T for T in TEMPERATURES]
    np.testing.assert_array_equal(
        levels.samples(-1).by_walker(8).x.numpy(), np.load(tmp_path / "300.npz")["x"]
    )
    truth.run(layout, experiment)
    estimate.run_reference(layout, experiment, "r")
    distill.run(layout, experiment, "f", 1)
    generate.run(layout, experiment, "f")
    estimate.run_flow(layout, experiment, "f")
    square = estimates(layout)["observable:x1**2"]
    assert square.stderr is not None
    assert abs(square.value - 1 / PRECISION) < 4 * square.stderr
    flow = read_table(layout.flow("f").estimates, EstimateRow)
    log_z = next(row for row in flow if row.quantity == "log_z")
    assert log_z.stderr is not None
    assert abs(log_z.value - np.log(2 * np.pi / PRECISION)) < 4 * log_z.stderr


def test_what_is_written_without_walkers_is_one_trajectory_and_one_level_is_enough(
    tmp_path: Path,
) -> None:
    write_files(tmp_path)
    np.save(tmp_path / "flat.npy", drawn(300, (600,)))
    experiment = experiment_of(tmp_path, files="      - {file: flat.npy, lam: 1}")
    section = experiment.reference("r")
    assert (section.levels, section.walkers, section.samples) == (1, 1, 600)
    assert experiment.flow_steps("f") == 1
    assert not doubts(gathered(tmp_path, experiment))


def test_trajectories_come_from_several_files_or_labels_and_are_cut_to_the_shortest(
    tmp_path: Path,
) -> None:
    write_files(tmp_path)
    x = drawn(300, (90,))
    np.savez(tmp_path / "labels.npz", x=x, walker=np.repeat([7, 3], [50, 40]))
    np.save(tmp_path / "long.npy", drawn(300, (400,)))
    files = "      - {file: [labels.npz, long.npy], lam: 1}"
    experiment = experiment_of(tmp_path, files=files)
    layout = gathered(tmp_path, experiment)
    levels = open_levels(layout.reference("r").levels / "store.zarr")
    assert (levels.draws, levels.walkers) == (40, 3)
    samples = levels.samples(0).by_walker(3).x.numpy()
    # the trajectory 3 before 7; of the long one draws from all of it
    np.testing.assert_array_equal(samples[:, 0], x[50:])
    np.testing.assert_array_equal(samples[:, 1], x[:40])
    np.testing.assert_array_equal(samples[-1, 2], np.load(tmp_path / "long.npy")[-1])


def test_the_beginning_is_left_out_and_draws_are_thinned(tmp_path: Path) -> None:
    write_files(tmp_path)
    experiment = experiment_of(tmp_path, more="discard: 20\n    thin: 3")
    levels = open_levels(gathered(tmp_path, experiment).reference("r").levels / "store.zarr")
    found = levels.samples(-1).by_walker(8).x.numpy()
    np.testing.assert_array_equal(found, np.load(tmp_path / "300.npz")["x"][20::3])


def test_weights_become_samples_of_equal_weight(tmp_path: Path) -> None:
    write_files(tmp_path)
    # drawn too wide, and weighted back
    x = drawn(600, (2000, 8))
    log_weights = -0.5 * PRECISION * 0.5 * (x**2).sum(-1)
    for name, more in (("weighted", {"log_weights": log_weights}), ("bare", {})):
        np.savez(tmp_path / f"{name}.npz", x=x, **more)
    found = {}
    for name in ("weighted", "bare"):
        experiment = experiment_of(tmp_path, files=f"      - {{file: {name}.npz, lam: 1}}")
        layout = gathered(tmp_path, experiment)
        truth.run(layout, experiment)
        estimate.run_reference(layout, experiment, "r")
        square = estimates(layout)["observable:x1**2"]
        assert square.stderr is not None
        found[name] = (square.value - 1 / PRECISION) / square.stderr
        assert any(doubt.grave for doubt in doubts(layout)) == (name == "bare")
    assert abs(found["weighted"]) < 4
    # the control: without their weights they are of another temperature
    assert abs(found["bare"]) > 10


def test_weights_may_lie_in_a_file_beside_the_samples(tmp_path: Path) -> None:
    write_files(tmp_path)
    x = drawn(600, (2000, 2))
    log_weights = -0.5 * PRECISION * 0.5 * (x**2).sum(-1)
    log_weights[3, 1] = -np.inf
    for i in range(2):
        np.save(tmp_path / f"x{i}.npy", x[:, i])
    np.savez(tmp_path / "both.npz", x=x, log_weights=log_weights)
    np.save(tmp_path / "w0.npy", log_weights[:, 0])
    rows = "".join(f"{frame},{value}\n" for frame, value in enumerate(log_weights[:, 1]))
    (tmp_path / "w1.csv").write_text("frame,log_weight\n" + rows)
    beside = "{file: [x0.npy, x1.npy], log_weights: [w0.npy, w1.csv], lam: 1}"
    stores = []
    for entry in (beside, "{file: both.npz, lam: 1}"):
        experiment = experiment_of(tmp_path, files=f"      - {entry}")
        layout = gathered(tmp_path, experiment)
        store = open_levels(layout.reference("r").levels / "store.zarr")
        stores.append(store.samples(0).x)
    assert torch.equal(*stores)
    np.savez(tmp_path / "w0.npz", log_weights=log_weights[:, 0])
    one = "{file: x0.npy, log_weights: w0.npz, lam: 1}"
    hash = experiment_of(tmp_path, files=f"      - {one}").reference_hash("r")
    np.savez(tmp_path / "w0.npz", log_weights=log_weights[:, 1])
    experiment = experiment_of(tmp_path, files=f"      - {one}")
    assert experiment.reference_hash("r") != hash
    np.savez(tmp_path / "w0.npz", log_weights=log_weights[:, 0])
    with pytest.raises(UserError, match=r"w0\.npz: changed while the workflow runs"):
        gathered(tmp_path, experiment)


@pytest.mark.parametrize(
    ("weights", "content", "message"),
    [
        ("w.npy", np.zeros(7), r"w\.npy: log weights of the shape \[7\], for a file of 600 frames"),
        ("w.npy", np.full(600, np.nan), r"w\.npy: the log weight of frame 0 is nan"),
        ("w.npy", np.full(600, "a"), r"w\.npy: log_weights must hold real numbers"),
        ("w.csv", "frame,weight\n0,1\n", r"w\.csv: needs one column 'log_weight' .*frame, weight"),
        ("w.csv", "log_weight\nx\n", r"w\.csv: cannot be read as \.csv"),
        ("w.txt", "0\n", r"w\.txt: log weights are read from files whose names end in \.csv"),
        ("gone.npy", None, r"gone\.npy: no such file of log weights"),
        ("[w.npy, w.npy]", None, "log_weights: one file for each of 1, found 2"),
    ],
)
def test_weights_that_do_not_fit_are_one_line(
    tmp_path: Path, weights: str, content: object, message: str
) -> None:
    write_files(tmp_path)
    np.save(tmp_path / "x.npy", drawn(300, (600,)))
    if isinstance(content, str):
        (tmp_path / weights).write_text(content)
    elif content is not None:
        np.save(tmp_path / weights, content)
    with pytest.raises(UserError, match=message):
        experiment_of(tmp_path, files=f"      - {{file: x.npy, log_weights: {weights}, lam: 1}}")


def test_samples_have_weights_in_one_place(tmp_path: Path) -> None:
    write_files(tmp_path)
    x = drawn(300, (600,))
    np.savez(tmp_path / "x.npz", x=x, log_weights=np.zeros(600))
    np.save(tmp_path / "w.npy", np.zeros(600))
    files = "      - {file: x.npz, log_weights: w.npy, lam: 1}"
    with pytest.raises(UserError, match=r"w\.npy: its samples have log_weights in their own file"):
        gathered(tmp_path, experiment_of(tmp_path, files=files))
    np.savez(tmp_path / "x.npz", x=x.reshape(100, 6, 2))
    with pytest.raises(UserError, match=r"x\.npz: holds 6 trajectories, whose log_weights belong"):
        experiment_of(tmp_path, files=files)


def test_a_trajectory_that_has_all_the_weight_is_no_many(tmp_path: Path) -> None:
    """A constant that differs from run to run: pieces of one of them would be the walkers."""
    write_files(tmp_path)
    for apart in (0.0, 6.0):
        log_weights = np.zeros((2000, 8))
        log_weights[:, 3] += apart
        np.savez(tmp_path / "weighted.npz", x=drawn(300, (2000, 8)), log_weights=log_weights)
        experiment = experiment_of(tmp_path, files="      - {file: weighted.npz, lam: 1}")
        texts = [doubt.text for doubt in doubts(gathered(tmp_path, experiment)) if doubt.grave]
        assert any("weigh very differently: an effective 13%" in text for text in texts) == (
            apart > 0
        )


def test_rows_without_weight_are_nothing_whatever_they_hold(tmp_path: Path) -> None:
    """A filler in the place of frames that were left out: no copies, no other energy, no cause to
    stop.
    """
    write_files(tmp_path)
    x, left_out = drawn(300, (500, 8)), np.zeros((500, 8), dtype=bool)
    left_out[::2, :5] = True
    left_out[100:, 0] = True
    x[left_out] = np.nan
    U = 0.5 * PRECISION * (x**2).sum(-1)
    U[left_out] = 0.0
    for weightless in (True, False):
        x[left_out] = np.nan if weightless else 1e3
        log_weights = np.where(left_out & weightless, -np.inf, 0.0)
        np.savez(tmp_path / "left.npz", x=x, U=U, log_weights=log_weights)
        experiment = experiment_of(tmp_path, files="      - {file: left.npz, lam: 1}")
        if weightless:
            assert not any(doubt.grave for doubt in doubts(gathered(tmp_path, experiment)))
        else:
            with pytest.raises(UserError, match="energies in the file are not those"):
                gathered(tmp_path, experiment)


def test_the_base_is_drawn_as_level_0_of_an_annealed_path(tmp_path: Path) -> None:
    write_files(tmp_path)
    rng = np.random.default_rng(3)
    for lam in (0.4, 1.0):
        x = rng.normal(size=(400, 8, 2)) / np.sqrt(1 + lam * (PRECISION - 1))
        np.savez(tmp_path / f"lam{lam}.npz", x=x)
    files = "\n".join(f"      - {{file: lam{lam}.npz, lam: {lam}}}" for lam in (0.4, 1.0))
    experiment = experiment_of(tmp_path, more="path: annealed", files=files)
    layout = gathered(tmp_path, experiment)
    assert not doubts(layout)
    rows = read_table(layout.reference("r").diagnostics, DiagnosticRow)
    (log_z,) = [row for row in rows if (row.scope, row.quantity) == ("run", "log_z")]
    assert log_z.stderr is not None
    assert abs(log_z.value - np.log(2 * np.pi / PRECISION)) < 4 * log_z.stderr


def test_a_store_of_ours_is_read_level_by_level(tmp_path: Path) -> None:
    write_files(tmp_path)
    experiment = experiment_of(tmp_path)
    store = gathered(tmp_path, experiment).reference("r").levels / "store.zarr"
    (tmp_path / "again").mkdir()
    write_files(tmp_path / "again")
    rows = [
        f"      - {{file: '{store}', level: {k}, temperature: {T:.0f}}}"
        for k, T in enumerate(TEMPERATURES)
    ]
    again = experiment_of(tmp_path / "again", files="\n".join(rows))
    found = open_levels(gathered(tmp_path / "again", again).reference("r").levels / "store.zarr")
    for k in range(3):
        assert bool((found.samples(k).x == open_levels(store).samples(k).x).all())


def test_a_changed_file_makes_all_that_depends_on_it_run_again(tmp_path: Path) -> None:
    write_files(tmp_path)
    before = experiment_of(tmp_path)
    np.savez(tmp_path / "600.npz", x=drawn(600, seed=2))
    after = experiment_of(tmp_path)
    for hashed in (Experiment.reference_hash, Experiment.flow_hash, Experiment.generation_hash):
        name = "r" if hashed is Experiment.reference_hash else "f"
        assert hashed(before, name) != hashed(after, name)
    assert before.target_hash() == after.target_hash()
    # what runs with the old configuration does not take the new file for the old one
    with pytest.raises(UserError, match=r"600\.npz: changed while the workflow runs"):
        gathered(tmp_path, before)
    # nor is a file the same file elsewhere something new
    (tmp_path / "moved").mkdir()
    write_files(tmp_path / "moved", T600=drawn(600, seed=2))
    moved = experiment_of(tmp_path / "moved")
    assert moved.reference_hash("r") == after.reference_hash("r")


def test_a_temperature_that_does_not_fit_is_a_grave_doubt(tmp_path: Path) -> None:
    write_files(tmp_path, T600=drawn(500))
    (by_gradients, *others) = doubts(gathered(tmp_path, experiment_of(tmp_path)))
    assert by_gradients.grave
    assert "inverse temperatures do not fit" in by_gradients.text
    assert "1.2" in by_gradients.text
    assert all("inverse temperatures" in doubt.text for doubt in others)


def test_coordinates_in_another_unit_are_a_grave_doubt(tmp_path: Path) -> None:
    write_files(tmp_path, **{f"T{T:.0f}": 10 * drawn(T) for T in TEMPERATURES})
    texts = [doubt.text for doubt in doubts(gathered(tmp_path, experiment_of(tmp_path)))]
    assert any("another temperature, unit or energy" in text for text in texts)


def test_copies_are_told_from_rejected_moves(tmp_path: Path) -> None:
    copied = drawn(300)
    copied[100:, 3] = copied[:100, 5]
    write_files(tmp_path, T300=copied)
    (found,) = doubts(gathered(tmp_path, experiment_of(tmp_path)))
    assert found.grave
    assert "6.25% of the samples of level 2 are copies of others" in found.text
    stays = drawn(300)
    stays[1::2] = stays[::2]
    assert duplicated(torch.from_numpy(stays)) == pytest.approx(0.0, abs=1e-12)


def test_energies_in_another_unit_are_refused_by_name(tmp_path: Path) -> None:
    write_files(tmp_path)
    x = drawn(300)
    U = 0.5 * PRECISION * (x**2).sum(-1)

    def run(energies: np.ndarray, unit: str = "kT") -> Layout:
        np.savez(tmp_path / "u.npz", x=x, U=energies)
        more, files = f"energies: {unit}", "      - {file: u.npz, lam: 1}"
        return gathered(tmp_path, experiment_of(tmp_path, more=more, files=files))

    run(U + 1e3)
    run(KJ * U, "kJ/mol")
    run(KJ * U / 4.184, "kcal/mol")
    with pytest.raises(UserError, match="right in kJ/mol; set energies: kJ/mol"):
        run(KJ * U)
    with pytest.raises(UserError, match="right in kcal/mol"):
        run(KJ * U / 4.184, "kJ/mol")
    with pytest.raises(UserError, match="their correlation is"):
        run(U[::-1])
    with pytest.raises(UserError, match=r"they are 3 times as large"):
        run(3 * U)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ({"x": np.zeros((10, 4, 3))}, "samples of 3 coordinates, the energy has 2"),
        ({"x": np.full((10, 4, 2), np.nan)}, "x is not finite at 80 places, first in draw 0"),
        ({"y": np.zeros((10, 2))}, "has no array 'x'.*found: y"),
        ({"x": np.zeros(())}, "x must have the shape"),
        ({"x": np.zeros((0, 2))}, "holds no samples"),
        ({"x": np.zeros((9, 2)), "walker": np.zeros(8)}, "walker must name the trajectory"),
        ({"x": drawn(300), "U": np.zeros(200)}, "U has the shape"),
        ({"x": np.array([None, 1], dtype=object)}, r"x.npz.*cannot be read"),
    ],
)
def test_a_bad_array_is_one_line(tmp_path: Path, made: dict[str, np.ndarray], message: str) -> None:
    write_files(tmp_path)
    np.savez(tmp_path / "x.npz", **made)
    with pytest.raises(UserError, match=message):
        gathered(tmp_path, experiment_of(tmp_path, files="      - {file: x.npz, lam: 1}"))
    assert not (tmp_path / "results" / "e" / "references" / "r" / "levels").exists()


def test_a_cut_or_damaged_file_is_named(tmp_path: Path) -> None:
    write_files(tmp_path)
    whole = (tmp_path / "300.npz").read_bytes()
    (tmp_path / "300.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"300\.npz: cannot be read as .npz, it may be cut short"):
        experiment_of(tmp_path)
    middle = len(whole) // 2
    (tmp_path / "300.npz").write_bytes(whole[:middle] + b"\xff" * 64 + whole[middle + 64 :])
    with pytest.raises(UserError, match=r"300\.npz: cannot be read"):
        gathered(tmp_path, experiment_of(tmp_path))


@pytest.mark.parametrize(
    ("more", "files", "message"),
    [
        (
            "",
            "      - {file: none.npz, lam: 1}",
            r"references\.r\.files: .*none\.npz: no such file",
        ),
        (
            "",
            "      - {file: energy.py, lam: 1}",
            r"names end in \.dcd, \.extxyz, \.nc, \.npy, \.npz",
        ),
        ("", "      - {file: 300.npz}", "give either 'temperature' or 'lam'"),
        ("", "      - {file: 300.npz, lam: 0.5}", "lambda must increase strictly to 1"),
        ("", "      - {file: 300.npz, lam: 1, found: []}", "'found' is not to be given"),
        ("", "      - {file: 300.npz, lam: 1, level: 2}", "'level' is for a store of levels"),
        ("thin: 0", None, "thin"),
        ("discard: 200", None, "nothing is left of 200 draws"),
        ("path: annealed", None, "no temperature"),
        ("", "      - {file: [300.npz, 300.npz], lam: 1}", "the same content as"),
        ("kernel: {name: mala}", None, "unknown key 'kernel'"),
    ],
)
def test_a_bad_section_is_one_line(
    tmp_path: Path, more: str, files: str | None, message: str
) -> None:
    write_files(tmp_path)
    with pytest.raises(UserError, match=message):
        experiment_of(tmp_path, more=more, files=files)


def test_two_levels_with_the_same_file_are_refused(tmp_path: Path) -> None:
    write_files(tmp_path, T900=drawn(600))
    with pytest.raises(UserError, match="the samples of one level, or one trajectory, are there"):
        experiment_of(tmp_path)


def test_an_unknown_kind_is_named(tmp_path: Path) -> None:
    write_files(tmp_path)
    file = tmp_path / "e.yaml"
    experiment_of(tmp_path)
    file.write_text(file.read_text().replace("kind: samples", "kind: sample"))
    with pytest.raises(
        UserError, match=r"references\.r\.kind: unknown kind 'sample'.*did you mean"
    ):
        resolve_experiment(file, Project(experiments=[str(file)]))


def test_averages_along_the_ladder_use_all_levels(tmp_path: Path) -> None:
    write_files(tmp_path)
    experiment = experiment_of(tmp_path)
    layout = gathered(tmp_path, experiment)
    truth.run(layout, experiment)
    estimate.run_reference(layout, experiment, "r")
    rows = read_table(layout.reference("r").temperatures, TemperatureRow)
    square = [row for row in rows if row.quantity == "observable:x1**2"]
    assert len(square) == 9
    for row in square:
        exact = 1 / (PRECISION * row.lam)
        assert row.stderr is not None
        assert abs(row.value - exact) < 4 * row.stderr
        assert (row.counted is not None) == (row.lam in [300 / T for T in TEMPERATURES])
    target = square[-1]
    assert target.counted_stderr is not None
    assert target.stderr is not None
    # all samples know more than those of the level
    assert target.stderr < target.counted_stderr
    log_z = {row.lam: row for row in rows if row.quantity == "log_z"}
    first = log_z[min(log_z)]
    assert first.stderr is not None
    assert abs(first.value - np.log(3)) < 4 * first.stderr
    data = ExperimentData(experiment, temperatures={"r": rows})
    assert figure_files("temperatures", data)["svg"].startswith(b"<?xml")
