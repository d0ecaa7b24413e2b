"""The page of the paper, from results of which some are there, some begun, and some missing."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import pytest

from jeffreysflow.cli import main
from jeffreysflow.config import Experiment
from jeffreysflow.config.paper import load_paper
from jeffreysflow.errors import UserError
from jeffreysflow.report.paper.tables import printed
from jeffreysflow.report.provenance import StageRecord, last_finished
from jeffreysflow.stages import paper
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.sealed import write_sealed
from jeffreysflow.stores.tables import BeadRow, BeadTruthRow, EstimateRow, write_table
from jeffreysflow.stores.usage import Used, write_used
from paper_cases import FACTS, PRINTED, a_project, fabricate, resolved

SINGLE = [
    EstimateRow(1, "amortised_ess", 0.9512, 0.001),
    EstimateRow(1, "bias", 0.0123, 0.001),
    EstimateRow(1, "noise_floor", 0.0081),
]


def steps(lams: list[float]) -> list[EstimateRow]:
    """Of each level: its lambda, and an effective size that tells which it is."""
    rows = []
    for k, lam in enumerate(lams, start=1):
        rows += [EstimateRow(k, "lam", lam), EstimateRow(k, "cess", 0.9 + k / 1000)]
        rows += [EstimateRow(k, "ess", 0.8 + k / 1000, 0.0001)]
        rows += [EstimateRow(k, "resampled", float(k == 2))]
    return rows


def page_of(results: Path, facts: Path = FACTS) -> str:
    assert main(["paper", "--results", str(results), "--facts", str(facts)]) == 0
    return (results / "paper.html").read_text()


def item(page: str, number: str) -> str:
    """The text of one item, without its pictures and with tags as separators."""
    (found,) = re.findall(rf'<section id="{number}">(.*?)</section>', page, re.S)
    text = re.sub(r"<[^>]*>", "|", re.sub(r'src="[^"]*"', "", found))
    return html.unescape(re.sub(r"[|\s]*\|[|\s]*", "|", text))


@pytest.fixture(scope="module")
def some(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One experiment of Figure 2, the one of Table I on its smoke ladder, and the path integral."""
    results = tmp_path_factory.mktemp("results")
    wells = resolved("three_well")
    fabricate(results, wells, flow=SINGLE)
    fabricate(results, resolved("rastrigin_8d"), flow=steps([0.05, 0.2, 1]))
    ring = resolved("quantum_double_well_published")
    layout = fabricate(results, ring, flow=steps([0.3, 1]))
    distance = BeadRow(8, "primitive", "distance_from_quantum", 0.0161, 0.0004, 0.016243)
    write_table(layout.bead_truth, BeadTruthRow, [])
    for flow in ring.generating:
        write_table(layout.flow(flow).beads, BeadRow, [distance])
    write_sealed(results / "report.html", '<section id="three_well">')
    return results


def test_every_published_value_is_on_the_page_whatever_was_run(some: Path, tmp_path: Path) -> None:
    for page in (page_of(some), page_of(tmp_path)):
        for number, series in PRINTED.items():
            text = item(page, number.lower().replace(" ", "-"))
            for each in series:
                for value in each.split():
                    assert f"|{value}|" in text, (number, value)


def test_nothing_was_run(tmp_path: Path) -> None:
    page = page_of(tmp_path)
    assert "<dd>1 of 18 items</dd>" in page  # the drawing of Figure 1
    assert page.count("<section") == 18 + len(["words"])
    assert "|Table V|not run|" in item(page, "table-v")
    assert "quantum_double_well_published: not run" in item(page, "table-v")
    assert "<img" in page


def test_an_item_says_what_was_not_run_in_its_place(some: Path) -> None:
    page = page_of(some)
    text = item(page, "figure-2")
    assert "|Figure 2|in part|" in text
    assert "|himmelblau: not run|annulus: not run|multi_well: not run|" in text
    assert "|ours, the published coarse reference|95.1 ± 0.1|95.1 ± 0.1|" in text
    assert "|ours, a good reference|–|–|95.1 ± 0.1|95.1 ± 0.1|–|" in text
    assert text.count("|ours|not run|") == 6
    assert "|Figure 6|not run|" not in item(page, "figure-6")
    assert "|noisy_mixture_2d: not" in item(page, "table-ii")


