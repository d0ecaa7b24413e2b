"""The command line: what it prints, what it writes, exit code 2 for every mistake."""

import errno
import os
import re
from pathlib import Path

import pytest

from jeffreysflow.cli import main
from jeffreysflow.config import load_project, resolve_project
from jeffreysflow.stages import gather

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_list_names_experiments_references_and_flows(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    printed = capsys.readouterr().out
    assert "three_well: Three wells" in printed
    assert "references: tempered, coarse" in printed
    assert "tempered-0.75" in printed


def test_list_elsewhere_says_where_it_belongs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["list"]) == 2
    assert "workflow/experiments: no experiments" in capsys.readouterr().err


def test_validate_evaluates_the_energies(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "--energies", "scale=smoke"]) == 0
    assert "three_well: 2 references, 7 flows, scale smoke, seed 1: ok" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["validate", "scale"], "must have the form key=value"),
        (["validate", "scale=smok"], "did you mean 'smoke'"),
        (["validate", "experiments=thre_well"], "did you mean 'three_well'"),
        (["validate", "results=config.yaml/x"], "results: cannot write to"),
        (["validate", "--configfile", "absent.yaml"], "absent.yaml: No such file"),
        (["gather", "--config", "absent.json", "--reference", "r"], "absent.json: No such file"),
        (["new", "my-energy"], "must be letters, digits"),
        (["new", "mine", "--folder", "absent"], "no such folder"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize("arguments", [[], ["tempr"], ["gather"], ["temper", "--config", "x"]])
def test_wrong_usage_is_exit_code_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_new_writes_a_pair_that_validates_and_never_overwrites(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["new", "my_energy", "--folder", str(tmp_path)]) == 0
    energy, experiment = tmp_path / "my_energy.py", tmp_path / "my_energy.yaml"
    code = [line for line in energy.read_text().splitlines() if line and line[0] != "#"]
    assert len(code) <= 10
    for scale in ("smoke", "quick", "paper"):
        settings = [f"experiments={experiment}", f"scale={scale}"]
        assert main(["validate", "--energies", *settings]) == 0
    energy.write_text("mine")
    assert main(["new", "my_energy", "--folder", str(tmp_path)]) == 2
    assert energy.read_text() == "mine"
    assert "exists already" in capsys.readouterr().err


def test_an_unknown_reference_or_flow_names_the_nearest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = load_project(Path("config.yaml"), {"scale": "smoke"})
    experiment = resolve_project(project, ROOT)["three_well"]
    config = tmp_path / "three_well" / "config.json"
    config.parent.mkdir()
    config.write_text(experiment.model_dump_json())
    assert main(["gather", "--trust", "--config", str(config), "--reference", "tempred"]) == 2
    assert "unknown reference 'tempred'" in (error := capsys.readouterr().err)
    assert "did you mean 'tempered'" in error
    assert (
        main(
            [
                "distill",
                "--trust",
                "--config",
                str(config),
                "--flow",
                "tempered-0.7",
                "--level",
                "1",
            ]
        )
        == 2
    )
    assert "did you mean 'tempered-0.75'" in capsys.readouterr().err
    assert list(config.parent.iterdir()) == [config]


BAD_ENERGIES = {
    "raises": "    return x @ 'oops'",
    "has a wrong shape": "    return x",
    "is not finite": "    return x.log().sum(-1)",
}


@pytest.mark.parametrize("case", BAD_ENERGIES)
@pytest.mark.parametrize("command", ["validate", "temper"])
def test_a_bad_energy_is_one_line_and_exit_code_2(
    case: str, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["new", "mine", "--folder", str(tmp_path)]) == 0
    (tmp_path / "mine.py").write_text(f"dimension = 2\ndef energy(x):\n{BAD_ENERGIES[case]}\n")
    experiment = str(tmp_path / "mine.yaml")
    if command == "validate":
        arguments = ["validate", "--energies", f"experiments={experiment}"]
    else:
        project = load_project(Path("config.yaml"), {"experiments": experiment})
        config = tmp_path / "results" / "mine" / "config.json"
        config.parent.mkdir(parents=True)
        config.write_text(resolve_project(project, ROOT)["mine"].model_dump_json())
        arguments = ["temper", "--trust", "--config", str(config), "--reference", "tempered"]
    capsys.readouterr()
    assert main(arguments) == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    assert "mine.py: energy(x)" in errors
    assert not list(tmp_path.rglob("store.zarr"))


UNBOUNDED = {
    "falls": "x[:, 0] ** 4 - x[:, 1] ** 6",
    "falls in one direction": "x.square().sum(-1) + 3 * x[:, 0] * x[:, 1]",
    "falls in a line": "x[:, 0].square() + x[:, 1]",
}


@pytest.mark.parametrize("energy", UNBOUNDED.values(), ids=UNBOUNDED.keys())
def test_a_path_integral_refuses_an_energy_unbounded_below(
    energy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = tmp_path / "mine.yaml"
    experiment.write_text(
        "title: mine\npotential: {file: mine.py}\nobservables: [x1]\n"
        "path_integral: {beta: 1, modes: 3, action_beads: 8, beads: [8]}\n"
        "references: {r: {target: classical, walkers: 1, warmup_rounds: 0, rounds: 2, "
        "ladder: {kind: fixed, values: [0, 1]}}}\nflows: {f: {reference: r, levels: all}}\n"
    )
    arguments = ["validate", "--energies", f"experiments={experiment}"]
    source = "dimension = 2\ndef energy(x):\n    return {}\n"
    (tmp_path / "mine.py").write_text(source.format(energy))
    assert main(arguments) == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    assert "mine.py: the potential is unbounded below" in errors
    # negative control: the same experiment with an energy that rises
    (tmp_path / "mine.py").write_text(source.format("(x ** 4).sum(-1) - 20 * x[:, 0]"))
    assert main(arguments) == 0


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("observables: [sin(x9)]", "x9"),
        ("references: {tempered: {kernel: {parameters: {foo: 1}}}}", "kernel 'mala'.*'foo'"),
        ("truth: {box: [[-4, 4]]}", "box"),
        ("generation: {convergence: [1000, 1500]}", "multiples of the smallest, 1000, found 1500"),
    ],
)
def test_validate_finds_what_only_a_late_stage_would_meet(
    override: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configfile = tmp_path / "config.yaml"
    configfile.write_text(f"experiments: [three_well]\noverrides: {{three_well: {{{override}}}}}\n")
    assert main(["validate", "--energies", "--configfile", str(configfile)]) == 2
    assert re.search(message, capsys.readouterr().err)


def test_an_energy_that_changes_while_the_workflow_runs_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["new", "mine", "--folder", str(tmp_path)]) == 0
    project = load_project(Path("config.yaml"), {"experiments": str(tmp_path / "mine.yaml")})
    config = tmp_path / "results" / "mine" / "config.json"
    config.parent.mkdir(parents=True)
    config.write_text(resolve_project(project, ROOT)["mine"].model_dump_json())
    assert main(["truth", "--trust", "--config", str(config)]) == 0
    with (tmp_path / "mine.py").open("a") as energy:
        energy.write("changed = True\n")
    assert main(["truth", "--trust", "--config", str(config)]) == 2
    assert "changed while the workflow runs" in capsys.readouterr().err


