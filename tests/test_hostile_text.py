"""Texts that a shell, Snakemake or a terminal would act on: whole, or refused in one line."""

import json
import re
import shlex
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from forked import run_forked
from jeffreysflow.cli import main
from jeffreysflow.config import Experiment, Project, resolve_project
from jeffreysflow.config.loading import validated
from jeffreysflow.errors import UserError

ROOT = Path(__file__).parents[1]

HOSTILE = [
    *("$(touch x)", "`touch x`", "; touch x", "| touch x", "& touch x", "&& touch x #", "> x"),
    *("' ; touch x ; '", '" ; touch x ; "', '\\"; touch x', "'", '"', "\\", "\\'", "$HOME", "${x}"),
    *("a\ntouch x", "a\rtouch x", "\x00", "\x1b[2J", "\u202etxt", "\u2028x", "\ud800", "\t"),
    *("--flag", "-n", "{x}", "{{x}}", "{wildcards.flow}", "%s", "%(x)s", "..", "../..", "/", "."),
    *("~root", "~nobody-of-this-name/x", "*", "?", "[a]", "!x", "#x", "a b", " ", "", "é", "😀"),
    *("a,b", "a=b", "a:b", "@x", "a" * 300, "<script>", "__import__('os').system('touch x')"),
]

FIELDS: dict[str, Any] = {
    "title": lambda text: {"title": text},
    "description": lambda text: {"description": text},
    "observables": lambda text: {"observables": [text]},
    "views": lambda text: {"views": [["x1", text]]},
    "profiles.expression": lambda text: {
        "profiles": [{"expression": text, "lower": 0, "upper": 1}]
    },
    "potential.name": lambda text: {"potential": {"name": text}},
    "potential.file": lambda text: {"potential": {"name": None, "file": text}},
    "potential.parameters": lambda text: {"potential": {"parameters": {text: text}}},
    "truth.method": lambda text: {"truth": {"method": text}},
    "references": lambda text: {
        "references": {
            text: {
                "ladder": {"kind": "fixed", "values": [0, 1]},
                **{"walkers": 9, "warmup_rounds": 0, "rounds": 9},
            }
        }
    },
    "kernel.name": lambda text: {"references": {"coarse": {"kernel": {"name": text}}}},
    "kernel.parameters": lambda text: {
        "references": {"coarse": {"kernel": {"parameters": {text: text}}}}
    },
    "ladder.kind": lambda text: {"references": {"coarse": {"ladder": {"kind": text}}}},
    "flows": lambda text: {"flows": {text: {"reference": "coarse"}}},
    "flows.reference": lambda text: {"flows": {"coarse-0.50": {"reference": text}}},
    "flows.theta": lambda text: {"flows": {"coarse-0.50": {"theta": text}}},
    "published": lambda text: {"flows": {"coarse-0.50": {"published": {text: 1}}}},
    "a key": lambda text: {text: 1},
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to stand in, in which nothing must appear."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def is_one_line(said: str) -> bool:
    return said.isprintable() and 0 < len(said) <= 500


def resolved_or_said(overrides: dict[str, Any]) -> Experiment | str:
    content = {"experiments": ["three_well"], "overrides": overrides}
    try:
        return resolve_project(validated(Project, content, "config.yaml"), ROOT)["three_well"]
    except UserError as error:
        return str(error)


@pytest.mark.parametrize("field", FIELDS)
def test_a_text_in_an_experiment_stays_a_text_or_is_refused(field: str, folder: Path) -> None:
    refused = 0
    for text in HOSTILE:
        overrides = {"three_well": FIELDS[field](text)}
        found = resolved_or_said(overrides)
        if isinstance(found, str):
            assert is_one_line(found), text
            refused += 1
            continue
        assert json.loads(found.model_dump_json())
        names = [*found.references, *found.flows]
        assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name) for name in names)
    assert refused >= 6
    assert not list(folder.iterdir())


@pytest.mark.parametrize("field", ["results", "experiments", "scale", "seed", "device", "a key"])
def test_a_setting_is_taken_whole_or_refused(
    field: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder.parent / "config.yaml").write_text("experiments: [three_well]\n")
    (folder / "workflow").symlink_to(ROOT / "workflow")
    for text in HOSTILE:
        setting = f"{text}=1" if field == "a key" else f"{field}={text}"
        arguments = ["--configfile", str(folder.parent / "config.yaml"), "--", setting]
        code = main(["validate", *arguments])
        printed = capsys.readouterr()
        if code:
            assert code == 2
            assert printed.err.count("\n") == 1, text
            assert is_one_line(printed.err[:-1].removeprefix("jeffreysflow validate: ")), text
        else:
            assert field == "results", text
            assert main(["results", *arguments]) == 0
            expected = Path(text).expanduser().absolute()
            assert capsys.readouterr().out == f"{expected}\n"
    assert [file.name for file in folder.iterdir()] == ["workflow"]