def test_an_item_leads_to_what_made_it(some: Path) -> None:
    page = page_of(some)
    assert '<a href="report.html#three_well">Three wells of unequal depth</a>' in page
    assert '<a href="three_well/figures/densities.pdf">' in page
    assert 'href="report.html#rastrigin_8d"' not in page, "the report has no section of it"
    for link in set(re.findall(r'href="#([^"]*)"', page)):
        assert f'<section id="{link}">' in page


def test_a_bias_that_is_no_noise_is_marked_even_if_of_one_observable(tmp_path: Path) -> None:
    wells = resolved("three_well")
    for deviation in (0.0038, 0.0042):
        mean = EstimateRow(1, "observable:x1", deviation, 0.001, 0.0, dof=1e6)
        bias = EstimateRow(1, "bias", 0.0123, 0.01)
        fabricate(tmp_path, wells, flow=[EstimateRow(1, "trusted", 1.0), mean, bias])
        marked = re.findall(r'<td class="bad">0.012 ± 0.010', page_of(tmp_path))
        assert bool(marked) == (deviation > 0.004)


def test_levels_are_found_by_their_lambda(some: Path) -> None:
    """The ladder of scale smoke has three of the 22 published levels."""
    text = item(page_of(some), "table-i")
    assert "|3|0.05|91.0|90.1|82.6|80.10 ± 0.01|" in text
    assert "|6|0.2|74.6|90.2|74.6|80.20 ± 0.01|resampled|" in text
    assert "|22|1|85.6|90.3|74.1|80.30 ± 0.01|" in text
    assert "|5|0.15|71.5|–|[100]|–|" in text


def test_beads_have_their_exact_value_beside_them(some: Path) -> None:
    text = item(page_of(some), "table-v")
    assert "|published|0.0160|0.00745|" in text
    assert "|ours|0.0161 ± 0.0004|–|" in text
    assert "|exact at N beads|0.0162|–|" in text


def test_scale_seed_versions_and_what_is_complete_are_told(some: Path) -> None:
    page = page_of(some)
    assert "<dd>smoke; 1</dd>" in page
    assert "torch 2" in page
    # figures 1, 6 and 12; of figure 13 and tables I and V there are some values only
    assert re.findall(r"<dd>(\d+) of 18 items</dd>", page) == ["3"]
    assert "CESS in per cent (ours): nothing at 19 of the 22 λ of the table" in item(
        page, "table-i"
    )
    assert page == page_of(some)


def test_what_is_not_trusted_is_not_said_to_be_as_good(tmp_path: Path) -> None:
    wells = resolved("three_well")
    for trusted in (1.0, 0.0):
        results = tmp_path / str(trusted)
        fabricate(results, wells, flow=[*SINGLE, EstimateRow(1, "trusted", trusted)])
        page = page_of(results)
        assert ("|not trusted|" in item(page, "figure-2")) == (trusted == 0)
        assert ('class="good"' in page or "good" in re.findall(r'<td class="(\w+)"', page)) == (
            trusted == 1
        )


@pytest.mark.parametrize(
    ("about", "good", "said"),
    [
        ({"trusted": 1.0}, ["91.0", "96.0"], False),
        ({"trusted": 0.0}, ["91.0"], True),
        ({"trusted": 1.0, "exact_moves": 0.0}, [], False),
    ],
)
def test_levels_are_good_by_the_trust_of_their_ensemble(
    about: dict[str, float], good: list[str], said: bool, tmp_path: Path
) -> None:
    rows = [EstimateRow(1, "lam", 0.05), EstimateRow(1, "cess", 0.91)]
    rows += [EstimateRow(2, "lam", 1.0), EstimateRow(2, "cess", 0.96)]
    rows += [EstimateRow(2, f"ensemble:{name}", value) for name, value in about.items()]
    fabricate(tmp_path, resolved("rastrigin_8d"), flow=rows)
    page = page_of(tmp_path)
    assert re.findall(r'<td class="good">(\d\d\.\d)', page) == good
    assert ("|96.0|not trusted|" in item(page, "table-i")) == said


