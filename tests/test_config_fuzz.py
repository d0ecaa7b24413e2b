"""Experiment files with mistakes of any kind resolve, or are answered in one line."""

import copy
import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from jeffreysflow.config import Project, experiment_names, load_experiment, resolve_project
from jeffreysflow.errors import UserError

ROOT = Path(__file__).parents[1]
FILES = [ROOT / "workflow" / "experiments" / f"{name}.yaml" for name in experiment_names(ROOT)]
CONTENTS = [yaml.load(file.read_text(), Loader=yaml.CSafeLoader) for file in FILES]
for content in CONTENTS:
    # of the scales, only the one that is chosen is looked at
    content["scales"] = {"quick": content["scales"]["quick"]}
MUTATIONS = 400

Mutation = Callable[[random.Random, dict[str, Any]], None]


def nested(depth: int, kind: type) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value] if kind is list else {"a": value}
    return value


ODD_VALUES: list[Any] = [
    *(None, True, False, "", " ", "5", "1e3", "true", "auto", "lots", "nan", "x1", "/", "..", "~"),
    *(0, -1, 1, 2**31, 2**63, 10**400, -(10**400), 0.0, -0.0, 0.5, -1.5, 1e-320, 1e308, 1e300),
    *(float("nan"), float("inf"), [], ["x"] * 300, [None], [[]], {}, {"a": 1}, {1: 2}, {True: 1}),
    *("two\nlines", "\x1b[31m", "\u202e", "\u2028", "\x00", "a" * 300, "a" * 20_000, "{x}", "%s"),
    *(nested(30, list), nested(30, dict), nested(60, list), nested(60, dict)),
    *("$(touch x)", "`touch x`", "'; touch x; '", "--flag", "a/b", "ﬀ", "😀", b"bytes"),
]


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container with every key or index in it."""
    if isinstance(value, dict | list):
        for key, part in list(value.items() if isinstance(value, dict) else enumerate(value)):
            yield value, key
            yield from places(part)


def put(random: random.Random, content: dict[str, Any]) -> None:
    container, key = random.choice(list(places(content)))
    container[key] = copy.deepcopy(random.choice(ODD_VALUES))


def drop(random: random.Random, content: dict[str, Any]) -> None:
    container, key = random.choice(list(places(content)))
    del container[key]


def rename(random: random.Random, content: dict[str, Any]) -> None:
    keyed = [(part, key) for part, key in places(content) if isinstance(part, dict)]
    container, key = random.choice(keyed)
    odd = random.choice([str(key)[:-1], f"{key}s", str(key).upper(), 3, None, 1.5, "", "a b", True])
    container[odd] = container.pop(key)


def swap(random: random.Random, content: dict[str, Any]) -> None:
    found = list(places(content))
    (first, i), (second, j) = random.choice(found), random.choice(found)
    first[i], second[j] = copy.deepcopy(second[j]), copy.deepcopy(first[i])


def wrap(random: random.Random, content: dict[str, Any]) -> None:
    container, key = random.choice(list(places(content)))
    value = container[key]
    container[key] = random.choice([[value], {"a": value}, str(value), [value, value]])


def scale(random: random.Random, content: dict[str, Any]) -> None:
    numbers = [
        (part, key)
        for part, key in places(content)
        if isinstance(part[key], int | float) and not isinstance(part[key], bool)
    ]
    container, key = random.choice(numbers)
    container[key] *= random.choice([-1, 0, 0.5, 1e-300, 3, 1e6])


def repeat(random: random.Random, content: dict[str, Any]) -> None:
    lists = [part[key] for part, key in places(content) if isinstance(part[key], list)]
    some = random.choice(lists)
    some += copy.deepcopy(some)


CHANGES: list[Mutation] = [put, put, put, drop, rename, swap, wrap, scale, repeat]


def with_a_line_again(random: random.Random, text: str) -> str:
    lines = text.splitlines()
    i = random.randrange(len(lines))
    return "\n".join([*lines[: i + 1], *lines[random.randrange(len(lines)) :]])


def answer(file: Path) -> str | None:
    """What is said of an experiment file; None where it resolves, and comes back as it was."""
    try:
        experiment = resolve_project(Project(experiments=[str(file)]), ROOT)["mine"]
    except UserError as error:
        return str(error)
    assert experiment.estimate_hash()
    resolved = file.with_suffix(".json")
    resolved.write_text(experiment.model_dump_json())
    assert load_experiment(resolved) == experiment
    return None


def test_mistakes_of_any_kind_are_one_line(tmp_path: Path) -> None:
    chance, found = random.Random(1), Counter[str]()
    file = tmp_path / "mine.yaml"
    for i in range(MUTATIONS):
        content = copy.deepcopy(chance.choice(CONTENTS))
        for _ in range(chance.choice([1, 1, 2])):
            chance.choice(CHANGES)(chance, content)
        text = yaml.dump(content, Dumper=yaml.CSafeDumper, sort_keys=False)
        if i % 10 == 0:
            text = with_a_line_again(chance, text)
        file.write_text(text, encoding="utf-8", errors="surrogatepass")
        said = answer(file)
        found["fine" if said is None else "refused"] += 1
        if said is not None:
            assert "\n" not in said, said
            assert said.isprintable(), ascii(said)
            assert len(said) <= 500, said
            assert str(file) in said, said
    assert min(found["fine"], found["refused"]) > MUTATIONS / 10, found


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join(f'*a{i - 1}' for _ in range(9))}]\n" for i in range(1, 12)
)
MERGED = "a0: &a0 {k: 1}\n" + "".join(
    f"a{i}: &a{i} {{<<: [{', '.join(f'*a{i - 1}' for _ in range(9))}]}}\n" for i in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 10_000 + "]" * 10_000, "nested too deeply"),
        ("a: " + "[" * 10_000, "nested too deeply"),
        ("{a: " * 10_000 + "1" + "}" * 10_000, "nested too deeply"),
        ("- " * 10_000, "nested too deeply"),
        (BOMB, "more than 100000 values, aliases included"),
        (MERGED, "more than 100000 values, aliases included"),
        ("a: &a [*a]", "line 1: an alias inside of what it stands for"),
        ("a: &a {b: *a}", "line 1: an alias inside of what it stands for"),
        ("seed: " + "9" * 10_000, "a value that is none in YAML"),
        ("seed: 2001-99-99", "a value that is none in YAML"),
        ("? [a]\n: b", "line 1: a key must be a word or a number"),
        ("a: !!python/object/apply:os.system [touch x]", "not valid YAML"),
        ("seed: 1\nscale: quick\n\nseed: 2", "line 4: key 'seed' is there twice, first in line 1"),
        ('a: {b: 1, "b": 2}', "line 1: key 'b' is there twice, first in line 1"),
        ("a: 1\n---\na: 2", "not valid YAML"),
        ("# " + "a" * (5 << 20), "larger than 4 MiB"),
        ('title: "\\ud800"', "title: must be one line of plain text"),
        ("title: 2001-01-01", "title: must be text, found datetime.date(2001, 1, 1)"),
        ("title: a\npotential: {name: annulus, parameters: {s: 2001-01-01}}", "parameters.s: must"),
    ],
    ids=lambda text: text[:12],
)
def test_files_that_are_no_configuration_are_refused(
    text: str, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    said = answer(file)
    assert said is not None
    assert message in said
    assert said.isprintable()
    assert len(said) <= 500
