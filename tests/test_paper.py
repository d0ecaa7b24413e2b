"""`paper.yaml`: every figure and table is there, with what is published, and names what exists."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from jeffreysflow.analysis import learned_estimates, level_facts
from jeffreysflow.cli import main
from jeffreysflow.config import experiment_names
from jeffreysflow.config.paper import QUANTITIES, load_paper
from jeffreysflow.launch.flow_settings import rejuvenation_kernel
from jeffreysflow.report.paper.checks import check_paper, experiments_there
from jeffreysflow.report.paper.tables import printed
from jeffreysflow.stores.tables import ConvergenceRow
from paper_cases import FACTS, PRINTED, ROOT, a_project, resolved

PAPER = load_paper(FACTS)


def test_every_figure_and_table_has_its_place() -> None:
    figures = {f"Figure {k}" for k in range(1, 14)}
    assert set(PAPER.items) == figures | {f"Table {k}" for k in ("I", "II", "III", "IV", "V")}


@pytest.mark.parametrize("number", PAPER.items)
def test_every_published_value_is_there(number: str) -> None:
    tables = PAPER.items[number].tables
    series = [each for table in tables for each in table.series if each.published]
    assert [" ".join(printed(each)) for each in series] == PRINTED.get(number, [])


def test_published_values_are_those_of_the_experiments() -> None:
    """Where an experiment's own page shows some of them, too."""
    compared = 0
    for item in PAPER.items.values():
        for table in item.tables:
            for series in table.series:
                experiment = resolved(table.experiment_of(series), "quick")
                for ours in series.ours:
                    for k, value in enumerate(series.published):
                        source, flows = ours.at(k), experiment.flows
                        if source not in flows or table.along != "last":
                            continue
                        name = ours.quantity.replace("amortised_", "")
                        known = flows[source].published.get(name)
                        if known is not None and value is not None:
                            assert known == pytest.approx(value / series.factor), (source, name)
                            compared += 1
    assert compared >= 50
    levels = resolved("rastrigin_8d", "quick").flows["published"].published_by_level["cess"]
    table = PAPER.items["Table I"].tables[0]
    assert table.series[0].published == pytest.approx([100 * (x or 0) for x in levels])
    ring = resolved("quantum_double_well_published", "quick").path_integral
    assert ring is not None
    table = PAPER.items["Table V"].tables[0]
    known = dict(zip(table.positions, table.series[0].published, strict=True))
    assert known == ring.published_distance


def test_what_is_named_is_there_at_every_scale_or_to_come() -> None:
    there = experiments_there(PAPER, ROOT, experiment_names(ROOT))
    assert set(PAPER.experiments) <= {*there, *PAPER.to_come}
    for scale in ("smoke", "paper"):
        check_paper(PAPER, {name: resolved(name, scale) for name in there})


def test_positions_are_levels_of_the_ladders_they_are_published_for() -> None:
    for number, item in PAPER.items.items():
        for table in item.tables:
            for series in table.series if table.along == "lambda" else ():
                experiment = resolved(table.experiment_of(series), "quick")
                for ours in series.ours:
                    kind, _, rest = (ours.source[0] or "").partition(":")
                    name = rest.partition(":")[0] or kind
                    if name in experiment.flows:
                        name = experiment.tempered(name)
                    ladder = experiment.references[name].ladder
                    if ladder.kind == "fixed":
                        assert set(table.positions) <= set(ladder.values), number


def test_weights_after_biased_moves_are_not_called_exact() -> None:
    biased = set()
    for number, item in PAPER.items.items():
        for table in item.tables:
            for series in table.series:
                flows = resolved(table.experiment_of(series)).flows
                for ours in series.ours:
                    source = str(ours.source[0]).removeprefix("ensemble:")
                    if source not in flows or table.along != "lambda":
                        continue
                    flow = flows[source]
                    moved = flow.rejuvenation_steps and not rejuvenation_kernel(flow).exact
                    assert bool(moved) == ("biased moves" in ours.label), (number, ours.label)
                    assert not (moved and "exact" in ours.label), (number, ours.label)
                    biased |= {number} if moved else set()
    assert biased == {"Table II", "Table III", "Table IV"}