@pytest.mark.parametrize("place", ["experiment", "energy"])
def test_a_path_works_or_is_refused(
    place: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the folder of an experiment file, and of its energy."""
    (folder / "workflow").symlink_to(ROOT / "workflow")
    (folder.parent / "config.yaml").write_text("experiments: [three_well]\n")
    worked = 0
    for i, text in enumerate(HOSTILE):
        there = folder.parent / str(i) / text.replace("/", "_")
        try:
            there.mkdir(parents=True)
        except (OSError, ValueError):
            continue  # no folder can have this name
        main(["new", "mine", "--folder", str(there)])
        if place == "energy":
            content = (there / "mine.yaml").read_text()
            file = f"{there.name}/mine.py"
            (there.parent / "outside.yaml").write_text(
                content.replace("mine.py", json.dumps(file, ensure_ascii=True))
            )
            there = there.parent / "outside.yaml"
        else:
            there = there / "mine.yaml"
        capsys.readouterr()
        arguments = ["--configfile", str(folder.parent / "config.yaml"), f"experiments={there}"]
        code = main(["validate", *arguments])
        printed = capsys.readouterr()
        assert code in (0, 2)
        worked += code == 0
        if code:
            assert is_one_line(printed.err[:-1]), (text, printed.err)
    assert worked >= 30
    assert [file.name for file in folder.iterdir()] == ["workflow"]


RESULTS = """a "b" 'c' $(touch x) `touch x` & | ; > x # %s é * ? [z] \\ $HOME ~ : , !"""


def planned(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_forked(
        *("-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")),
        *("--directory", str(folder), "--nolock", "--cores", "1", "-n", "-p", *arguments),
    )


def words_of(command: str) -> list[str]:
    """With the parentheses of a subshell as words."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars="()")
    lexer.whitespace_split = True
    return list(lexer)


def words_after(flag: str, command: str) -> list[str]:
    words = words_of(command)
    return [after for word, after in pairwise(words) if word == flag]


def test_every_argument_of_every_command_arrives_whole(folder: Path) -> None:
    energies = folder.parent / "my 'own' $(touch x) {x} energies"
    energies.mkdir()
    assert main(["new", "mine", "--folder", str(energies)]) == 0
    texts = {"title": RESULTS + "{x}", "description": "{wildcards.flow} $(touch x)\n{log}"}
    content = {
        "experiments": ["periodic_well", str(energies / "mine.yaml")],
        "results": RESULTS,
        "overrides": {"periodic_well": texts},
    }
    (folder / "config.yaml").write_text(json.dumps(content))
    run = planned(folder)
    assert run.returncode == 0, run.stdout + run.stderr
    commands = re.findall(r"^(?:Shell command: |\s*)(.*jeffreysflow .*)$", run.stdout, re.MULTILINE)
    assert len(commands) >= 15
    configs = {f"{RESULTS}/{name}/config.json" for name in ("periodic_well", "mine")}
    for command in commands:
        assert set(words_after("--config", command)) <= configs, command
        (log,) = words_after("tee", command)
        assert log.startswith(f"{RESULTS}/")
        assert log.endswith(".log")
        end = [word for word in words_of(command) if word not in ("exec", ")")][-2:]
        assert end == ["tee", log], "nothing comes after it"
    (report,) = (command for command in commands if "jeffreysflow report" in command)
    assert words_after("--results", report) == [RESULTS]
    assert configs <= set(words_of(report))
    assert sorted(file.name for file in folder.iterdir()) == [".snakemake", "config.yaml"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("experiments: [periodic_well]\nresults: a{b}\n", "results: must not hold"),
        ("experiments: [periodic_well]\nseed: 1\nseed: 2\n", "line 3: key 'seed' is there twice"),
    ],
)
def test_snakemake_itself_refuses_what_validate_refuses(
    config: str, message: str, folder: Path
) -> None:
    (folder / "config.yaml").write_text(config)
    run = planned(folder)
    assert run.returncode != 0
    printed = run.stdout + run.stderr
    said = [line for line in printed.splitlines() if message in line]
    assert len(said) == 1, printed
    assert is_one_line(said[0])
    assert "Traceback" not in printed
    assert sorted(file.name for file in folder.iterdir()) in (
        ["config.yaml"],
        [".snakemake", "config.yaml"],
    )
