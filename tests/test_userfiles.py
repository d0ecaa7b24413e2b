"""Users' files: their neighbours and data are known, and nothing else is changed by them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch

from jeffreysflow.config import load_project, resolve_project
from jeffreysflow.errors import UserError
from jeffreysflow.potentials.base import Base
from jeffreysflow.potentials.checks import check_potential
from jeffreysflow.potentials.user import UserPotential, load_user_potential
from jeffreysflow.userfiles.digest import digest
from jeffreysflow.userfiles.opened import files_opened
from jeffreysflow.userfiles.sources import check_unchanged, source_hashes

PLAIN = "dimension = 1\ndef energy(x):\n    return x[:, 0] ** 2 / 2\n"


def written(folder: Path, **sources: str) -> UserPotential:
    """Files of these names (``__`` is a dot, else .py); the potential of `mine.py`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in sources.items():
        file = folder / (name.replace("__", ".") if "__" in name else f"{name}.py")
        file.write_text(text)
    return load_user_potential(folder / "mine.py")


# --- what identifies a file


def test_comments_docstrings_and_formatting_are_not_what_a_file_does(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(PLAIN)
    plain = digest(file)
    file.write_text(
        f'"""An energy."""\n\n# a comment\n{PLAIN.replace("x[:, 0] ** 2", "x[:,0]**2")}'
    )
    assert digest(file) == plain
    file.write_text(PLAIN.replace("2 / 2", "2 / 3"))
    assert digest(file) != plain


def test_of_data_and_of_what_is_no_python_every_byte_counts(tmp_path: Path) -> None:
    data, broken = tmp_path / "data.txt", tmp_path / "broken.py"
    seen = set()
    for text in ("(1", "(1 ", "(2"):
        data.write_text(text)
        broken.write_text(text)
        seen |= {digest(data), "broken " + digest(broken)}
    assert len(seen) == 6


# --- neighbours


HELPED = (
    "import json\nfrom pathlib import Path\n"
    "from helper import strength\nfrom package.part import one\n"
    "dimension = 1\nshift = json.loads((Path(__file__).parent / 'data.json').read_text())\n"
    "def energy(x):\n    return strength * (x[:, 0] - shift) ** 2 + one\n"
)


def helped(folder: Path, strength: str = "1.0", data: str = "0.5") -> UserPotential:
    (folder / "package").mkdir(parents=True, exist_ok=True)
    (folder / "package" / "__init__.py").write_text("")
    (folder / "package" / "part.py").write_text("one = 1.0\n")
    return written(folder, mine=HELPED, helper=f"strength = {strength}\n", data__json=data)


def test_modules_and_data_that_an_energy_reads_are_found(tmp_path: Path) -> None:
    potential = helped(tmp_path)
    names = {"mine.py", "helper.py", "data.json", "package/__init__.py", "package/part.py"}
    assert set(source_hashes(potential)) == names
    assert float(potential.energy(torch.zeros(1, 1))) == 1.25


def test_an_edit_within_the_same_second_is_seen(tmp_path: Path) -> None:
    """Compiled files are told from their sources by size and second."""
    before = source_hashes(helped(tmp_path))
    after = helped(tmp_path, strength="4.0")
    assert float(after.energy(torch.ones(1, 1))) == 2.0
    assert {name for name, hash in source_hashes(after).items() if hash != before[name]} == {
        "helper.py"
    }
    assert source_hashes(helped(tmp_path, data="0.25"))["data.json"] != before["data.json"]
    check_unchanged(helped(tmp_path), (), before)
    with pytest.raises(UserError, match=r"helper.py: changed while the workflow runs"):
        check_unchanged(helped(tmp_path, strength="2.0"), (), before)


def test_data_opened_at_the_first_evaluation_is_found_and_later_data_must_be_named(
    tmp_path: Path,
) -> None:
    opens = "    first = x[:, 0]\n    open(__file__[:-7] + 'lazy.txt').close()\n    return"
    lazy = PLAIN.replace("    return", opens)
    potential = written(tmp_path, mine=lazy, lazy__txt="1", other__txt="2")
    hashes = source_hashes(potential)
    assert set(hashes) == {"mine.py", "lazy.txt"}
    named = [tmp_path / "other.txt"]
    assert set(source_hashes(potential, named)) == {"mine.py", "lazy.txt", "other.txt"}
    with pytest.raises(UserError, match=r"reads .*other.txt, which it did not"):
        check_unchanged(potential, named, hashes)
    check_unchanged(potential, named, {})


def test_two_energies_have_helpers_of_one_name_each(tmp_path: Path) -> None:
    source = "from helper import k\ndimension = 1\ndef energy(x):\n    return k * x[:, 0]\n"
    first = written(tmp_path / "a", mine=source, helper="k = 2.0\n")
    second = written(tmp_path / "b", mine=source, helper="k = 3.0\n")
    assert [float(each.energy(torch.ones(1, 1))) for each in (first, second)] == [2.0, 3.0]


def test_a_helper_imported_by_a_function_is_found(tmp_path: Path) -> None:
    source = "dimension = 1\ndef energy(x):\n    from later import k\n    return k * x[:, 0]\n"
    potential = written(tmp_path, mine=source, later="k = 2.0\n")
    assert float(potential.energy(torch.ones(1, 1))) == 2.0


def test_no_file_shadows_a_module(tmp_path: Path) -> None:
    """An energy called random.py beside a torch.py, a queue.py and a jeffreysflow.py."""
    for name in ("random", "queue", "jeffreysflow", "zarr"):
        (tmp_path / f"{name}.py").write_text(f"raise RuntimeError('{name} was imported')\n")
    potential = written(tmp_path, mine="import random, queue\nk = random.random()\n" + PLAIN)
    assert float(potential.energy(torch.ones(1, 1))) == 0.5
    (tmp_path / "random.py").write_text(PLAIN)
    assert load_user_potential(tmp_path / "random.py").dimension == 1
    assert sys.modules["random"].random


def test_a_helper_hidden_by_an_installed_module_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'import yaml' finds an installed module, not .*yaml.py"):
        written(tmp_path, mine="import yaml\n" + PLAIN, yaml="k = 1\n")


def test_a_package_hidden_by_an_installed_module_is_named(tmp_path: Path) -> None:
    (tmp_path / "yaml").mkdir()
    (tmp_path / "yaml" / "__init__.py").write_text("k = 1\n")
    with pytest.raises(UserError, match=r"'import yaml' finds an installed module, not .*__init__"):
        written(tmp_path, mine="import yaml\n" + PLAIN)


def test_a_dataclass_with_annotations_as_text_works(tmp_path: Path) -> None:
    source = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "@dataclass\nclass P:\n    k: float = 2.0\np = P()\n"
    )
    potential = written(tmp_path, mine=source + PLAIN.replace("return", "return p.k *"))
    assert float(potential.energy(torch.ones(1, 1))) == 1.0


