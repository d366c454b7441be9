"""Candidates are neither lost nor tried twice, whoever is killed when."""

import json
import os
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState

from seqhead.sweeps.outcome import Outcome
from seqhead.sweeps.pruning import GivenUpError
from seqhead.sweeps.queue import MOST_DEATHS, Queue
from seqhead.sweeps.settings import SweepSettings

HELPER = Path(__file__).with_name("kill_workers.py")
MANY = {"rnn": ["gru", "lstm"], "hidden": list(range(4, 24))}
SEARCH = {"rnn": ["gru", "lstm"], "hidden": [4, 8, 16], "epochs": [1, 2]}


def settings_of(sampler="grid", search=SEARCH, trials=12, **other):
    return SweepSettings(
        level="series", metric="auc", sampler=sampler, trials=trials, pruning=True, inner_folds=1,
        seed=0, labels=("ICH",), labels_digest="", features=(), operating_point="youden",
        duplicate_scans="refuse", search=search,
        sources={"store": "s", "labels": "l", "labels_format": "table"}, **other,
    )  # fmt: skip


def queue_in(folder: Path, of: SweepSettings | None = None) -> Queue:
    (folder / "workers").mkdir(exist_ok=True)
    queue = Queue(folder / "journal.log", folder / "workers", of or settings_of())
    queue.fill()
    return queue


class Scored:
    """What a settled candidate needs of a score."""

    def __init__(self, value: float) -> None:
        self.value, self.labels, self.interval = value, {}, None


def settle_all(queue: Queue, me: str = "nobody") -> list[int]:
    done = []
    while (taken := queue.take(me)) is not None:
        queue.settle(taken, Outcome(Scored(taken.number / 100)))
        done.append(taken.number)
    return done


def trials_of(folder: Path, of: SweepSettings | None = None) -> list[optuna.trial.FrozenTrial]:
    return queue_in(folder, of)._trials(None)


def test_a_grid_waits_from_the_start_and_filling_it_again_changes_nothing(tmp_path):
    queue = queue_in(tmp_path)
    queue_in(tmp_path)
    entries = queue.entries()
    assert [entry.state for entry in entries] == ["waiting"] * 12
    assert len({json.dumps(entry.candidate.values) for entry in entries}) == 12


def test_candidates_are_taken_in_order_and_settled_once(tmp_path):
    queue = queue_in(tmp_path)
    assert queue.settled() == 0
    assert settle_all(queue) == list(range(12))
    assert queue.settled() == 12
    assert all(entry.state == "complete" for entry in queue.entries())
    assert queue.take("me") is None


def test_what_a_dead_process_was_trying_is_tried_again_with_the_same_values(tmp_path):
    queue = queue_in(tmp_path)
    first = queue.take("dead")
    again = queue_in(tmp_path).take("me")
    assert again.number == first.number
    assert again.candidate == first.candidate
    old, new = trials_of(tmp_path)[0], trials_of(tmp_path)[-1]
    assert old.state == TrialState.FAIL
    assert old.user_attrs["interrupted"] == "its process ended"
    assert new.user_attrs["repeats"] == old.number
    assert queue.entries()[0].deaths == 1
    assert queue.settled() == 0


def test_what_a_living_process_tries_is_left_to_it(tmp_path):
    from seqhead.sweeps.locks import sign_of_life

    queue = queue_in(tmp_path)
    with sign_of_life(tmp_path / "workers") as alive:
        mine = queue.take(alive)
        assert queue_in(tmp_path).take("other").number != mine.number
    assert queue_in(tmp_path).take("third").number == mine.number


def test_a_drawn_candidate_keeps_its_values_when_it_is_tried_again(tmp_path):
    search = {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}, "hidden": [4, 8]}
    of = settings_of("tpe", search, trials=3)
    queue = queue_in(tmp_path, of)
    first = queue.take("dead")
    assert queue_in(tmp_path, of).take("me").candidate == first.candidate


def test_resumed_draws_are_those_of_one_run(tmp_path):
    search = {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}, "hidden": [4, 8, 16]}
    of = settings_of("tpe", search, trials=20)

    def values(folder: Path, kills: bool) -> list[dict]:
        folder.mkdir()
        queue = queue_in(folder, of)
        for number in range(20):
            if kills and number % 3 == 0:
                queue.take("dead")
                queue = queue_in(folder, of)
            taken = queue.take("me")
            queue.settle(taken, Outcome(Scored(taken.candidate.values["learning_rate"])))
        return [entry.candidate.values for entry in queue.entries()]

    assert values(tmp_path / "one", False) == values(tmp_path / "killed", True)


