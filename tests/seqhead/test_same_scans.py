import numpy as np
import pytest

from seqhead.crossval import fit_as_split
from seqhead.errors import LeakError
from seqhead.fit import fit
from seqhead.options import parse_fit_options
from seqhead.same_scans import SameScan, same_scans
from seqhead.sources import Sources
from seqhead.splitting import Splitting
from seqhead.sweeps import parse_request
from seqhead.sweeps.sweep import sweep


def matrices(count=6, n=12, D=5, dtype=np.float16, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(n, D)).astype(dtype) for _ in range(count)]


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("D", [1, 3, 512])
def test_a_copy_is_found_whatever_the_width(dtype, D):
    X = matrices(D=D, dtype=dtype, n=4)
    X[4] = X[1].copy()
    assert same_scans(X, list("abcdef")) == [SameScan(1, 4, 4, 4)]


def test_a_part_of_a_scan_is_found_and_a_copy_of_the_same_patient_is_no_leak():
    X = matrices()
    X[3] = X[0][2:9]
    X[5] = X[2][:5]  # five of twelve: fewer than half
    assert same_scans(X, list("abcdef")) == [SameScan(0, 3, 7, 7), SameScan(2, 5, 5, 5)]
    X[5] = np.concatenate([X[2][:5], matrices(seed=9)[0]])
    assert same_scans(X, list("abcdef")) == [SameScan(0, 3, 7, 7)]
    assert same_scans(X, list("abcaef")) == []


def test_slices_of_air_that_many_share_are_no_evidence():
    X = matrices(count=20, n=6)
    air = np.ones((1, 5), np.float16)
    X = [np.concatenate([air, air, air, air, matrix[:2]]) for matrix in X]
    assert same_scans(X, range(20)) == []


def test_slices_of_air_that_two_share_are_few():
    X = matrices(count=3, n=6)
    X[0][0] = X[1][0] = 1.0
    assert same_scans(X, range(3)) == []


def copied(toy, planted, make_store):
    """The scan of patient 1 is also that of patient 4, under another series."""
    changed = {**planted.matrices, "1.2.4.0": planted.matrices["1.2.1.0"]}
    toy.store = make_store(toy.folder / "copied.zarr", changed, patients=planted.patients)
    return Sources(toy.store, toy.labels)


QUICK = parse_fit_options(hidden=4, epochs=1, device="cpu")


def test_one_scan_under_two_patients_is_refused_with_both_names(toy, planted, make_store):
    sources = copied(toy, planted, make_store)
    with pytest.raises(
        LeakError,
        match=r"series 1\.2\.1\.0 \(patient 001\) and series 1\.2\.4\.0 \(patient 004\) have the "
        r"same features in \d+ of \d+ slices.*--duplicate-scans together",
    ):
        fit(sources, QUICK, out=toy.folder / "run")
    assert not (toy.folder / "run").exists()


@pytest.mark.parametrize("how", ["folds", "a split file", "a sweep"])
def test_no_way_to_split_lets_it_pass(toy, planted, make_store, write_csv, how):
    sides = ("train", "train", "validation", "test")
    lines = [f"{p},{sides[int(p) % 4]}" for p in sorted(set(planted.patients.values()))]
    file = write_csv("\n".join(["PatientID,split", *lines]), "split.csv")
    splitting = Splitting(folds=3) if how == "folds" else Splitting(file=file)
    sources, out = copied(toy, planted, make_store), toy.folder / "made" / "here"
    with pytest.raises(LeakError, match=r"1\.2\.1\.0 \(patient 001\).*1\.2\.4\.0 \(patient 004\)"):
        if how == "a sweep":
            request = parse_request(search={"hidden": [4], "epochs": [1]}, trials=1)
            sweep(sources, request, splitting=splitting, out=out, project=toy.folder, jobs=1)
        else:
            fit_as_split(sources, QUICK, splitting, out=out, project=toy.folder)
    assert not (out / "sweep.toml").exists()
    assert how == "a sweep" or not out.exists()


def test_it_can_be_kept_on_one_side(toy, planted, make_store):
    report = fit(
        copied(toy, planted, make_store), QUICK, out=toy.folder / "run",
        splitting=Splitting(duplicate_scans="together"),
    )  # fmt: skip
    folds = report.run.folds.set_index("series")
    assert folds.loc["1.2.1.0", "group"] == folds.loc["1.2.4.0", "group"]
    assert folds.loc["1.2.1.0", "split"] == folds.loc["1.2.4.0", "split"]
    assert folds["group"].nunique() == 59
    assert any("one scan under two patients" in note for note in report.notes)


def test_the_label_file_can_say_that_it_is_one_patient(toy, planted, make_store):
    sources = copied(toy, planted, make_store)
    text = toy.labels.read_text().replace("004,1.2.4.0", "001,1.2.4.0")
    toy.labels.write_text(text)
    folds = fit(sources, QUICK, out=toy.folder / "run").run.folds.set_index("series")
    assert folds.loc["1.2.1.0", "split"] == folds.loc["1.2.4.0", "split"]
