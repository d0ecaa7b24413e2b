"""The experiment of the cluster tests: its stages in this process, and a comparison of two runs.

python small.py configure RESULTS        write its config.json
python small.py stages RESULTS           run what is missing
python small.py same RESULTS REFERENCE [PART]
                                         compare all files of which the bits must not differ, or
                                         those with PART in their name
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "benchmarks" / "studies"))

from _small_run import contents, run_units, units, write_configs  # noqa: E402

from jeffreysflow.config import Experiment, Project, resolve_project  # noqa: E402


def experiment(results: Path) -> Experiment:
    """As Snakemake resolves it."""
    project = Project(experiments=[str(HERE / "two_wells.yaml")], results=str(results))
    return resolve_project(project, HERE)["two_wells"]


def stages(results: Path) -> str | None:
    """Run what is missing; what went wrong."""
    done, said = run_units(units(results, [experiment(results)]))
    return None if done else said


def same(results: Path, reference: Path, part: str = "") -> str | None:
    """Names of files that differ between two runs, or are in one of them only."""
    found, expected = (
        {
            name: bits
            for name, bits in contents(folder).items()
            if part in name and name != "report.log"
        }
        for folder in (results, reference)
    )
    unlike = [name for name in found | expected if found.get(name) != expected.get(name)]
    if not unlike and expected:
        print(f"same bits: {len(expected)} files")
        return None
    return f"not the same bits: {', '.join(sorted(unlike)) or 'no files'}"


def main(command: str, folder: str, *more: str) -> str | None:
    """Run a command; what went wrong."""
    results = Path(folder).resolve()
    if command == "configure":
        return write_configs(results, [experiment(results)])
    if command == "stages":
        return stages(results)
    reference, *part = more
    return same(results, Path(reference).resolve(), *part)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