def test_nothing_foreign_is_executed_unless_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Someone's configuration, and one of one's own that names someone's energy."""
    theirs, mine = tmp_path / "theirs", tmp_path / "mine"
    theirs.mkdir()
    assert main(["new", "energy", "--folder", str(theirs)]) == 0
    project = load_project(ROOT / "config.yaml", {"experiments": str(theirs / "energy.yaml")})
    config = theirs / "results" / "energy" / "config.json"
    config.parent.mkdir(parents=True)
    experiment = resolve_project(project, ROOT)["energy"]
    config.write_text(experiment.model_dump_json())
    own = mine / "results" / "energy" / "config.json"
    own.parent.mkdir(parents=True)
    own.write_text(experiment.model_dump_json())
    with (theirs / "energy.py").open("a") as energy:
        energy.write(f"open({str(tmp_path / 'executed')!r}, 'w').close()\n")
    monkeypatch.chdir(mine)
    capsys.readouterr()
    for file in (config, own):
        for stage in (["truth"], ["gather", "--reference", "tempered"], ["figures"]):
            assert main([*stage, "--config", str(file)]) == 2
            assert "if you trust it, add --trust" in capsys.readouterr().err
        assert main(["report", "--results", str(mine), "--config", str(file)]) == 2
    assert not (tmp_path / "executed").exists()
    monkeypatch.chdir(theirs)
    assert main(["truth", "--config", "results/energy/config.json"]) == 2
    assert "changed while the workflow runs" in capsys.readouterr().err
    assert (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("code", "said"),
    [(errno.ENOSPC, "No space left"), (errno.EACCES, "Permission denied"), (errno.EIO, None)],
)
def test_a_full_disk_and_a_missing_permission_are_one_line(
    code: int,
    said: str | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    def fails(*_: object) -> None:
        raise OSError(code, os.strerror(code), "results/store.zarr")

    experiment = resolve_project(load_project(ROOT / "config.yaml"), ROOT)["three_well"]
    config = tmp_path / "three_well" / "config.json"
    config.parent.mkdir()
    config.write_text(experiment.model_dump_json())
    monkeypatch.setattr(gather, "run", fails)
    command = ["gather", "--trust", "--config", str(config), "--reference", "tempered"]
    if said is None:
        with pytest.raises(OSError, match="Input/output error"):
            main(command)
        return
    assert main(command) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"jeffreysflow gather: results/store.zarr: {said}")
    assert error.count("\n") == 1
