"""Is damage found, named and made again? Counts for docs/robustness.md.

    python benchmarks/studies/damage.py [--each 6] [--tiny]

Every kind of file that a finished run leaves is damaged `--each` times, on copies: a bit flipped, a
digit changed, the end cut off, emptied, removed. Then the stages that read it run again, at most
twice, as a workflow would: `verify --withdraw` first, then what is missing. A damage passes if it
is named in one line or harmless, nothing ends in a traceback, and all files are in the end what
they were before. Checkpoints are damaged in copies of a run that was stopped half-way.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import random
import re
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from _small_run import Unit, contents, experiments, run_units, units, write_configs

from jeffreysflow.cli import main as jeffreysflow
from jeffreysflow.config import Experiment
from jeffreysflow.stages import temper
from jeffreysflow.stores.layout import Layout
from jeffreysflow.tempering.communicator import SerialCommunicator


def flip(data: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << draw.randrange(8)]) + data[at + 1 :]


def change_digit(data: bytes, draw: random.Random) -> bytes:
    digits = [match.start() for match in re.finditer(rb"\d", data)]
    if not digits:
        return flip(data, draw)
    at = draw.choice(digits)
    other = draw.choice([d for d in b"0123456789" if d != data[at]])
    return data[:at] + bytes([other]) + data[at + 1 :]


def cut(data: bytes, draw: random.Random) -> bytes:
    return data[: draw.randrange(len(data))]


def empty(data: bytes, draw: random.Random) -> bytes:
    return b""


def remove(data: bytes, draw: random.Random) -> None:
    return None


DAMAGES: Sequence[Callable[[bytes, random.Random], bytes | None]] = (
    flip,
    change_digit,
    cut,
    empty,
    remove,
)


@dataclass
class Tally:
    """Of one kind of file."""

    damages: int = 0
    named: int = 0
    harmless: int = 0
    failed: list[str] = field(default_factory=list)


def kind_of(name: str) -> str | None:
    """The kind of a file, by its name under the results folder; None of what is no result."""
    file = name.rsplit("/", 1)[-1]
    if file == ".lock" or "/logs/" in name:
        return None
    if ".zarr/" in name:
        store = re.search(r"([^/]+)/([^/]+\.zarr)/(.*)", name)
        assert store is not None
        folder = re.sub(r"_\d+", "", store[1])
        what = "metadata" if file == "zarr.json" else "chunk"
        return f"{folder}: {what} of {store[2]}"
    if file.startswith("."):
        return "checksum"
    if "/usage/" in name or name.startswith("usage/"):
        return "usage"
    folder = "figures" if "/figures/" in name else ""
    return f"{folder} {Path(file).suffix}".strip() if folder else file


def touched(all_units: Sequence[Unit], name: str, results: Path) -> list[str]:
    """The units that read what the unit of a damaged file made."""
    file = results / name
    made = [unit for unit in all_units if any(_holds(output, file) for output in unit.outputs)]
    return [unit.name for unit in all_units for by in made if by.name in unit.needs]


def _holds(output: Path, file: Path) -> bool:
    return output == file or (output.name == "done.json" and output.parent in file.parents)


def quietly(run: Callable[[], object]) -> tuple[object, str]:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        value = run()
    return value, said.getvalue()


def counted(
    names: Sequence[str],
    each: int,
    draw: random.Random,
    folder: Path,
    is_named: Callable[[Path, str], bool],
) -> Tally:
    """Damage one of some files of a folder at a time, on copies; ``is_named`` makes the copy whole
    again, and raises what goes wrong.
    """
    tally, copy = Tally(), folder.with_name("copy")
    for number in range(each):
        name, damage = draw.choice(names), DAMAGES[number % len(DAMAGES)]
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(folder, copy)
        tally.damages += 1
        try:
            changed = damage((copy / name).read_bytes() or b"0", draw)
            if changed is None:
                (copy / name).unlink()
            else:
                (copy / name).write_bytes(changed)
            named = is_named(copy, name)
            tally.named += named
            tally.harmless += not named
        except BaseException as error:
            text = " ".join(str(error).split())[:300]
            tally.failed.append(f"{damage.__name__} {name}: {type(error).__name__} {text}")
    return tally


def mended(
    results: Path, name: str, expected: Mapping[str, bytes], of: Sequence[Experiment]
) -> bool:
    """Whether the damage was named, after at most two passes; raises what a user would see go
    wrong.
    """
    write_configs(results, of)
    all_units = units(results, of)
    forced, said = touched(all_units, name, results), ""
    for _ in range(2):
        _, lines = quietly(lambda: jeffreysflow(["verify", "--chunks", "--withdraw", str(results)]))
        done, more = run_units(all_units, forced=forced)
        said += lines + more
        if done:
            break
        forced = []
    if not done:
        raise AssertionError(f"not mended by two runs: {said.splitlines()[-1]}")
    differing = [key for key, data in contents(results).items() if expected.get(key) != data]
    missing = expected.keys() - contents(results).keys()
    if differing or missing:
        raise AssertionError(f"other bits: {[*differing, *missing][:3]}")
    return any("next run makes it again" in line for line in said.splitlines())


def finished_files(
    folder: Path, each: int, draw: random.Random, of: Sequence[Experiment], most: int | None
) -> dict[str, Tally]:
    """All kinds of files of finished experiments, or ``most`` of the kinds."""
    results = folder / "results"
    write_configs(results, of)
    done, said = run_units(units(results, of))
    assert done, said
    expected = contents(results)
    kinds: dict[str, list[str]] = defaultdict(list)
    for file in sorted(results.rglob("*")):
        name = file.relative_to(results).as_posix()
        kind = kind_of(name) if file.is_file() else None
        if kind is not None:
            kinds[kind].append(name)
    tallies: dict[str, Tally] = {}
    for kind, names in draw.sample(sorted(kinds.items()), most or len(kinds)):
        tallies[kind] = counted(
            names, each, draw, results, lambda copy, name: mended(copy, name, expected, of)
        )
    return tallies


class Stopped(SerialCommunicator):
    """Dies at the n-th message, as by a kill."""

    def __init__(self, messages: int) -> None:
        self.left = messages

    def all_gather(self, value):
        # the agreement of every round; what else is gathered is a dict
        return [self.broadcast(value) if isinstance(value, tuple) else value]

    def broadcast(self, value):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return value


def checkpoints(
    folder: Path, each: int, draw: random.Random, of: Sequence[Experiment], most: int | None
) -> dict[str, Tally]:
    """Files of a run that was stopped half-way, its checkpoints above all; all kinds of them or the
    first ``most``.
    """
    (experiment,) = (e for e in of if e.name == "wells")
    whole = Layout(folder / "whole", "wells")
    quietly(lambda: temper.run(whole, experiment, "blocks"))
    expected = contents(whole.results)
    stopped = Layout(folder / "stopped", "wells")
    with contextlib.suppress(KeyboardInterrupt):
        quietly(lambda: temper.run(stopped, experiment, "blocks", communicator=Stopped(60)))

    def resumed(copy: Path, name: str) -> bool:
        _, said = quietly(lambda: temper.run(Layout(copy, "wells"), experiment, "blocks"))
        if contents(copy) != expected:
            raise AssertionError("other bits")
        return "damaged" in said or "not used" in said or "missing" in said

    kinds: dict[str, list[str]] = defaultdict(list)
    for file in sorted(stopped.results.rglob("*")):
        name = file.relative_to(stopped.results).as_posix()
        if file.is_file() and file.name != ".lock":
            place = "checkpoint" if "/checkpoint/" in name else "unfinished store"
            suffix = file.suffix if place == "checkpoint" else ""
            kinds[f"{place} {suffix}".strip()].append(name)
    assert any("npz" in kind for kind in kinds), "there is a checkpoint to damage"
    tallies = {}
    for kind, names in list(kinds.items())[:most]:
        tallies[kind] = counted(names, each, draw, stopped.results, resumed)
    return tallies


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--each", type=int, default=6, help="damages of every kind of file")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--tiny", action="store_true", help="one damage of a kind of one tiny experiment"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    draw, started = random.Random(options.seed), time.time()
    each = 1 if options.tiny else options.each
    with tempfile.TemporaryDirectory() as place:
        of, most = experiments(options.tiny), 1 if options.tiny else None
        tallies = finished_files(Path(place) / "finished", each, draw, of, most)
        tallies |= checkpoints(Path(place) / "half", each, draw, of, most)
    print("| file | damages | named in one line | harmless | else |\n|---|---|---|---|---|")
    for kind, tally in tallies.items():
        numbers = f"{tally.damages} | {tally.named} | {tally.harmless} | {len(tally.failed)}"
        print(f"| {kind} | {numbers} |")
    failed = [line for tally in tallies.values() for line in tally.failed]
    total = sum(tally.damages for tally in tallies.values())
    print(f"\n{total} damages, {len(failed)} that were neither, {time.time() - started:.0f} s")
    print("\n".join(failed))
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