def test_what_is_lacking_of_a_finished_experiment_is_named(tmp_path: Path) -> None:
    layout = fabricate(tmp_path, resolved("rastrigin_8d"), flow=[EstimateRow(1, "lam", 0.05)])
    page = page_of(tmp_path)
    assert "CESS in per cent (ours): nothing at any λ of the table" in item(page, "table-i")
    (layout.figures / "profiles.svg").unlink()
    (layout.figures / ".profiles.svg.sha256").unlink()
    text = item(page_of(tmp_path), "figure-6")
    assert "|rastrigin_8d: not run to the end: figures/profiles.svg: No such file" in text


def test_a_run_that_was_stopped_or_begun_anew_is_not_at_its_end(tmp_path: Path) -> None:
    wells = resolved("three_well")
    layout = fabricate(tmp_path, wells, flow=SINGLE)

    def said() -> str:
        (line,) = re.findall(r"\|three_well: ([^|]*)\|", item(page_of(tmp_path), "figure-2")) or [
            ""
        ]
        return line

    assert said() == ""
    place = ("estimate", "coarse-0.00", wells.estimate_hash(), None, 0, 1, 1, "here")
    later = Used(*place, "2099-01-01T00:00:00+0000", True, 1, 1.0, 1.0, 1.0, 0)
    write_used(layout.usage("estimate_flow", "coarse-0.00"), later)
    assert said() == ""
    write_used(layout.usage("estimate_flow", "coarse-0.00"), later._replace(finished="2001"))
    assert said() == (
        "not run to the end: estimates of coarse-0.00 are older than the samples beside them"
    )
    write_used(layout.usage("estimate_flow", "coarse-0.00"), later._replace(hash="other"))
    assert said() == "not run to the end: estimates of coarse-0.00 are of another configuration"
    write_sealed(layout.config, resolved("three_well", "quick").model_dump_json())
    assert "made from another configuration" in said()
    layout.config.write_text("{}")
    assert "changed since" in said() or "checksum differs" in said()


def test_times_are_compared_across_zones(tmp_path: Path) -> None:
    wells = resolved("three_well")
    layout = fabricate(tmp_path, wells, flow=SINGLE)
    place = ("estimate", "coarse-0.00", wells.estimate_hash(), None, 0, 1, 1, "here")
    used = layout.usage("estimate_flow", "coarse-0.00")
    files = layout.flow("coarse-0.00")
    # the end of summer time: the later of two has the smaller clock
    for made, estimated, older in (
        ("2026-10-25T02:59:00+0200", "2026-10-25T02:00:00+0100", False),
        ("2026-10-25T02:00:00+0100", "2026-10-25T02:59:00+0200", True),
    ):
        for file in (files.level(1) / "done.json", files.generated / "done.json"):
            record = {**json.loads(file.read_text()), "finished": made}
            write_sealed(file, json.dumps(record))
        write_used(used, Used(*place, estimated, True, 1, 1.0, 1.0, 1.0, 0))
        text = item(page_of(tmp_path), "figure-2")
        assert ("estimates of coarse-0.00 are older than the samples" in text) == older
        both = [StageRecord("x", {"finished": each}) for each in (made, estimated)]
        assert last_finished(both) == "2026-10-25 02:00"


@pytest.mark.parametrize(
    ("finished", "changes", "said"),
    [
        ("2098-01-01T00:00:00+0000", {}, None),
        (
            "2001-01-01T00:00:00+0000",
            {},
            "averages over beads of second are older than the samples",
        ),
        ("2099-06-01T00:00:00+0000", {}, "figures are older than the estimates they show"),
        (
            "2098-01-01T00:00:00+0000",
            {"hash": "other"},
            "averages over beads of second are of another configuration",
        ),
    ],
)
def test_averages_over_beads_belong_to_a_run(
    finished: str, changes: dict[str, str], said: str | None, tmp_path: Path
) -> None:
    ring = resolved("quantum_double_well_published")
    layout = fabricate(tmp_path, ring, flow=steps([0.3, 1]))
    write_table(layout.bead_truth, BeadTruthRow, [])
    for flow in ring.generating:
        write_table(layout.flow(flow).beads, BeadRow, [])
    rest = (None, 0, 1, 1, "here")
    beads = Used(
        "beads", "second", ring.bead_hash("second"), *rest, finished, True, 1, 1.0, 1.0, 1.0, 0
    )
    write_used(layout.usage("beads", "second"), beads._replace(**changes))
    drawn = beads._replace(of="all", hash=ring.estimate_hash(), finished="2099-01-01T00:00:00+0000")
    write_used(layout.usage("figures", "all"), drawn)
    text = item(page_of(tmp_path), "table-v")
    assert ("not run to the end" in text) == (said is not None)
    assert said is None or said in text