def test_a_candidate_whose_processes_always_die_is_given_up_with_the_reason(tmp_path):
    queue = queue_in(tmp_path)
    for _ in range(MOST_DEATHS + 1):
        assert queue.take("dead").number == 0
    assert queue.take("me").number == 1
    entry = queue.entries()[0]
    assert (entry.state, entry.deaths) == ("failed", MOST_DEATHS)
    assert "want of memory" in entry.outcome["error"]
    assert queue.settled() == 1


def test_a_candidate_that_cannot_be_fitted_is_settled_and_samplers_learn_of_it(tmp_path):
    queue = queue_in(tmp_path)
    taken = queue.take("me")
    queue.settle(taken, Outcome(error="loss is nan"))
    assert queue.entries()[0].state == "failed"
    assert trials_of(tmp_path)[0].state == TrialState.PRUNED  # FAIL would be invisible to them
    assert queue.take("me").number == 1


def test_a_candidate_behind_the_median_of_its_own_loss_is_given_up(tmp_path):
    queue = queue_in(tmp_path)
    for _ in range(5):
        taken = queue.take("me")
        for epoch in range(1, 6):
            taken.report(epoch, 0.5, "bce", prune=True)
        queue.settle(taken, Outcome(Scored(0.8)))
    other = queue.take("me")
    for epoch in range(1, 6):
        other.report(epoch, 9.0, "focal", prune=True)  # larger, but another loss
    like = queue.take("me")
    for epoch in range(1, 4):
        like.report(epoch, 0.6, "bce", prune=True)
    with pytest.raises(GivenUpError, match="after 4 epochs"):
        like.report(4, 0.6, "bce", prune=True)
    queue.settle(like, Outcome(), given_up=True)
    assert queue.entries()[like.number].state == "given up"


@pytest.fixture(scope="module")
def whole_journal(tmp_path_factory) -> bytes:
    """The journal of a sweep of which one process died, and one candidate is in work."""
    folder = tmp_path_factory.mktemp("whole")
    queue = queue_in(folder)
    queue.take("dead")
    for number in range(4):
        taken = queue.take("me")
        taken.report(1, 0.5, "bce", prune=True)
        queue.settle(taken, Outcome(Scored(number / 10)))
    queue.take("dead too")
    return (folder / "journal.log").read_bytes()


@settings(max_examples=40, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(st.data())
def test_a_journal_cut_at_any_byte_is_continued(whole_journal, tmp_path_factory, data):
    cut = data.draw(st.integers(0, len(whole_journal)))
    folder = tmp_path_factory.mktemp("cut")
    (folder / "journal.log").write_bytes(whole_journal[:cut])
    queue = queue_in(folder)
    settle_all(queue)
    by_candidate = [t.user_attrs["candidate"] for t in trials_of(folder)
                    if t.state == TrialState.COMPLETE]  # fmt: skip
    assert sorted(by_candidate) == list(range(12))
    for line in (folder / "journal.log").read_text().splitlines():
        json.loads(line)


def test_a_writer_who_had_the_journal_open_goes_on_behind_a_torn_line(tmp_path):
    queue = queue_in(tmp_path)
    taken = queue.take("me")
    with (tmp_path / "journal.log").open("ab") as journal:
        journal.write(b'{"op_code": 6, "worker_i')
    queue.settle(taken, Outcome(Scored(0.5)))
    assert queue_in(tmp_path).entries()[0].state == "complete"


def test_killed_again_and_again_no_candidate_is_lost_or_settled_twice(tmp_path):
    """Four processes take, wait and settle; one of them is killed every few milliseconds."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, str(HELPER), str(tmp_path), "60"],
        env=environment, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    trials = trials_of(tmp_path, settings_of(search=MANY, trials=40))
    settled = [t for t in trials if t.state == TrialState.COMPLETE]
    assert sorted(t.user_attrs["candidate"] for t in settled) == list(range(40))
    assert {t.state for t in trials} == {TrialState.COMPLETE, TrialState.FAIL}
    repeated = [t.user_attrs["repeats"] for t in trials if "repeats" in t.user_attrs]
    assert len(repeated) == len(set(repeated)) == len(trials) - 40 > 10
    for trial in trials:
        same = [t for t in trials if t.user_attrs["candidate"] == trial.user_attrs["candidate"]]
        assert all(t.system_attrs == trial.system_attrs for t in same)
