"""A folder of DICOM to probabilities in one step gives what extraction and prediction give."""

import shutil
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pydicom
import pytest

from featurecache.errors import MissingResourceError, UsageError
from featurecache.extract import extract
from featurecache.identifiers import Identifiers
from featurecache.options import FeatureOptions, RunOptions
from featurecache.scan import scan
from featurecache.select import Selection
from featurecache.store import FeatureStore
from seqhead import Predictor
from seqhead.crossval import fit_as_split
from seqhead.errors import FeaturesError, RunError
from seqhead.options import parse_fit_options
from seqhead.predict import predict_store
from seqhead.run import Run
from seqhead.sources import Sources
from seqhead.splitting import Splitting

SMALL = FeatureOptions(
    "squeezenet1_1", weights="random:0", name="small", size=48, precision="fp32", batch_size=5
)
SETS = [SMALL, replace(SMALL, name="large", zoom=64)]
ZOOM = "head.zoom={slices = 3, branch = {hidden = 4, pool = 'mean'}}"
KINDS = {
    "gru": {},
    "slices": {"level": "slice"},
    "svm": {"head": "svm", "svm_input": "padded"},
    "sampled": {"settings": ("head.sample_to=8",)},
    "zoom": {"pool": "attention", "second_features": "large", "settings": (ZOOM,)},
    "sampled zoom": {
        "pool": "attention", "second_features": "large", "settings": (ZOOM, "head.sample_to=9"),
    },
    "replaced": {
        "second_features": "large", "settings": ("head.replace=[2, 5]", "head.sample_to=8"),
    },
    "folds": {"pool": "attention", "second_features": "large", "settings": (ZOOM,), "folds": 2},
}  # fmt: skip


def extracted(tree, folder):
    """Extract a folder of scans with one thread, ids kept; returns the store and the report."""
    import torch

    torch.set_num_threads(1)
    folder.mkdir(exist_ok=True)
    scan(tree, folder / "index.sqlite", workers=1)
    run = RunOptions(device="cpu", workers=1)
    where = (folder / "index.sqlite", folder / "cache.zarr")
    report = extract(*where, SETS, run, Identifiers(None))
    return FeatureStore.open(where[1]), report


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Twelve phantom patients, extracted; and a function that fits a run of a kind, once."""
    from featurecache.phantom import write_phantom

    folder = tmp_path_factory.mktemp("home")
    write_phantom(folder / "phantom", patients=12, seed=5, series="thick", size=64)
    store, _ = extracted(folder / "phantom/dicom", folder)
    runs: dict[str, Run] = {}

    def run(kind: str) -> Run:
        if kind not in runs:
            asked = dict(KINDS[kind])
            splitting = Splitting(folds=asked.pop("folds", None))
            quick = {} if asked.get("head") == "svm" else {"hidden": 4, "epochs": 1}
            options = parse_fit_options(**{"features": "small", **quick, "device": "cpu", **asked})
            files = {"labels": folder / "phantom/labels.csv"}
            sources = Sources(store.path, **files, slice_labels=folder / "phantom/slices.csv")
            report = fit_as_split(
                sources, options, splitting, out=folder / kind.replace(" ", "-"), project=folder
            )
            runs[kind] = report.run
        return runs[kind]

    with ExitStack() as stack:
        predictors: dict[str, Predictor] = {}

        def predictor(kind: str) -> Predictor:
            if kind not in predictors:
                made = Predictor(run(kind), device="cpu", workers=1, batch_size=5)
                predictors[kind] = stack.enter_context(made)
            return predictors[kind]

        yield SimpleNamespace(folder=folder, run=run, predictor=predictor)


@pytest.fixture(scope="module")
def new(tmp_path_factory):
    """Two other patients, one folder each, with the store of both and of the first."""
    from featurecache.phantom import write_phantom

    folder = tmp_path_factory.mktemp("new")
    write_phantom(folder / "phantom", patients=2, seed=8, series="thick", size=64)
    tree = folder / "phantom/dicom"
    first = min(tree.iterdir())
    alone, _ = extracted(first, folder / "first")
    return SimpleNamespace(tree=tree, store=extracted(tree, folder)[0], first=first, alone=alone)


@pytest.fixture
def copied(new, tmp_path):
    """The new scans, to be changed."""
    return Path(shutil.copytree(new.tree, tmp_path / "tree"))


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """An empty folder where temporary files go."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def predicted(run, folder, **options):
    """What a predictor of its own says."""
    with Predictor(run, device="cpu", workers=1, batch_size=5, **options) as predictor:
        return predictor.predict(folder)