OTHERS = "three_well: run with other settings than workflow/experiments/three_well.yaml"


@pytest.mark.parametrize(
    ("changes", "told", "is_there"),
    [
        ({}, False, True),
        ({"seed": 7}, False, True),
        ({"title": "mine", "device": "cpu"}, False, True),
        ({"observables": ["x1"]}, True, True),
        ({"scale": "mine"}, True, False),
        ({"potential": {"name": "ten_wells"}}, True, False),
    ],
)
def test_other_settings_than_those_of_the_workflow_are_told(
    changes: dict[str, object], told: bool, is_there: bool, tmp_path: Path
) -> None:
    wells = resolved("three_well")
    ran = Experiment.model_validate({**wells.model_dump(), **changes})
    fabricate(tmp_path, ran, flow=SINGLE)
    text = item(page_of(tmp_path), "figure-2")
    assert (OTHERS in text) == told
    assert ("|95.1 ± 0.1|" in text) == is_there


def test_facts_that_lie_in_no_project_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "resolve", lambda self, strict=False: Path("/paper.yaml"))
    with pytest.raises(UserError, match="lies in no project"):
        paper.run(tmp_path, FACTS)


def test_a_damaged_table_does_not_fail_the_page(tmp_path: Path) -> None:
    layout = fabricate(tmp_path, resolved("three_well"), flow=SINGLE)
    layout.flow("coarse-0.00").estimates.write_text("level\n")
    assert "not run to the end: flows/coarse-0.00/estimates.csv: damaged" in page_of(tmp_path)
    assert layout.flow("coarse-0.00").estimates.exists(), "looking takes nothing back"


def test_titles_and_texts_are_escaped(tmp_path: Path) -> None:
    hostile = '<script>alert("x")</script>&amp;'
    wells = resolved("three_well").model_copy(update={"title": hostile})
    fabricate(tmp_path / "results", wells, flow=SINGLE)

    def change(content: dict) -> None:
        content["source"] = content["items"]["Figure 2"]["shows"] = hostile
        content["items"]["Figure 2"]["remark"] = hostile
        content["items"]["Figure 2"]["tables"][0]["series"][0]["name"] = hostile
        content["items"]["Figure 2"]["tables"][0]["heading"] = hostile

    page = page_of(tmp_path / "results", a_project(tmp_path / "project", change))
    assert "<script" not in page
    assert page.count(html.escape(hostile)) + page.count("&lt;script&gt;alert(&#34;x&#34;)") > 5


def test_a_folder_that_is_not_there_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["paper", "--results", str(tmp_path / "none"), "--facts", str(FACTS)]) == 2
    assert capsys.readouterr().err.endswith("none: no such folder\n")


def test_published_values_are_printed_with_their_digits() -> None:
    series = load_paper(FACTS).items["Table III"].tables[0].series[0]
    assert printed(series)[-1] == "76.80"
    assert printed(series.model_copy(update={"published": [96.0], "decimals": 0})) == ["96"]
    rounded = series.model_copy(update={"published": [None, 91.0, 93.65], "decimals": 1})
    assert printed(rounded) == ["–", "91.0", "93.65"]


def test_figures_are_in_the_page_itself(some: Path) -> None:
    page = page_of(some)
    assert Layout(some, "rastrigin_8d").figures.exists()
    assert len(re.findall(r'<img src="data:image/svg\+xml;base64,', page)) >= 4
    assert not re.findall(r'(?:src|href)="(?!data:|#|report\.html#|[\w-]+/)', page)