def test_what_is_looked_up_is_what_estimates_hold() -> None:
    rows = {*level_facts._CALLED.values(), "amortised_ess", "bias", "noise_floor", "log_z"}
    assert set(QUANTITIES["lambda"]) | set(QUANTITIES["last"]) <= rows
    learned = {*learned_estimates._FACTS, "bias"}
    for item in PAPER.items.values():
        for series in (series for table in item.tables for series in table.series):
            for ours in series.ours:
                if (ours.source[0] or "").startswith("learned:"):
                    assert ours.quantity in learned
    assert set(QUANTITIES["samples"]) <= set(ConvergenceRow._fields)


def _series(content: dict, number: str = "Table I") -> dict:
    return content["items"][number]["tables"][0]["series"][0]


MISTAKES: list[tuple[Callable[[dict], object], str]] = [
    (lambda c: c.update(item={}), "unknown key 'item'; allowed: items, source, to_come; did you"),
    (lambda c: _series(c).update(unti="percent"), "unknown key 'unti'"),
    (lambda c: _series(c).update(unit="percents"), "did you mean 'percent'?"),
    (lambda c: _series(c).update(published=[1, 2]), "2 published values for 22 positions"),
    (lambda c: _series(c).update(resampled_at=[23]), "resampled_at: from 1 to 22"),
    (lambda c: _series(c)["ours"][0].update(quantity="ces"), "did you mean 'cess'?"),
    (lambda c: _series(c)["ours"][0].update(source=["published", None]), "2 sources for 22"),
    (lambda c: _series(c)["ours"][0].update(source="publishd"), "did you mean 'published'?"),
    (
        lambda c: _series(c, "Table III")["ours"][0].update(source="learned:on_naive:stochastc"),
        "did you mean 'learned:on_naive:stochastic'?",
    ),
    (lambda c: c["items"]["Table I"]["tables"][0].pop("experiment"), "no experiment is named"),
    (
        lambda c: c["items"]["Table I"]["tables"][0].update(experiment="rastrigin"),
        "unknown experiment 'rastrigin'",
    ),
    (
        lambda c: c["items"]["Figure 6"].update(figures={"rastrigin_8d": ["profile"]}),
        "Figure 6: rastrigin_8d: unknown figure 'profile'",
    ),
    (
        lambda c: c["items"].update({"Fig. 6": c["items"]["Figure 6"]}),
        "'Fig. 6': an item is called",
    ),
    (lambda c: c["items"]["Figure 6"].pop("figures"), "Figure 6: needs an image, figures or"),
    (lambda c: c["items"]["Figure 6"].update(shows="two\nlines"), "one line of plain text"),
    (lambda c: c["items"]["Figure 6"].pop("shows"), "items.Figure 6.shows: must be given"),
]


@pytest.mark.parametrize(("change", "said"), MISTAKES, ids=[said[:30] for _, said in MISTAKES])
def test_a_mistake_is_one_line_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Callable[[dict], None], said: str
) -> None:
    facts = a_project(tmp_path / "project", change)
    (tmp_path / "results").mkdir()
    code = main(["paper", "--results", str(tmp_path / "results"), "--facts", str(facts)])
    errors = capsys.readouterr().err
    assert code == 2
    assert errors.count("\n") == 1
    assert said in errors
    assert not (tmp_path / "results" / "paper.html").exists()


def test_the_experiments_of_the_paper_in_a_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As `make paper` asks for them, before any work: those to come are left out until they are
    there.
    """
    monkeypatch.chdir(ROOT)
    assert main(["list", "--paper"]) == 0
    listed = capsys.readouterr().out.strip().split(",")
    assert listed == [name for name in PAPER.experiments if name in experiment_names(ROOT)]
    a_project(
        tmp_path / "project",
        lambda c: (
            c.update(to_come=["later"]),
            c["items"].update({"Figure 6": {"shows": "later", "figures": {"later": ["levels"]}}}),
        ),
    )
    monkeypatch.chdir(tmp_path / "project")
    assert main(["list", "--paper"]) == 0
    assert "later" not in capsys.readouterr().out