def images(folder):
    """Files that are slices of a series."""
    files = sorted(folder.rglob("*.dcm"))
    return [path for path in files if "LOCALIZER" not in pydicom.dcmread(path).ImageType]


def numbers(predictions):
    return predictions.table[list(predictions.run.config.labels)].to_numpy()


@pytest.mark.parametrize("kind", KINDS)
def test_one_step_gives_what_a_store_gives(home, new, kind):
    run, found = home.run(kind), home.predictor(kind).predict(new.tree)
    expected = predict_store(run, new.store, device="cpu")
    ids = [name for name in expected.table if name not in run.config.labels]
    assert found.table[ids].equals(expected.table[ids])
    np.testing.assert_allclose(numbers(found), numbers(expected), atol=1e-5)
    assert (found.empty_series, found.partial_series, found.notes) == ([], [], [])
    assert found.exit_code == 0
    files = found.account["files"]
    assert files["used"] == len(images(new.tree))
    assert files["seen"] == files["used"] + files["skipped"] == len(list(new.tree.rglob("*.dcm")))
    assert found.document()["files"] == files


@pytest.mark.parametrize("kind", KINDS)
def test_one_scan_with_the_batches_of_the_store_is_equal_bit_for_bit(home, new, kind):
    found = home.predictor(kind).predict(new.first)
    expected = predict_store(home.run(kind), new.alone, device="cpu")
    np.testing.assert_array_equal(numbers(found), numbers(expected))


def embedded(monkeypatch):
    """Sizes of the images that networks are given from now on -> how many slices."""
    from featurecache.embed import Embedder

    counts: dict[int, int] = {}
    submit = Embedder.submit

    def counted(self, slices):
        side = self.recipe.zoom or self.recipe.size
        counts[side] = counts.get(side, 0) + sum(one is not None for one in slices)
        return submit(self, slices)

    monkeypatch.setattr(Embedder, "submit", counted)
    return counts


@pytest.mark.parametrize(
    ("kind", "small", "large"),
    [("gru", None, 0), ("sampled", 8, 0), ("zoom", None, 3), ("sampled zoom", 9, 3),
     ("replaced", 8, 4)],
)  # fmt: skip
def test_only_slices_that_the_head_looks_at_are_embedded(
    home, new, kind, small, large, monkeypatch
):
    counts = embedded(monkeypatch)
    found = home.predictor(kind).predict(new.tree)
    n_slices = found.account["files"]["used"]
    assert counts.get(48) == (n_slices if small is None else 2 * small)
    assert counts.get(64, 0) == 2 * large
    sets = ("small", "large") if home.run(kind).config.second_features else ("small",)
    assert found.embedded == dict(zip(sets, (counts[48], 2 * large), strict=False))


@pytest.mark.parametrize("kind", ["gru", "slices", "sampled zoom", "replaced"])
def test_slices_that_fail_are_left_out_as_in_a_store(home, copied, tmp_path, kind):
    files = images(copied)
    for path in (files[3], files[8], files[9]):
        path.write_bytes(path.read_bytes()[:-1000])
    store, report = extracted(copied, tmp_path)
    expected = predict_store(home.run(kind), store, device="cpu")
    found = home.predictor(kind).predict(copied)
    np.testing.assert_allclose(numbers(found), numbers(expected), atol=1e-5)
    assert found.partial_series == expected.partial_series
    assert len(found.partial_series) == 1
    assert found.account == report.scan
    assert found.account["files"]["failed"] == 3
    assert found.exit_code == report.exit_code == 3


def test_a_series_without_any_readable_slice_is_listed(home, copied):
    first, second = sorted(copied.iterdir())
    for path in images(first):
        path.write_bytes(path.read_bytes()[:-1000])
    series = str(pydicom.dcmread(images(first)[0]).SeriesInstanceUID)
    found = home.predictor("zoom").predict(copied)
    assert found.empty_series == [series]
    assert series not in found.table["series"].tolist()
    assert len(found.table) == 1
    assert found.document()["series_without_prediction"] == [series]
    assert found.exit_code == 3
    alone = home.predictor("slices").predict(first)
    assert (len(alone.table), alone.exit_code) == (0, 3)
    assert alone.document()["predictions"] == []
    assert second.name in found.table["patient"][0]


