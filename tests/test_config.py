"""Configuration: scales, overrides, hashes, schema, and one line for every mistake."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from jeffreysflow.config import (
    Experiment,
    Project,
    experiment_names,
    load_experiment,
    load_project,
    resolve_project,
    schemas,
)
from jeffreysflow.config.merging import merged
from jeffreysflow.config.yaml_file import read_yaml
from jeffreysflow.errors import UserError

ROOT = Path(__file__).parents[1]


def resolved(**settings: Any) -> Experiment:
    settings = {"experiments": "three_well", **settings}
    project = load_project(ROOT / "config.yaml", settings)
    return resolve_project(project, ROOT)[settings["experiments"]]


def test_the_dipeptide_of_openmm_is_treated_as_our_own() -> None:
    """Of both free-energy profiles, and flows with the recipe that does not overfit."""
    folder = ROOT / "workflow" / "experiments"
    own, imported = (
        read_yaml(folder / file)
        for file in ("alanine_dipeptide.yaml", "imported/alanine_dipeptide_openmm.yaml")
    )
    assert [profile["kind"] for profile in own["profiles"]] == ["pmf", "pmf"]
    for key in ("potential", "base", "observables", "regions", "profiles", "views", "flows"):
        assert imported[key] == own[key]
    assert imported["flow_defaults"] == {**own["flow_defaults"], "reference": "openmm"}
    for scale, ours in own["scales"].items():
        of_flows = {key: value for key, value in ours.items() if key != "reference_defaults"}
        assert imported["scales"][scale] == of_flows
    assert own["scales"]["quick"]["flow_defaults"]["training"]["weight_decay"] == 1


@pytest.mark.parametrize("scale", ["smoke", "quick", "paper"])
@pytest.mark.parametrize("name", experiment_names(ROOT))
def test_every_experiment_resolves_at_every_scale(name: str, scale: str, tmp_path: Path) -> None:
    experiment = resolved(experiments=name, scale=scale)
    file = tmp_path / "config.json"
    file.write_text(experiment.model_dump_json())
    assert load_experiment(file) == experiment


def test_the_exported_schemas_are_up_to_date() -> None:
    for name, schema in schemas().items():
        stored = json.loads((ROOT / "workflow" / "schemas" / name).read_text())
        assert stored == schema, "run `make schemas`"


def test_every_field_is_described() -> None:
    for schema in schemas().values():
        for section in [schema, *schema.get("$defs", {}).values()]:
            for name, field in section["properties"].items():
                assert field.get("description"), f"{section['title']}.{name}"


def test_merging_is_deep_and_replaces_a_ladder_of_another_kind() -> None:
    lower = {"ladder": {"kind": "adaptive", "levels": 5}, "walkers": 3}
    assert merged(lower, {"ladder": {"levels": 6}})["ladder"] == {"kind": "adaptive", "levels": 6}
    fixed = {"kind": "fixed", "values": [0, 1]}
    network = {"network": {"hidden": 8}}
    assert merged(network, {"network": {"kind": "spline"}})["network"]["hidden"] == 8
    assert merged(network, {"network": {"kind": "other"}}) == {"network": {"kind": "other"}}
    assert merged(lower, {"ladder": fixed}) == {"ladder": fixed, "walkers": 3}
    # a section that names no kind has its usual one
    plain = {"jacobian": {"parameters": {"clusters": 2}}}
    assert merged(plain, {"jacobian": {"kind": "stepwise"}})["jacobian"]["parameters"]
    assert merged(plain, {"jacobian": {"kind": "other"}})["jacobian"] == {"kind": "other"}
    assert merged({"r": lower}, {"r": {"kind": "tempering"}})["r"]["walkers"] == 3
    assert merged({"r": lower}, {"r": {"kind": "samples"}})["r"] == {"kind": "samples"}
    # whatever the base of flows is, tempering starts from this one
    base = {"base": {"sd": 3, "tails": 2}}
    assert merged(base, {"base": {"kind": "fitted"}})["base"] == {"kind": "fitted", "sd": 3}
    assert merged(base, {"base": {"kind": "independent"}})["base"]["tails"] == 2


def test_flows_that_others_are_trained_from_are_not_drawn_from() -> None:
    def of(**flows: object) -> Experiment:
        overrides = {"quantum_double_well": {"flows": flows}}
        return resolved(experiments="quantum_double_well", overrides=overrides)

    plain = of()
    assert plain.generating == ["direct"]
    for chosen in (True, "true"):
        asked = of(second={"generate": chosen})
        assert asked.generating == ["second", "direct"]
        # nothing is trained or drawn again for it, but there is more to estimate
        for flow in plain.flows:
            assert asked.flow_hash(flow) == plain.flow_hash(flow)
            assert asked.bead_hash(flow) == plain.bead_hash(flow)
        assert asked.estimate_hash() != plain.estimate_hash()
    assert of(direct={"generate": False}).generating == []
    single = resolved(experiments="three_well")
    assert single.generating == list(single.flows)


@pytest.mark.parametrize("name", experiment_names(ROOT))
def test_every_experiment_draws_from_what_it_ends_with(name: str) -> None:
    experiment = resolved(experiments=name)
    sources = {flow.reference for flow in experiment.flows.values()}
    # a flow may have the name of a reference, and is no source by that
    sources -= set(experiment.references)
    # some are there to be compared, and say that nobody draws from them
    kept = [name for name, flow in experiment.flows.items() if flow.generate is not False]
    assert experiment.generating == [flow for flow in kept if flow not in sources]
    assert experiment.generating


def test_a_hash_changes_with_what_it_covers_and_with_nothing_else() -> None:
    plain = resolved()
    other_theta = resolved(overrides={"three_well": {"flows": {"coarse-0.50": {"theta": 0.6}}}})
    assert plain.reference_hash("coarse") == other_theta.reference_hash("coarse")
    assert plain.flow_hash("coarse-0.50") != other_theta.flow_hash("coarse-0.50")
    assert plain.flow_hash("coarse-0.75") == other_theta.flow_hash("coarse-0.75")
    assert plain.reference_hash("coarse") != resolved(seed=2).reference_hash("coarse")
    assert plain.reference_hash("coarse") == resolved(device="cuda").reference_hash("coarse")
    rarely = {"references": {"coarse": {"checkpoint_seconds": 9}}}
    assert plain.reference_hash("coarse") == resolved(
        overrides={"three_well": rarely}
    ).reference_hash("coarse")


def test_a_hash_changes_with_the_source_of_a_users_energy(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "title: t\npotential: {file: mine.py}\nreferences: {r: {walkers: 1, warmup_rounds: 0, "
        "rounds: 2, ladder: {kind: fixed, values: [0, 1]}}}\nflows: {f: {reference: r, theta: 0}}\n"
    )
    hashes = []
    for strength in ("1", "2"):
        energy = f"def energy(x):\n    return {strength} * x[:, 0] ** 2\n"
        (tmp_path / "mine.py").write_text("dimension = 1\n" + energy)
        project = Project(experiments=[str(tmp_path / "mine.yaml")])
        hashes.append(resolve_project(project, ROOT)["mine"].reference_hash("r"))
    assert hashes[0] != hashes[1]


def test_a_number_may_come_as_text() -> None:
    # as snakemake --config hands it over
    flow = resolved(overrides={"three_well": {"flows": {"coarse-0.50": {"theta": "0.6"}}}})
    assert flow.flow("coarse-0.50").theta == 0.6


TEMPERED = "references.tempered"
BAD_OVERRIDES = [
    ({"references": {"tempered": {"walker": 3}}}, f"{TEMPERED}: unknown key 'walker'.*'walkers'"),
    (
        {"flows": {"tempered-0.50": {"last_level": {"network": {"kind": "continuous"}}}}},
        "flows.tempered-0.50: last_level is for a sequence, levels: all; found levels: last",
    ),
    (
        {"flows": {"tempered-0.50": {"training": {"source": "reference"}}}},
        "flows.tempered-0.50: training.source is of a sequence, levels: all",
    ),
    (
        {
            "flows": {
                "tempered-0.50": {
                    "levels": "all",
                    "last_level": {"network": {"kind": "torch", "file": "v.py"}},
                }
            }
        },
        r"flows.tempered-0.50.last_level: network.kind: a velocity of your own .*found torch",
    ),
    (
        {
            "flows": {
                "tempered-0.50": {"levels": "all", "last_level": {"network": {"kind": "sline"}}}
            }
        },
        r"flows.tempered-0.50.last_level.network.kind: .*did you mean 'spline'",
    ),
    ({"references": {"tempered": {"walkers": "lots"}}}, f"{TEMPERED}.walkers: .*found 'lots'"),
    ({"references": {"tempered": {"walkers": 0}}}, f"{TEMPERED}.walkers: .*greater.*found 0"),
    (
        {"references": {"tempered": {"ladder": {"kind": "fixed", "values": [0.1, 1.0]}}}},
        f"{TEMPERED}: ladder.values must start at 0",
    ),
    (
        {"references": {"tempered": {"ladder": {"kind": "fixed", "values": [0.0, 0.9]}}}},
        f"{TEMPERED}: ladder.values must end at 1",
    ),
    (
        {"references": {"tempered": {"ladder": {"kind": "fixed", "values": [0, 0.5, 0.5, 1]}}}},
        f"{TEMPERED}: ladder.values must increase",
    ),
    (
        {"references": {"tempered": {"kernel": {"name": "mla"}}}},
        f"{TEMPERED}.kernel.name: unknown kernel 'mla'.*did you mean 'mala'",
    ),
    (
        {"flows": {"coarse-0.50": {"reference": "tempred"}}},
        "flows.coarse-0.50.reference: unknown reference 'tempred'.*did you mean 'tempered'",
    ),
    ({"flows": {"coarse-0.50": {"theta": 1.5}}}, "flows.coarse-0.50.theta: .*found 1.5"),
    ({"flows": {"coarse-0.50": {"theta": "atuo"}}}, "theta: must be .* or auto; found 'atuo'"),
    ({"flows": {"coarse-0.50": {"renyi": 0.5}}}, "renyi: must be a number of at least 1, or auto"),
    (
        {"flows": {"coarse-0.50": {"generate": "no"}}},
        "generate: must be true, false or auto.*'no'",
    ),
    ({"flows": {"coarse-0.50": {"generate": 1}}}, "generate: must be true, false or auto; found 1"),
    ({"flows": {"coarse-0.50": {"ensemble": 2010, "islands": 20}}}, "multiple of islands"),
    ({"flows": {"coarse-0.50": {"islands": 2}}}, "coarse-0.50.islands: .*equal to 3, found 2"),
    (
        {"references": {"tempered": {"walkers": 1, "rounds": 5, "thin": 3}}},
        "flows.*reference: 'tempered' records one sample .*; allowed: at least 2",
    ),
    (
        {"flows": {"coarse-0.50": {"published_by_level": {"cess": [0.5, 0.6]}}}},
        "published_by_level.cess: 2 values for 1 levels",
    ),
    (
        {"references": {"tempered": {"ladder": {"largest_step": 0.1}}}},
        "6 levels with a largest_step of 0.1 do not reach 1",
    ),
    ({"flows": {"a/b": {"reference": "coarse", "theta": 0}}}, "name 'a/b' may hold only"),
    ({"potential": {"name": "threewell"}}, "potential.name: .*did you mean 'three_well'"),
    ({"generation": {"base_points": "sobol", "samples": 3}}, "generation: sobol needs samples"),
    ({"generation": {"convergence": [10**9]}}, "generation: convergence sizes"),
    ({"base": {"sd": -1}}, "base.sd: must be positive"),
    ({"base": {"tails": 0.5}}, "base.tails: .*greater than or equal to 1, found 0.5"),
    ({"base": {"tails": [3, 3]}}, r"base.tails: .*found \[3, 3\]"),
    ({"flows": {"coarse-0.50": {"network": {"bins": 901}}}}, "network.bins: .*900, found 901"),
    ({"flows": {"coarse-0.50": {"network": {"layer": 2}}}}, "network: unknown key 'layer'; "),
    (
        {"flows": {"coarse-0.50": {"network": {"kind": "splain"}}}},
        r"coarse-0\.50\.network\.kind: unknown map 'splain'; .*did you mean 'spline'",
    ),
    ({"flows": {"coarse-0.50": {"network": {"kind": 3}}}}, r"network\.kind: must be 'spline'"),
    ({"flows": {"coarse-0.50": {"loss": {"kind": "jefreys"}}}}, "loss.kind: .* mean 'jeffreys'"),
    ({"seed": 3}, "'seed' is set in config.yaml"),
    ({"references": {"tempered": {"rounds": True}}}, f"{TEMPERED}.rounds: .*number; found true"),
    ({"flows": {"coarse-0.50": {"theta": True}}}, "theta: must be a number or auto; found true"),
    ({"base": {"sd": [1.0, True]}}, "base.sd.1: must be a number; found true"),
    ({"references": {"tempered": {"kernel": {"adapt": 1}}}}, "adapt: must be true or false; found"),
    ({"generation": {"samples": 10**400}}, "generation.samples: .* found a number of 1329 bits"),
    ({"base": {"sd": []}}, r"base.sd: must be a number, or one a coordinate; found \[\]"),
    ({"title": b"bytes"}, "title: must be .* found b'bytes'"),
    ({"base": {"mean": 1e400}}, "base.mean: must be a finite number; found inf"),
    ({"base": {"sd": [-0.0, 1.0]}}, "base.sd: must be positive"),
    ({"generation": {"convergence": [0]}}, r"convergence\.0: .*equal to 1, found 0"),
    ({"generation": {"convergence": [-100]}}, r"convergence\.0: .*equal to 1, found -100"),
    ({"generation": {"convergence": [100, 100]}}, "convergence sizes must differ"),
    ({"observables": ["sin(x1)", "sin( x1 )"]}, r"observables: 'sin\( x1 \)' is there twice"),
    ({"observables": ["-" * 900 + "x1"]}, "observables: '--.* is nested too deeply"),
    ({"observables": ["9" * 400 + "*x1"]}, "observables: '99.* holds a number that is too large"),
    ({"observables": ["1e999*x1"]}, "observables: '1e999.x1' holds a number that is too large"),
    ({"observables": [""]}, r"observables\.0: must not be empty"),
    ({"observables": ["x1\n"]}, r"observables\.0: must be one line .* found a line break"),
    ({"title": "\x1b[31mred"}, r"title: must be one line .* control character '\\x1b'"),
    ({"title": ["a"]}, r"title: must be text, found \['a'\]"),
    ({"truth": {"box": [[1, -1], [-4, 4]]}}, "truth: box of x1: lower < upper"),
    ({"truth": {"box": [[-4, 4]] * 3}}, "truth: box: one interval a coordinate, 1 or 2, found 3"),
    ({"truth": {"box": [[0, 1e-320], [0, 1]]}}, r"box.*(cannot be divided|lower < upper)"),
    ({"truth": {"box": [[0, float("inf")], [0, 1]]}}, r"truth\.box\.0\.1: must be a finite number"),
    ({"truth": {"method": "quadratur"}}, "truth.method: .*; did you mean 'quadrature'"),
    (
        {"profiles": [{"expression": "x1", "lower": 0, "upper": 1e-320}]},
        r"profiles\.0: .*(cannot be divided into 64 parts|lower < upper)",
    ),
    (
        {"flows": {"coarse-0.50": {"published": {"es": 0.5}}}},
        "coarse-0.50: published: unknown key 'es'.*did you mean 'ess'",
    ),
    (
        {"flows": {"coarse-0.50": {"published_by_level": {"ces": [0.5]}}}},
        "published_by_level: unknown key 'ces'.*did you mean 'cess'",
    ),
    (
        {"references": {"tempered": {"published": {"ess": 0.5}}}},
        f"{TEMPERED}: published: unknown key 'ess'; allowed: bias, log_z",
    ),
    ({"flows": {"f" * 300: {"reference": "coarse"}}}, "has 300 characters; allowed: 100"),
    ({"flows": {"": {"reference": "coarse"}}}, "name '' may hold only"),
    ({"references": {"tempered": {"ladder": {"kind": "fixd"}}}}, "kind must be .* mean 'fixed'"),
    ({"potential": {"parameters": {"a": float("nan")}}}, "parameters.a: must be a finite number"),
    ({"title": "long " * 1000}, "title: must have at most 1000 characters, found 5000"),
]


WELL = "quantum_double_well"
BAD_PATH_INTEGRALS = [
    ({"path_integral": {"beads": [8, 11]}}, "path_integral: beads: beads are even .*, found 11"),
    ({"path_integral": {"action_beads": 9}}, "action_beads: beads are even .*, found 9"),
    ({"path_integral": {"beads": [6, 8]}}, "beads: 6 beads have fewer modes than 7"),
    ({"path_integral": {"action_beads": 4}}, "action_beads: 4 beads have fewer modes than 7"),
    ({"path_integral": {"beads": [12, 8]}}, "beads must increase strictly, found"),
    ({"path_integral": {"beads": []}}, "path_integral.beads: .*at least 1 item"),
    ({"base": {"tails": 3}}, "base.tails: a path_integral has a base of its own"),
    ({"path_integral": {"beta": 0}}, "path_integral.beta: .*greater than 0, found 0"),
    ({"path_integral": {"beta": -1}}, "path_integral.beta: .*greater than 0, found -1"),
    ({"path_integral": {"modes": 0}}, "path_integral.modes: .*found 0"),
    ({"path_integral": {"high": "zeros"}}, "path_integral.high: .*'zero' or 'curvature', found"),
    (
        {"path_integral": None},
        "references.classical.target: classical is for a path_integral only",
    ),
    (
        {"flows": {"second": {"reference": "frist"}}},
        "flows.second.reference: unknown reference 'frist'.*did you mean 'first'",
    ),
    (
        {"flows": {"first": {"reference": "second"}}},
        "flows.first.reference: unknown reference 'second'; allowed: classical",
    ),
    ({"flows": {"first": {"reference": "first"}}}, "unknown reference 'first'; allowed: classical"),
    (
        {"flows": {"first": {"levels": "last"}}},
        "flows.second.reference: 'first' has one level; a sequence .* with `levels: all`",
    ),
]


@pytest.mark.parametrize(("override", "message"), BAD_PATH_INTEGRALS)
def test_a_mistake_in_a_path_integral_is_one_line(override: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        resolved(experiments=WELL, overrides={WELL: override})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("ring", "trained_again"),
    [
        ({"beads": [8, 16]}, False),
        ({"added_modes": "plain"}, False),
        ({"action_beads": 64}, True),
        ({"high": "zero"}, True),
        ({"modes": 5}, True),
        ({"beta": 2}, True),
    ],
)
def test_only_what_a_flow_is_trained_for_changes_its_hash(
    ring: dict[str, Any], trained_again: bool
) -> None:
    plain = resolved(experiments=WELL)
    other = resolved(experiments=WELL, overrides={WELL: {"path_integral": ring}})
    assert (plain.reference_hash("classical") != other.reference_hash("classical")) == trained_again
    for flow in ("first", "second"):
        assert (plain.flow_hash(flow) != other.flow_hash(flow)) == trained_again
        assert (plain.generation_hash(flow) != other.generation_hash(flow)) == trained_again
        assert plain.bead_hash(flow) != other.bead_hash(flow)


def test_exact_values_are_made_again_for_other_beads_but_not_for_another_reference_of_theirs() -> (
    None
):
    plain = resolved(experiments=WELL)
    for ring, again in (({"beads": [8, 16]}, True), ({"added_modes": "plain"}, False)):
        other = resolved(experiments=WELL, overrides={WELL: {"path_integral": ring}})
        assert (plain.truth_hash() != other.truth_hash()) == again


def test_a_flow_of_a_flow_depends_on_it_and_not_the_other_way_round() -> None:
    plain = resolved(experiments=WELL)
    for changed in ("first", "second"):
        override = {WELL: {"flows": {changed: {"theta": 0.5}}}}
        other = resolved(experiments=WELL, overrides=override)
        assert (plain.flow_hash("first") != other.flow_hash("first")) == (changed == "first")
        assert plain.flow_hash("second") != other.flow_hash("second")
    assert plain.tempered("second") == "classical"
    assert plain.flow_steps("second") == 10


@pytest.mark.parametrize(("override", "message"), BAD_OVERRIDES)
def test_a_mistake_is_one_line_that_names_it(override: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        resolved(overrides={"three_well": override})
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) <= 500
    assert "three_well" in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scal": "quick"}, "unknown key 'scal'.*did you mean 'scale'"),
        ({"scale": "smok"}, "unknown scale 'smok'.*did you mean 'smoke'"),
        ({"experiments": "threewell"}, "unknown experiment 'threewell'.*'three_well'"),
        ({"experiments": "mine.yaml"}, "mine.yaml: no such file"),
        ({"seed": -1}, "seed: .*found -1"),
        ({"overrides": {"three_wel": {}}}, "overrides: unknown experiment 'three_wel'"),
    ],
)
def test_a_mistake_in_the_project_is_one_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        resolved(**settings)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("scales: [quick]", r"scales: must hold keys and values, found \['quick'\]"),
        ("scales: {quick: fast}", r"scales\.quick: must hold keys and values, found 'fast'"),
        ("flow_defaults: 3", "flow_defaults: must hold keys and values, found 3"),
        ("flows: 3", "flows: must hold keys and values, found 3"),
        ("flows: {f: 3}", r"flows\.f: must hold keys and values, found 3"),
        ("references:", "references: .*at least 1 item"),
    ],
)
def test_a_section_that_is_none_is_named(lines: str, message: str, tmp_path: Path) -> None:
    content = yaml.safe_load((ROOT / "workflow/experiments/periodic_well.yaml").read_text())
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(content | yaml.safe_load(lines)))
    with pytest.raises(UserError, match=message) as caught:
        resolve_project(Project(experiments=[str(file)]), ROOT)
    assert str(file) in str(caught.value)


def test_a_description_may_have_several_lines() -> None:
    text = "several\n\tlines\n"
    assert resolved(overrides={"three_well": {"description": text}}).description == text


@pytest.mark.parametrize(
    ("text", "refused"),
    [("5", None), ("5.0", None), ("5e0", None), ('"5"', "quotes"), ("yes", "true"), ("5.5", "5.5")],
)
def test_numbers_in_files_are_numbers(text: str, refused: str | None, tmp_path: Path) -> None:
    source = (ROOT / "workflow" / "experiments" / "three_well.yaml").read_text()
    file = tmp_path / "mine.yaml"
    file.write_text(source.replace("walkers: 500", f"walkers: {text}", 1))
    project = Project(experiments=[str(file)])
    if refused is None:
        assert resolve_project(project, ROOT)["mine"].reference("tempered").walkers == 5
        return
    with pytest.raises(UserError, match=rf"tempered\.walkers: .*{refused}"):
        resolve_project(project, ROOT)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("report.html", "something else in the results folder"),
        ("summary.csv", "something else in the results folder"),
        ("Usage", "something else in the results folder"),
        ("my well", "may hold only letters, digits"),
        (".hidden", "may hold only letters, digits"),
        ("-x", "may hold only letters, digits"),
        ("a" * 101, "has 101 characters; allowed: 100"),
    ],
)
def test_a_file_whose_name_cannot_be_that_of_an_experiment(
    name: str, message: str, tmp_path: Path
) -> None:
    text = (ROOT / "workflow" / "experiments" / "three_well.yaml").read_text()
    (tmp_path / f"{name}.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        resolve_project(Project(experiments=[str(tmp_path / f"{name}.yaml")]), ROOT)


def test_a_key_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("experiments: [annulus]\nseed: 1\n\nseed: 2\n")
    with pytest.raises(UserError, match="line 4: key 'seed' is there twice, first in line 2"):
        load_project(tmp_path / "config.yaml")


def test_any_number_of_experiments_may_come_as_one_text() -> None:
    names = [f"experiment_{i}" for i in range(200)]
    assert load_project(ROOT / "config.yaml", {"experiments": ",".join(names)}).experiments == names


def test_the_home_folder_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    text = (ROOT / "workflow" / "experiments" / "three_well.yaml").read_text()
    (tmp_path / "mine.yaml").write_text(text)
    project = load_project(
        ROOT / "config.yaml", {"results": "~/my results", "experiments": "~/mine.yaml"}
    )
    assert project.results == str(tmp_path / "my results")
    assert list(resolve_project(project, ROOT)) == ["mine"]


def test_two_experiments_of_one_name_are_refused(tmp_path: Path) -> None:
    text = (ROOT / "workflow" / "experiments" / "three_well.yaml").read_text()
    (tmp_path / "three_well.yaml").write_text(text)
    project = Project(experiments=["three_well", str(tmp_path / "three_well.yaml")])
    with pytest.raises(UserError, match="two are named 'three_well'"):
        resolve_project(project, ROOT)


def test_files_that_are_not_yaml_or_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        load_project(tmp_path / "config.yaml")
    (tmp_path / "config.yaml").write_text("a: [")
    with pytest.raises(UserError, match="not valid YAML") as caught:
        load_project(tmp_path / "config.yaml")
    assert "\n" not in str(caught.value)
    (tmp_path / "config.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not a text file in UTF-8"):
        load_project(tmp_path / "config.yaml")
    (tmp_path / "config.yaml").write_text("- a")
    with pytest.raises(UserError, match="must hold keys and values"):
        load_project(tmp_path / "config.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 010", "line 1: 010 is another number in YAML, of base 8"),
        ("a: 1\nrounds: 1:30", "line 2: 1:30 is another number in YAML, of base 60"),
        ("rounds: [1, 0100]", "without leading zeros"),
        ("at: 1:30.5", "without colons"),
        ("0100: 1", "is another number"),
    ],
)
def test_numbers_that_yaml_reads_otherwise_are_refused(
    text: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        read_yaml(tmp_path / "a.yaml")


def test_numbers_that_yaml_reads_as_they_are(tmp_path: Path) -> None:
    texts = {"0": 0, "-0.5": -0.5, "0.25": 0.25, "1e3": 1e3, "0x10": 16, "'010'": "010"}
    for text, value in texts.items():
        (tmp_path / "a.yaml").write_text(f"a: {text}\n")
        assert read_yaml(tmp_path / "a.yaml") == {"a": value}
    assert read_yaml(ROOT / "config.yaml")
