"""What force fields are made of: files that they include, and code in them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from jeffreysflow.cli import main
from jeffreysflow.config import load_project, resolve_project
from jeffreysflow.config.force_field_files import force_field_file, with_included
from jeffreysflow.config.potential import PotentialConfig
from jeffreysflow.config.structure_files import (
    check_structure_unchanged,
    own_executed_files,
    structure_digests,
)
from jeffreysflow.errors import UserError

ROOT = Path(__file__).parents[1]
STRUCTURES = ROOT / "workflow" / "experiments" / "structures"


def potential(forcefield: list[str]) -> PotentialConfig:
    section = {
        "pdb": str(STRUCTURES / "chignolin.pdb"),
        "forcefield": forcefield,
        "temperature": 300,
    }
    return PotentialConfig.model_validate({"molecule": section})


def written(file: Path, *included: str, more: str = "") -> Path:
    file.parent.mkdir(exist_ok=True)
    lines = [f'<Include file="{name}"/>' for name in included]
    file.write_text(f"<ForceField>{''.join(lines)}{more}</ForceField>")
    return file


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A force field that includes two files, of which one includes a third and the first again."""
    written(tmp_path / "parts" / "inner.xml", "../top.xml")
    written(tmp_path / "parts" / "bonds.xml", "inner.xml", "nowhere.xml")
    written(tmp_path / "angles.xml")
    return written(tmp_path / "top.xml", "parts/bonds.xml", "angles.xml")


def test_included_files_are_found_through_others(own: Path) -> None:
    names = [file.name for file in with_included(own)]
    assert names == ["top.xml", "bonds.xml", "angles.xml", "inner.xml"]


def test_an_included_file_that_changes_is_noticed(own: Path) -> None:
    section = potential([str(own)])
    before = structure_digests(section)
    assert set(before) == {
        *("pdb", "forcefield.0", "forcefield.0.1:bonds.xml", "forcefield.0.2:angles.xml"),
        "forcefield.0.3:inner.xml",
    }
    check_structure_unchanged(section, before)
    written(own.parent / "parts" / "inner.xml", more="<HarmonicBondForce/>")
    after = structure_digests(section)
    assert {key for key in after if before[key] != after[key]} == {"forcefield.0.3:inner.xml"}
    with pytest.raises(UserError, match=r"forcefield\.0\.3:inner\.xml: changed since the run"):
        check_structure_unchanged(section, before)


def test_what_is_no_xml_is_left_to_openmm(tmp_path: Path) -> None:
    (tmp_path / "bad.xml").write_text("<ForceField>")
    assert list(with_included(tmp_path / "bad.xml")) == [tmp_path / "bad.xml"]


def test_force_fields_of_openmm_are_followed(tmp_path: Path) -> None:
    pytest.importorskip("openmm", reason="the extra `molecules` is not installed")
    found = structure_digests(potential(["amber14-all.xml", "implicit/obc1.xml"]))
    assert {"forcefield.0", "forcefield.0.1:protein.ff14SB.xml", "forcefield.1"} <= set(found)
    assert len(found) > 4
    own = written(tmp_path / "mine.xml", "amber14/protein.ff14SB.xml")
    file = force_field_file("amber14/protein.ff14SB.xml")
    assert file is not None
    assert list(with_included(own)) == [own, file.resolve()]
    # of those nothing is asked; of a file that includes one of them, the file
    assert list(own_executed_files(potential(["amber14-all.xml"]))) == []
    assert list(own_executed_files(potential([str(own)]))) == [own]


def test_where_a_name_leads_nowhere_there_is_no_file() -> None:
    assert force_field_file("no_such_field.xml") is None
    assert set(structure_digests(potential(["no_such_field.xml"]))) == {"pdb"}


@pytest.mark.parametrize("through", ["itself", "an included file"])
def test_a_foreign_force_field_is_read_only_if_trusted(
    through: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    theirs, mine = tmp_path / "theirs", tmp_path / "mine"
    mine.mkdir()
    executed = tmp_path / "executed"
    script = f"<InitializationScript>open({str(executed)!r}, 'w').close()</InitializationScript>"
    foreign = written(theirs / "field.xml", more=script)
    field = foreign if through == "itself" else written(mine / "field.xml", str(foreign))
    content = yaml.safe_load((STRUCTURES.parent / "chignolin.yaml").read_text())
    molecule = content["potential"]["molecule"]
    molecule |= {"pdb": str(STRUCTURES / "chignolin.pdb"), "forcefield": [str(field)]}
    (mine / "molecule.yaml").write_text(yaml.safe_dump(content))
    project = load_project(ROOT / "config.yaml", {"experiments": str(mine / "molecule.yaml")})
    config = mine / "results" / "molecule" / "config.json"
    config.parent.mkdir(parents=True)
    config.write_text(resolve_project(project, ROOT)["molecule"].model_dump_json())
    monkeypatch.chdir(mine)
    words = ["truth", "--config", str(config)]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert f"{foreign}: from outside the working folder" in error
    assert "if you trust it, add --trust" in error
    assert not executed.exists()
    # the control: within it, and where it is trusted, it is read, and is no force field of these
    for folder, more in ((mine, ["--trust"]), (tmp_path, [])):
        monkeypatch.chdir(folder)
        assert main([*words, *more]) == 2
        assert "add --trust" not in capsys.readouterr().err


def test_a_foreign_calculator_is_imported_only_if_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = tmp_path / "theirs"
    (theirs / "their_package").mkdir(parents=True)
    executed = tmp_path / "executed"
    code = f"open({str(executed)!r}, 'w').close()\n"
    (theirs / "their_calculator.py").write_text(code)
    (theirs / "their_package" / "__init__.py").write_text(code)
    monkeypatch.syspath_prepend(theirs)

    def files(calculator: str) -> list[Path]:
        section = {"structure": "a.xyz", "calculator": calculator, "temperature": 300}
        return list(own_executed_files(PotentialConfig.model_validate({"ase": section})))

    assert files("their_calculator:Own") == [theirs / "their_calculator.py"]
    inner = files("their_package.inner:Own")
    assert inner == [theirs / "their_package" / "__init__.py", theirs / "their_package"]
    assert files("ase.calculators.emt:EMT") == []
    assert files("no_such_package:Own") == []
    assert files("sys:Own") == []
    assert not executed.exists()
