"""Features that stay in the store give what features in memory give, bit for bit."""

import threading

import numpy as np
import pytest

from seqhead import PooledSVC, SequenceClassifier
from seqhead.errors import FitError
from seqhead.fit import fit
from seqhead.matrices import Matrices, lengths_of, one_ahead, take_series, take_slices_of
from seqhead.options import parse_fit_options
from seqhead.predict import predict_store
from seqhead.sources import Sources


@pytest.fixture(scope="module")
def problem(planted):
    X = list(planted.matrices.values())
    y = np.array(list(planted.series.values()), dtype=np.float32)
    return X, y, np.array(list(planted.patients.values()))


def unread(X):
    return Matrices([len(matrix) for matrix in X], X[0].shape[1], lambda k: X[k])


@pytest.mark.parametrize(
    "options",
    [
        {"normalise": "batch", "rnn": "lstm", "bidirectional": True},
        {"reverse": 0.5, "drop_slices": 0.2, "balance": "sampling"},
        {"sample_to": 5, "leftovers": True},
        {"pool": "none"},
    ],
    ids=lambda options: "-".join(options),
)
def test_an_estimator_gives_the_same_bits(problem, options):
    X, y, patients = problem
    if options.get("pool") == "none":
        y = [np.repeat(row[None], len(matrix), axis=0) for row, matrix in zip(y, X, strict=True)]
    scored = []
    for given in (X, unread(X)):
        model = SequenceClassifier(hidden=4, epochs=3, dropout=0.2, device="cpu", **options)
        scored.append(model.fit(given, y, groups=patients).predict_proba(given))
    for one, other in zip(*scored, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_pooled_svm_gives_the_same_bits_and_the_others_say_what_they_need(problem):
    X, y, patients = problem
    one, other = (PooledSVC().fit(given, y, groups=patients) for given in (X, unread(X)))
    np.testing.assert_array_equal(one.coef_, other.coef_)
    np.testing.assert_array_equal(one.predict_proba(X), other.predict_proba(unread(X)))
    with pytest.raises(FitError, match="--memory"):
        PooledSVC(input="padded").fit(unread(X), y, groups=patients)


@pytest.mark.parametrize("slices", [False, True], ids=["series", "slice"])
def test_run_folders_are_equal_with_and_without_memory(toy, slices):
    folders = []
    for memory in (1.0, 0.0):
        options = {"level": "slice"} if slices else {"pool": "attention"}
        report = fit(
            Sources(toy.store, toy.labels, slice_labels=toy.slices if slices else None),
            parse_fit_options(hidden=4, epochs=2, device="cpu", memory=memory, **options),
            out=toy.folder / f"run-{memory}", project=toy.folder,
        )  # fmt: skip
        assert any("batch by batch" in note for note in report.notes) == (memory == 0)
        assert isinstance(report.cohort.X, Matrices) == (memory == 0)
        folders.append(report.run.path)
    names = {path.name for path in folders[0].iterdir()}
    assert names == {path.name for path in folders[1].iterdir()}
    for name in names - {"log.txt"}:
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes(), name


def test_two_sets_and_failed_slices_are_equal_with_and_without_memory(toy, planted, add_features):
    from featurecache import FeatureStore

    rng = np.random.default_rng(0)
    second = {s: rng.normal(size=(len(m), 5)).astype("f4") for s, m in planted.matrices.items()}
    first = next(iter(second))
    for series, rows in ((first, [1, 2]), (list(second)[3], range(len(second[list(second)[3]])))):
        second[series][list(rows)] = np.nan
    failed = {first: [1, 2], list(second)[3]: range(len(second[list(second)[3]]))}
    add_features(toy.store, second, "second", failed=failed)
    told = {"features": "toy", "second_features": "second", "hidden": 4, "epochs": 2}
    told |= {"device": "cpu", "settings": ("head.replace=[2,4]",)}
    zoom = {"settings": ("head.zoom.slices=3", "head.zoom.branch.hidden=4",
                         "head.zoom.branch.pool=mean"), "pool": "attention"}  # fmt: skip
    scored = []
    for memory in (1.0, 0.0):
        report = fit(
            Sources(toy.store, toy.labels), parse_fit_options(**(told | zoom), memory=memory),
            out=toy.folder / f"run-{memory}", project=toy.folder,
        )  # fmt: skip
        scored.append(
            predict_store(report.run, FeatureStore.open(toy.store), device="cpu", memory_gb=memory)
        )
    assert scored[0].table.equals(scored[1].table)
    assert scored[0].empty_series == scored[1].empty_series == [list(second)[3]]
    assert scored[0].partial_series == scored[1].partial_series == [first]


def test_nothing_is_read_for_lengths_and_only_what_is_wanted_otherwise():
    stored, seen = [np.full((n, 2), n) for n in (3, 1, 4)], []

    def read(k):
        seen.append(k)
        return stored[k]

    X = Matrices([3, 1, 4], 2, read)
    some = take_series(X, np.array([2, 0, 2]))
    sampled = take_slices_of(some, np.array([1, 0]), [np.array([2, 0]), np.array([3])])
    assert lengths_of(X[1:]).tolist() == [1, 4]
    assert lengths_of(some).tolist() == [4, 3, 4]
    assert lengths_of(sampled).tolist() == [2, 1]
    assert seen == []
    assert sampled[0].tolist() == [[3, 3], [3, 3]]
    assert some[-1].shape == (4, 2)
    assert seen == [0, 2]
    with pytest.raises(IndexError):
        X[3]


def test_what_is_read_is_checked():
    with pytest.raises(FitError, match=r"shape \(2, 2\); expected \(3, 2\)"):
        Matrices([3], 2, lambda _: np.zeros((2, 2)))[0]
    with pytest.raises(FitError, match="not finite"):
        Matrices([3], 2, lambda _: np.full((3, 2), np.inf))[0]
    model = SequenceClassifier(hidden=2, epochs=1, device="cpu", validation_fraction=0)
    with pytest.raises(FitError, match="at least one slice"):
        model.fit(Matrices([3, 0], 2, lambda k: np.zeros((3 * (1 - k), 2))), [0, 1])


def test_a_reader_that_fails_is_not_taken_for_the_end():
    stored = [np.zeros((3, 2))]
    X = Matrices([3, 3], 2, lambda k: stored[k])
    with pytest.raises(IndexError):
        list(X)


def test_the_next_item_is_made_in_a_thread_and_errors_arrive():
    def items():
        yield threading.current_thread().name
        yield threading.current_thread().name
        raise FitError("the disk is gone")

    found = one_ahead(items())
    assert next(found).startswith("read-ahead")
    assert next(found).startswith("read-ahead")
    with pytest.raises(FitError, match="disk is gone"):
        next(found)


def test_a_fit_that_is_given_up_leaves_no_thread(problem):
    X, y, patients = problem

    def give_up(*_):
        raise InterruptedError

    with pytest.raises(InterruptedError):
        SequenceClassifier(hidden=2, device="cpu").fit(
            unread(X), y, groups=patients, progress=give_up
        )
    assert not [t for t in threading.enumerate() if t.name.startswith("read-ahead")]