def test_ids_are_the_users_own_and_stacks_of_a_series_are_told_apart(home, copied):
    folder = sorted(copied.iterdir())[0]
    files = images(folder)
    datasets = [pydicom.dcmread(path) for path in files]
    for path, dataset in zip(files[:5], datasets[:5], strict=True):  # two kernels under one UID
        dataset.ConvolutionKernel = "other"
        dataset.save_as(path)
    found = home.predictor("gru").predict(folder)
    uid = str(datasets[0].SeriesInstanceUID)
    assert sorted(found.table["series"]) == [uid, f"{uid}#2"]
    assert set(found.table["patient"]) == {str(datasets[0].PatientID)}
    of_slices = home.predictor("slices").predict(folder).table
    assert set(of_slices["slice"]) == {str(dataset.SOPInstanceUID) for dataset in datasets}


def test_what_a_selection_leaves_out_is_skipped_with_its_rule(home, copied):
    folder = sorted(copied.iterdir())[0]
    for path in images(folder):
        dataset = pydicom.dcmread(path)
        dataset.ConvolutionKernel = "sharp"
        dataset.save_as(path)
    softer = Selection.parse(["kernel!=*sharp*"])
    found = home.predictor("gru").predict(copied, softer)
    assert len(found.table) == 1
    assert found.account["files"]["skipped"] == len(images(folder)) + 2  # and two localizers
    with pytest.raises(UsageError, match="leaves no series"):
        home.predictor("gru").predict(folder, softer)


def test_folders_without_scans_are_refused_with_the_account(home, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"no usable CT series\. 0 files seen"):
        home.predictor("gru").predict(tmp_path / "empty")
    (tmp_path / "empty/notes.txt").write_text("no scan")
    with pytest.raises(UsageError, match="1 file seen = 0 used"):
        home.predictor("gru").predict(tmp_path / "empty")
    with pytest.raises(UsageError, match="nowhere"):
        home.predictor("gru").predict(tmp_path / "nowhere")


def test_a_warm_predictor_takes_folder_after_folder_and_leaves_nothing(home, new, temporary):
    folders = sorted(new.tree.iterdir())
    with Predictor(home.run("zoom"), device="cpu", workers=2, batch_size=5) as predictor:
        first = [predictor.predict(folder) for folder in folders]
        seen = []
        again = predictor.predict(new.tree, progress=lambda *told: seen.append(told))
    both = np.concatenate([numbers(one) for one in first])
    np.testing.assert_array_equal(numbers(again), both)
    n_slices = again.account["files"]["used"]
    assert seen[-1] == (n_slices, n_slices)
    assert list(temporary.iterdir()) == []
    seconds = first[0].seconds
    assert set(seconds) == {"scan", "read", "decode", "transform", "embed", "head", "wall"}
    assert all(value > 0 for value in seconds.values())
    assert seconds["wall"] > seconds["scan"] + seconds["embed"] + seconds["head"]


def test_the_wrap_of_rsna_is_undone_as_in_an_extraction(home, new, tmp_path):
    tree = Path(shutil.copytree(new.first, tmp_path / "wrapped"))
    for path in images(tree):
        dataset = pydicom.dcmread(path)
        hu = dataset.pixel_array * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
        dataset.PixelData = np.mod(np.maximum(hu, -1024), 4096).astype(np.uint16).tobytes()
        dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 12, 11, 0
        dataset.RescaleIntercept = 0
        dataset.save_as(path)
    found, plain = (home.predictor("gru").predict(folder) for folder in (tree, new.first))
    warnings = [one["reason"] for one in found.account["reasons"] if one["kind"] == "warning"]
    assert "RSNA 12-bit wrap undone" in warnings
    np.testing.assert_array_equal(numbers(found), numbers(plain))


def test_what_is_temporary_is_private_and_goes_when_something_breaks(
    home, new, temporary, monkeypatch
):
    modes = []

    def interrupted(*_):
        modes.extend(path.stat().st_mode & 0o777 for path in temporary.rglob("*"))
        raise KeyboardInterrupt

    monkeypatch.setattr(home.predictor("gru"), "_score", interrupted)
    with pytest.raises(KeyboardInterrupt):
        home.predictor("gru").predict(new.tree)
    assert sorted(modes) == [0o600, 0o700]
    assert list(temporary.iterdir()) == []


def changed(run, tmp_path, **recipe):
    """A copy of a run whose first feature set has other fields in its recipe."""
    from featurecache.recipe import fingerprint_of

    folder = Path(shutil.copytree(run.path, tmp_path / "changed"))
    config = run.config
    document = {"zoom": None, **config.features.recipe, **recipe}  # TOML has no null
    features = config.features.model_copy(
        update={"recipe": document, "fingerprint": fingerprint_of(document)}
    )
    return Run(folder, config.model_copy(update={"features": features}))


