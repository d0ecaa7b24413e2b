"""The mathematics stays free of files, configuration, MPI and Snakemake."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "jeffreysflow"
MATHEMATICS = [
    "discovery.py",
    "domain.py",
    "streams.py",
    "molecules",
    "pathintegral",
    "potentials",
    "truth",
    "tempering",
    "flows",
    "distillation",
    "estimation",
]
EDGES = {"stores", "config", "launch", "analysis", "judgement", "stages", "report", "cli"}
OUTSIDE = {"mpi4py", "snakemake", "zarr", "pydantic", "yaml", "jinja2", "matplotlib"}
FILES = [
    file
    for name in MATHEMATICS
    for file in ([PACKAGE / name] if name.endswith(".py") else (PACKAGE / name).rglob("*.py"))
]


def imported_modules(source: str) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def edges_reached(source: str) -> set[str]:
    parts = [name.split(".") for name in imported_modules(source)]
    inside = {part[1] for part in parts if part[0] == "jeffreysflow" and len(part) > 1}
    return (inside & EDGES) | ({part[0] for part in parts} & OUTSIDE)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_the_mathematics_does_not_reach_for_the_edges(file: Path) -> None:
    assert not edges_reached(file.read_text())


def test_a_reach_for_the_edges_is_seen() -> None:
    assert edges_reached("from jeffreysflow.stores.layout import Layout") == {"stores"}
    assert edges_reached("def f():\n    from mpi4py import MPI") == {"mpi4py"}
    assert edges_reached("from jeffreysflow import config") == {"config"}


COMMANDS = ("cli.py", "commands.py")
BELOW = {
    "judgement": {"launch", "analysis", "stages", "report", "cli", "commands"},
    "launch": {"analysis", "judgement", "stages", "report", "cli", "commands"},
    "analysis": {"stages", "cli", "commands"},
    "report": {"launch", "analysis", "stages", "cli", "commands"},
    "stores": {"launch", "analysis", "judgement", "stages", "report", "cli", "commands"},
}


def rooms_reached(source: str) -> set[str]:
    parts = [name.split(".") for name in imported_modules(source)]
    return {part[1] for part in parts if part[0] == "jeffreysflow" and len(part) > 1}


@pytest.mark.parametrize("room", BELOW)
def test_rooms_are_built_on_those_below(room: str) -> None:
    for file in (PACKAGE / room).rglob("*.py"):
        assert not rooms_reached(file.read_text()) & BELOW[room], file.name


def test_what_is_in_stages_is_a_command() -> None:
    commands = set().union(*(imported_modules((PACKAGE / name).read_text()) for name in COMMANDS))
    for file in (PACKAGE / "stages").glob("[a-z]*.py"):
        module = f"jeffreysflow.stages.{file.stem}"
        assert any(name == module or name.startswith(f"{module}.") for name in commands), file.name


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: file.name)
def test_a_module_is_one_concept(file: Path) -> None:
    assert len(file.read_text().splitlines()) <= 300
