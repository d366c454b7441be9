import csv
import io

import pytest

from seqhead.sweep_text import sweep_text
from seqhead.sweeps.page import leaderboard_page


@pytest.fixture
def report(toy, sweep_in):
    """A sweep with a candidate that failed."""
    return sweep_in(toy, ["rnn=gru,lstm,transformer", "hidden=4", "epochs=2", "learning-rate=1e20"])


def test_the_table_has_every_candidate_with_its_values_and_cost(report):
    rows = list(csv.DictReader(io.StringIO(report.leaderboard.csv())))
    assert [row["rank"] for row in rows] == ["1", "2", ""]
    for row in rows[:2]:
        assert float(row["score_low"]) <= float(row["score"]) <= float(row["score_high"])
        assert int(row["parameters"]) > 0
        assert float(row["seconds"]) > 0
        assert (row["hidden"], row["epochs"], row["epochs_run"]) == ("4", "2", "2")
        assert float(row["auc:ICH"]) <= 1
    assert rows[0]["difference_low"] == ""
    assert float(rows[1]["difference_low"]) <= float(rows[1]["difference_high"])
    assert "learning rate" in rows[2]["error"]


def test_the_page_needs_nothing_else_and_says_what_is_optimistic(report):
    page = (report.folder.path / "leaderboard.html").read_text()
    for outside in ("http://", "https://", "src=", "<link", "<script", "@import"):
        assert outside not in page
    assert "optimistic: the best of 2" in page
    assert "test patients whom no trial saw" in page
    assert page.count("<tr class=") == 3


def test_the_page_of_a_sweep_that_goes_on_says_so(report):
    document = {**report.document(), "winner": None}
    assert "Not finished" in leaderboard_page(document)
    waiting = {**document["leaderboard"][-1], "state": "waiting", "seconds": None, "error": None}
    assert "waiting" in leaderboard_page({**document, "leaderboard": [waiting]})


@pytest.mark.parametrize(
    ("others", "near", "sentence"),
    [
        (1, 0, "The other one can be told from it: the interval of the difference does not hold 0"),
        (1, 1, "The other one cannot be told from it: the interval of the difference holds 0"),
        (5, 0, "All of the 5 others can be told from it: no interval of a difference holds 0"),
        (5, 1, "1 of the 5 others cannot be told from it: the interval of the difference holds 0"),
        (5, 3, "3 of the 5 others cannot be told from it: the intervals of the differences hold 0"),
        (5, 5, "None of the 5 others can be told from it: the intervals of all differences hold 0"),
    ],
)
def test_how_far_the_winner_is_ahead_is_a_sentence(report, others, near, sentence):
    document = report.document()
    first, second = document["leaderboard"][:2]
    document |= {"leaderboard": [first, *[second] * others], "within_noise": near}
    document["trials"] |= {"complete": others + 1}
    assert sentence in sweep_text(document)


def test_a_winner_without_others_is_the_only_one(toy, sweep_in):
    lines = "\n".join(sweep_text(sweep_in(toy, ["rnn=gru", "hidden=4", "epochs=2"]).document()))
    assert ", the only one; inner AUC" in lines
    assert "told from it" not in lines


def test_what_a_user_wrote_is_escaped(report):
    document = report.document()
    page = leaderboard_page({**document, "labels": ["<script>alert(1)</script>"]})
    assert "<script>" not in page


def test_the_text_names_the_winner_its_test_and_what_failed(report):
    lines = "\n".join(sweep_text(report.document()))
    winner = report.document()["winner"]
    assert f"winner: trial {winner['trial']}" in lines
    assert "optimistic" in lines
    assert f"test AUC of the winner, fitted again: {winner['test']['score']:.3f}" in lines
    assert "failed: 1 transformer candidate: " in lines
    assert winner["command"] in lines