def test_precision_is_that_of_the_fit_or_crossed_on_request_and_said(
    home, new, tmp_path, monkeypatch
):
    run = changed(home.run("gru"), tmp_path, precision="bf16")
    monkeypatch.setattr("seqhead.fitted_networks.native_bf16", lambda _: False)
    with pytest.raises(FeaturesError, match="--allow-numerics computes them in fp32") as refused:
        predicted(run, new.tree)
    assert refused.value.exit_code == 5
    found = predicted(run, new.tree, allow_numerics=True)
    assert found.notes == [
        "numerics of small differ from the fit's, as allowed: precision is fp32, not bf16"
    ]
    np.testing.assert_array_equal(numbers(found), numbers(home.predictor("gru").predict(new.tree)))
    monkeypatch.setattr("seqhead.fitted_networks.native_bf16", lambda _: True)
    assert predicted(run, new.tree, allow_numerics=True).notes == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"weights": "0" * 64}, r"weights is random:0 \("),
        ({"values_version": 0}, "values_version is 2, not 0"),
        ({"mean": [0.5, 0.5, 0.5]}, "mean is"),
        ({"sharpened": True}, "sharpened is absent, not True"),
    ],
)
def test_features_that_cannot_be_made_here_are_refused_by_field(home, new, tmp_path, change, said):
    with pytest.raises(FeaturesError, match=said) as refused:
        predicted(changed(home.run("gru"), tmp_path, **change), new.tree, allow_numerics=True)
    assert refused.value.exit_code == 5


def test_weights_of_a_file_are_found_by_name_or_told_and_compared(home, new, tmp_path, monkeypatch):
    from safetensors.torch import save_file

    from featurecache.runner import open_backbone

    files = {}
    for seed in (0, 1):
        body = open_backbone(replace(SMALL, weights=f"random:{seed}")).module.body
        files[seed] = tmp_path / f"own-{seed}.safetensors"
        state = {name: value.contiguous() for name, value in body.state_dict().items()}
        save_file(state, files[seed])
    run = changed(home.run("gru"), tmp_path, weights_source="own-0.safetensors")
    with pytest.raises(MissingResourceError, match="name it with --weights FILE") as missing:
        predicted(run, new.tree)
    assert missing.value.exit_code == 4
    with pytest.raises(MissingResourceError, match="no such file"):
        predicted(run, new.tree, weights=tmp_path / "nowhere.pth")
    with pytest.raises(FeaturesError, match=r"weights is own-1\.safetensors"):
        predicted(run, new.tree, weights=files[1])
    expected = numbers(home.predictor("gru").predict(new.tree))
    np.testing.assert_array_equal(numbers(predicted(run, new.tree, weights=files[0])), expected)
    monkeypatch.chdir(tmp_path)
    np.testing.assert_array_equal(numbers(predicted(run, new.tree)), expected)


def test_values_that_the_type_cannot_hold_are_an_error(home, new, monkeypatch):
    from featurecache.embed import Embedded, Embedder

    submit = Embedder.submit

    def large(self, slices):
        done = submit(self, slices).result()
        return Embedded(done.values * 1e9, done.transform_s, done.embed_s)

    monkeypatch.setattr(Embedder, "submit", large)
    with pytest.raises(FeaturesError, match="float16 cannot hold"):
        home.predictor("gru").predict(new.tree)


def test_a_file_that_changes_between_two_looks_stops_the_prediction(home, new, monkeypatch):
    monkeypatch.setattr("seqhead.fresh_features._MOST_KEPT", 0)  # so that slices are read again
    expected = numbers(home.predictor("zoom").predict(new.tree))
    monkeypatch.undo()
    np.testing.assert_array_equal(expected, numbers(home.predictor("zoom").predict(new.tree)))
    monkeypatch.setattr("seqhead.fresh_features._MOST_KEPT", 0)
    from seqhead import fresh_features

    decode, calls = fresh_features._Slices._decode, []

    def vanishing(self, jobs):
        calls.append(len(jobs))
        gone = [replace(job, path=job.path + ".gone") for job in jobs]
        return decode(self, jobs if len(calls) == 1 else gone)

    monkeypatch.setattr(fresh_features._Slices, "_decode", vanishing)
    with pytest.raises(UsageError, match="could be read a moment ago"):
        home.predictor("zoom").predict(new.tree)


def test_a_damaged_model_ends_the_readers_that_were_started(home, tmp_path, monkeypatch):
    from featurecache.crew import Crew

    closed = []
    close = Crew.close
    monkeypatch.setattr(Crew, "close", lambda self: (closed.append(1), close(self)))
    run = changed(home.run("gru"), tmp_path)
    (run.path / "model.safetensors").write_bytes(b"no model")
    with pytest.raises(RunError, match="not this run's model"):
        Predictor(run, device="cpu", workers=1)
    assert closed