# --- what a file does to the process


def test_what_a_file_changes_is_put_back(tmp_path: Path) -> None:
    places, folder = list(sys.path), Path.cwd()
    written(
        tmp_path,
        mine="import os, sys, torch\ntorch.set_default_dtype(torch.float64)\nos.chdir('/')\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\ntorch.set_grad_enabled(False)\n" + PLAIN,
    )
    assert torch.get_default_dtype() == torch.float32
    assert torch.is_grad_enabled()
    assert Path.cwd() == folder
    assert sys.path[: len(places)] == places
    sys.path[:] = places


@pytest.mark.parametrize("code", ["sys.exit(0)", "raise SystemExit", "1 / 0", "import nowhere"])
def test_a_file_that_fails_or_ends_the_process_is_one_line(code: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="import failed") as caught:
        written(tmp_path, mine=f"import sys\n{code}\n")
    assert "\n" not in str(caught.value)


# --- which files are noticed


def test_files_that_are_read_are_noticed(tmp_path: Path) -> None:
    data = tmp_path / "data.txt"
    data.write_text("1")
    with files_opened(tmp_path) as opened:
        data.read_text()
        (tmp_path / "written.txt").write_text("2")
        Path(os.__file__).read_text()
        os.close(os.open(data, os.O_RDONLY))
    assert opened == {data.resolve()}
    data.read_text()
    assert len(opened) == 1


