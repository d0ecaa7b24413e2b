"""Is a run that was killed anywhere continued to the same bits? Counts for docs/robustness.md.

    python benchmarks/studies/kills.py [--stages 200] [--runs 60] [--way SIGINT] [--tiny]

`stages`: a stage of a small run is killed at a random moment, run again, in half of the cases on
another number of ranks, and all files compared with those of a run that nobody disturbed. `runs`:
the same through `make run`, from a random point of the workflow on. Killed are one rank, Snakemake
or the whole group with SIGKILL, and what the user started with SIGTERM or SIGINT; no process may be
left after ten seconds; only where one job of a workflow was killed may its others end first.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
import yaml
from _small_run import (
    SMALL_EXPERIMENTS,
    Unit,
    contents,
    experiments,
    in_process,
    run_units,
    units,
    write_configs,
)

from jeffreysflow.config import Experiment
from jeffreysflow.processes import descendants

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
}
PATIENCE = 10.0
OTHER_JOBS = 300.0
"""A workflow of which one job was killed goes on with its others, and ends by itself."""
RANKS = (1, 2, 3)


@dataclass
class Tally:
    """Of one way to kill."""

    kills: int = 0
    too_late: int = 0
    other_ranks: int = 0
    failed: list[str] = field(default_factory=list)


def of_rank(process: int, draw: random.Random) -> list[tuple[int, signal.Signals]]:
    """One rank, or the stage where there is one process."""
    return [(draw.choice(_stages(process) or [process]), signal.SIGKILL)]


def of_snakemake(process: int, draw: random.Random) -> list[tuple[int, signal.Signals]]:
    """Snakemake where there is one, or what was started."""
    found = [each for each in descendants(process) if " -m snakemake " in _command(each)]
    return [(each, signal.SIGKILL) for each in found[:1] or [process]]


def of_all(process: int, draw: random.Random) -> list[tuple[int, signal.Signals]]:
    return [(each, signal.SIGKILL) for each in (process, *descendants(process))]


def by_term(process: int, draw: random.Random) -> list[tuple[int, signal.Signals]]:
    return [(process, signal.SIGTERM)]


def by_interrupt(process: int, draw: random.Random) -> list[tuple[int, signal.Signals]]:
    """As Ctrl-C does it, to all."""
    return [(each, signal.SIGINT) for each in (process, *descendants(process))]


WAYS: dict[str, Callable[[int, random.Random], list[tuple[int, signal.Signals]]]] = {
    "SIGKILL of one rank or stage": of_rank,
    "SIGKILL of Snakemake or the launcher": of_snakemake,
    "SIGKILL of all": of_all,
    "SIGTERM": by_term,
    "SIGINT": by_interrupt,
}


def _stages(process: int) -> list[int]:
    """Processes of stages among those below, without the launchers of ranks."""
    commands = {each: _command(each).split() for each in descendants(process)}
    return [
        each
        for each, words in commands.items()
        if "jeffreysflow" in words and "python" in Path(words[0]).name
    ]


def _command(process: int) -> str:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def _is_alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state != "Z"


def killed(
    command: Sequence[str],
    after: float,
    way: str,
    draw: random.Random,
    folder: Path,
    patience: float = PATIENCE,
) -> bool:
    """Start a command and kill it; whether it was still at work.

    Raises
    ------
    AssertionError : something of it is alive so many seconds later.
    """
    process = subprocess.Popen(
        command,
        env=ENVIRONMENT,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    time.sleep(after)
    family = [process.pid, *descendants(process.pid)]
    if process.poll() is not None:
        return False
    for victim, number in WAYS[way](process.pid, draw):
        try:
            os.kill(victim, number)
        except ProcessLookupError:
            continue
    until = time.monotonic() + patience
    while time.monotonic() < until:
        process.poll()
        family += [each for known in family for each in descendants(known)]
        family = [each for each in dict.fromkeys(family) if _is_alive(each)]
        if not family:
            return True
        time.sleep(0.05)
    left = [_command(each)[:80] for each in family]
    for each in family:
        os.kill(each, signal.SIGKILL)
    raise AssertionError(f"alive after {patience:.0f} s: {left}")


def on_ranks(unit: Unit, ranks: int) -> list[str]:
    """The command line of a unit; of a stage on MPI on so many ranks."""
    stage = [sys.executable, "-m", "jeffreysflow", *unit.arguments]
    if unit.arguments[0] not in ("pilot", "temper"):
        return stage
    launch = ["mpiexec", "-n", str(ranks)] if ranks > 1 else []
    return [*launch, sys.executable, "-m", "mpi4py", *stage[1:]]


def withdraw(all_units: Sequence[Unit], unit: Unit) -> None:
    """Remove all that a unit has made, and what was made from it."""
    gone = {unit.name}
    for each in all_units:
        if each.name in gone or gone.intersection(each.needs):
            gone.add(each.name)
            for output in each.outputs:
                if output.name == "done.json":
                    shutil.rmtree(output.parent, ignore_errors=True)
                else:
                    output.unlink(missing_ok=True)


@dataclass(frozen=True)
class Trial:
    """One kill: of ``unit``, or of a run from it on, on so many ranks (or cores) first and then."""

    way: str
    unit: Unit
    units: Sequence[Unit]
    first: int
    second: int


def counted(
    count: int,
    draw: random.Random,
    whole: Path,
    of: Sequence[Experiment],
    choose: Callable[[int, Sequence[Unit]], Unit],
    trial: Callable[[Trial], bool],
) -> dict[str, Tally]:
    """Kills on copies of a whole run, from which a unit is withdrawn. ``trial`` kills, goes on and
    compares; it tells whether the kill came in time, and raises what goes wrong.
    """
    tallies, copy = {way: Tally() for way in WAYS}, whole.with_name("copy of a run")
    for number in range(count):
        way = list(WAYS)[number % len(WAYS)]
        tally = tallies[way]
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(whole, copy)
        all_units = units(copy, of)
        unit = choose(number, all_units)
        withdraw(all_units, unit)
        first, second = draw.choice(RANKS), draw.choice(RANKS)
        second = first if number % 4 < 2 else second
        tally.kills += 1
        tally.other_ranks += first != second
        try:
            tally.too_late += not trial(Trial(way, unit, all_units, first, second))
        except (AssertionError, subprocess.TimeoutExpired) as error:
            text = " ".join(str(error).split())
            tally.failed.append(f"{way}: {unit.name}, on {first} then {second}: {text}")
        print(f"{number + 1}/{count} {unit.name}", file=sys.stderr, flush=True)
    return tallies


def finished(command: Sequence[str], folder: Path) -> None:
    """Run a command to its end.

    Raises
    ------
    AssertionError : it failed.
    """
    done = subprocess.run(
        command,
        env=ENVIRONMENT,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if done.returncode != 0:
        said = (done.stdout + done.stderr).splitlines()
        reasons = [line for line in said if line.startswith("jeffreysflow ")]
        raise AssertionError("\n".join(reasons or said[-8:]))


def stages(count: int, seed: int, folder: Path, of: Sequence[Experiment]) -> dict[str, Tally]:
    """Kills stage by stage."""
    draw, whole = random.Random(seed), folder / "whole"
    write_configs(whole, of)
    seconds: dict[str, float] = {}

    def timed(unit: Unit) -> tuple[int, str]:
        started = time.monotonic()
        found = in_process(unit)
        seconds[unit.name] = time.monotonic() - started
        return found

    torch.set_num_threads(1)
    done, said = run_units(units(whole, of), timed)
    assert done, said
    expected = contents(whole)

    def choose(number: int, all_units: Sequence[Unit]) -> Unit:
        on_mpi = [unit for unit in all_units if unit.arguments[0] in ("pilot", "temper")]
        return draw.choice(on_mpi if number % 2 else all_units)

    def trial(one: Trial) -> bool:
        # the interpreter and its libraries take a second or two, the work the rest
        after = draw.uniform(1.0, 3.0 + 1.5 * seconds[one.unit.name])
        in_time = killed(on_ranks(one.unit, one.first), after, one.way, draw, folder)
        finished(on_ranks(one.unit, one.second), folder)
        done, _ = run_units([each for each in one.units if each.name == one.unit.name])
        made = contents(whole.with_name("copy of a run"))
        differing = [key for key in made if key in expected and expected[key] != made[key]]
        if not done or differing:
            raise AssertionError(f"other bits: {differing[:3]}")
        return in_time

    return counted(count, draw, whole, of, choose, trial)


def runs(count: int, seed: int, folder: Path, of: Sequence[Experiment]) -> dict[str, Tally]:
    """Kills of `make run`."""
    draw, whole = random.Random(seed), folder / "whole run"
    files = []
    for sections in SMALL_EXPERIMENTS:
        file = folder / f"{sections['name']}.yaml"
        content = {key: value for key, value in sections.items() if key != "name"}
        file.write_text(yaml.safe_dump({**content, "scales": {"smoke": {}}}))
        files.append(str(file))

    def make(results: Path, cores: int) -> list[str]:
        given = {"EXPERIMENTS": ",".join(files), "SCALE": "smoke", "SEED": "1"}
        given |= {"RESULTS": str(results), "CORES": str(cores)}
        pairs = [f"{key}={value}" for key, value in given.items()]
        return ["make", "-o", ".venv/.installed", "run", *pairs]

    started = time.monotonic()
    finished(make(whole, 2), ROOT)
    seconds = time.monotonic() - started
    expected, copy = contents(whole), whole.with_name("copy of a run")

    def trial(one: Trial) -> bool:
        after = draw.uniform(4, max(min(seconds, 20), 6))
        patience = OTHER_JOBS if WAYS[one.way] is of_rank else PATIENCE
        in_time = killed(make(copy, one.first), after, one.way, draw, ROOT, patience)
        finished(make(copy, one.second), ROOT)
        found = contents(copy)
        differing = [key for key in expected if found.get(key) != expected[key]]
        if differing:
            raise AssertionError(f"other bits: {differing[:3]}")
        return in_time

    return counted(count, draw, whole, of, lambda _, all_units: draw.choice(all_units), trial)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stages", type=int, default=200)
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--way", choices=[*WAYS], action="append", help="only this way (or these)")
    parser.add_argument(
        "--tiny", action="store_true", help="a stage of a tiny experiment in two of the ways"
    )
    options = parser.parse_args()
    # a shell has what it starts in the background ignore SIGINT, and so would all that is killed
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for way in set(WAYS) - set(options.way or WAYS):
        del WAYS[way]
    counts = {stages: options.stages, runs: options.runs}
    if options.tiny:
        for way in list(WAYS)[1:-2] + list(WAYS)[-1:]:
            del WAYS[way]
        counts = {stages: len(WAYS), runs: 0}
    failed = []
    for kind, count in counts.items():
        if not count:
            continue
        with tempfile.TemporaryDirectory() as place:
            tallies = kind(count, options.seed, Path(place), experiments(options.tiny))
        print(f"\n| {kind.__name__}: killed by | kills | ended before | other ranks | failed |")
        print("|---|---|---|---|---|")
        for way, tally in tallies.items():
            numbers = f"{tally.kills} | {tally.too_late} | {tally.other_ranks}"
            print(f"| {way} | {numbers} | {len(tally.failed)} |", flush=True)
            failed += tally.failed
    print("\n".join(["", *failed]))
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
