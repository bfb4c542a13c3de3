"""What becomes of the figures of rounds."""

import pytest

from tests.bench import report
from tests.bench.figures import Aim, Column, Row, Table

COLUMNS = (Column("rate", "calls/s"), Column("cpu", "CPU µs/call", scale=1e6))


def table(*aims: Aim) -> Table:
    ours = Row(
        "ours", rounds={0: {"rate": 100, "cpu": 2e-6}, 1: {"rate": 300, "cpu": 3e-6}, 2: {"rate": 90, "cpu": 4e-6}}
    )
    peer = Row("peer", "as it is", rounds={0: {"rate": 50}, 1: {"rate": 100}, 2: {"rate": 90}})
    absent = Row("other", absent="Go is not on the PATH")
    broken = Row("broken", failed=["void: 99 of 100 calls have succeeded"])
    return Table("case", "A case", "rate", COLUMNS, [ours, peer, absent, broken], ["ours"], aims)


def test_a_ratio_is_the_median_of_the_rounds_ratios() -> None:
    made = table()
    assert made.ratio(made.row("ours"), made.row("peer")) == 2
    assert made.row("ours").median("rate") == 100  # type: ignore[union-attr]


def test_rounds_in_which_one_of_two_is_missing_make_no_ratio() -> None:
    made = table()
    made.rows[0].rounds = {7: {"rate": 1}}
    assert made.ratio(made.row("ours"), made.row("peer")) is None
    assert made.ratio(made.row("ours"), made.row("nobody")) is None


@pytest.mark.parametrize(
    ("aim", "met"),
    [
        (Aim("ours", "peer", at_least=2), True),
        (Aim("ours", "peer", at_least=2.1), False),
        (Aim("ours", "peer", at_most=2), True),
        (Aim("ours", "other", at_least=2), None),
        (Aim("ours", at_most=3, figure="cpu"), True),
        (Aim("ours", at_most=2.9, figure="cpu"), False),
    ],
)
def test_an_aim_is_met_or_short_or_was_not_run(aim: Aim, met: bool | None) -> None:
    [verdict] = table(aim).verdicts()
    assert verdict.met is met


def test_beside_a_ratio_stands_that_of_the_costs() -> None:
    made = table(Aim("ours", "peer", at_least=2))
    made.cost = "cpu"
    for figures in made.rows[1].rounds.values():
        figures["cpu"] = 6e-6  # type: ignore[index]
    [verdict] = made.verdicts()
    assert verdict.by_cost == pytest.approx(2)
    assert "by CPU per call" in report.markdown(made)


def test_no_row_is_left_out_and_each_without_figures_says_why() -> None:
    printed = report.markdown(table(Aim("ours", "other", at_least=2)))
    assert "| other  | not run: Go is not on the PATH" in printed
    assert "| broken | not run: void: 99 of 100 calls have succeeded" in printed
    assert "- peer: as it is" in printed
    assert "| ours ÷ other | ≥ 2 |          | not run |" in printed


def test_what_failed_is_a_problem_and_what_is_missing_where_nothing_may_be() -> None:
    made = table()
    assert made.problems() == ["case: broken: void: 99 of 100 calls have succeeded"]
    assert made.problems(nothing_missing=True)[1:] == ["case: other: Go is not on the PATH"]
    made.rows[2].optional = True
    assert len(made.problems(nothing_missing=True)) == 1


def test_json_has_every_round() -> None:
    [case] = report.as_json([table(Aim("ours", "peer", at_least=2))], {"cores": "2"})["cases"]
    assert case["rows"][0]["rounds"][1] == {"round": 1, "rate": 300, "cpu": 3e-6}
    assert case["rows"][1]["ratios"] == {"ours": 2}
    assert case["aims"][0]["met"] is True


def test_a_page_gets_new_parts_between_its_marks_alone() -> None:
    page = "a\n<!-- bench: machine -->\nold\n<!-- /bench -->\nb\n<!-- bench: aims -->\n<!-- /bench -->\nc\n"
    once = report.replaced(page, {"machine": "new", "aims": "a \\1"})
    assert once == (
        "a\n<!-- bench: machine -->\n\nnew\n\n<!-- /bench -->\nb\n<!-- bench: aims -->\n\na \\1\n\n<!-- /bench -->\nc\n"
    )
    assert report.replaced(once, {"machine": "new", "aims": "a \\1"}) == once
    with pytest.raises(ValueError, match="no place for tables"):
        report.replaced(page, {"tables": ""})