def test_a_dot_above_the_folder_hides_nothing_and_one_below_does(tmp_path: Path) -> None:
    folder = tmp_path / ".worktrees" / "mine"
    (folder / ".cache").mkdir(parents=True)
    beside = folder.parent / "shared.txt"
    hidden = folder / ".cache" / "data.txt"
    for file in (folder / "data.txt", beside, hidden):
        file.write_text("1")
    with files_opened(folder) as opened:
        for file in (folder / "data.txt", beside, hidden):
            file.read_text()
    assert opened == {folder / "data.txt", beside}


@pytest.mark.parametrize("reads", ["energy_and_gradient", "energy_terms", "prior"])
def test_data_that_any_function_opens_is_noticed(reads: str, tmp_path: Path) -> None:
    (tmp_path / "data.txt").write_text("1")
    body = {
        "energy": "return (x**2).sum(1)",
        "energy_and_gradient": "return (x**2).sum(1), 2 * x",
        "energy_terms": "return (x**2).sum(1, keepdim=True).expand(-1, len(index))",
        "prior": "return 0 * x[:, 0]",
    }
    kinds = ["energy", reads] if reads == "energy_and_gradient" else ["energy_terms", "prior"]
    body[reads] = f"open({str(tmp_path / 'data.txt')!r}).read()\n    {body[reads]}"
    arguments = {"energy_terms": "x, index"}
    # between walls that 0.5 is beyond
    text = "dimension = 2\nterms = 3\nwalls = {0: (2.0, 3.0)}\n"
    if reads == "energy_and_gradient":
        text = text.replace("terms = 3\n", "")
    for kind in kinds:
        text += f"\n\ndef {kind}({arguments.get(kind, 'x')}):\n    assert (x[:, 0] > 2).all()\n"
        text += f"    {body[kind]}\n"
    file = tmp_path / "mine.py"
    file.write_text(text)
    assert "data.txt" in source_hashes(load_user_potential(file))


@pytest.mark.parametrize("name", ["x1", "U", "sin", "two words", "and"])
def test_names_of_observables_are_told_from_what_expressions_hold(
    name: str, tmp_path: Path
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "dimension = 2\n\n\ndef energy(x):\n    return (x**2).sum(1)\n\n\n"
        f"observables = {{{name!r}: energy}}\n"
    )
    (tmp_path / "mine.yaml").write_text(
        "title: mine\npotential: {file: mine.py}\nreferences:\n"
        "  r: {ladder: {kind: fixed, values: [0, 1]}, walkers: 4, warmup_rounds: 1, rounds: 4}\n"
        "flows: {f: {reference: r}}\n"
    )
    root = Path(__file__).parents[1]
    project = load_project(root / "config.yaml", {"experiments": str(tmp_path / "mine.yaml")})
    with pytest.raises(UserError, match=r"mine\.py: observables: "):
        resolve_project(project, root)
    file.write_text(file.read_text().replace(repr(name), "'mine'"))
    assert resolve_project(project, root)


@pytest.mark.parametrize("per_sample", [False, True])
def test_complex_numbers_of_numpy_are_refused(per_sample: bool, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    sums = "x @ x" if per_sample else "(x**2).sum(1)"
    file.write_text(
        f"framework = 'numpy'\nper_sample = {per_sample}\ndimension = 2\n\n\n"
        f"def energy(x):\n    return {sums} + 0.1j\n"
    )
    mine = load_user_potential(file)
    with pytest.raises(UserError, match="complex"):
        check_potential(mine, Base(mine.domain), "mine")
