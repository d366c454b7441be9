import numpy as np
import pytest

from featurecache.store import FeatureStore
from seqhead.errors import FeaturesError
from seqhead.fit import fit
from seqhead.options import parse_fit_options
from seqhead.predict import predict_store
from seqhead.sources import Sources

RECIPE = {"backbone": "toy", "windows": [[40, 80]], "size": 224, "zoom": None, "dtype": "float32"}


@pytest.fixture
def fitted(toy, make_store, planted):
    """Function that fits a run on a store of `RECIPE`."""
    store = make_store(
        toy.folder / "fit.zarr", planted.matrices, patients=planted.patients, recipe=RECIPE
    )

    def fitted(**options):
        quick = {} if options.get("head") == "svm" else {"hidden": 4, "epochs": 2}
        given = parse_fit_options(**{**quick, "device": "cpu", **options})
        sources = Sources(store, toy.labels, slice_labels=toy.slices)
        return fit(sources, given, out=toy.folder / "run").run

    return fitted


@pytest.mark.parametrize("options", [{}, {"level": "slice"}, {"head": "svm"}])
def test_new_scans_get_what_the_fit_would_have_said(toy, fitted, make_store, planted, options):
    run = fitted(**options)
    some = dict(list(planted.matrices.items())[5:9])
    other = make_store(toy.folder / "new.zarr", some, patients=planted.patients, recipe=RECIPE)
    table = predict_store(run, FeatureStore.open(other), device="cpu").table
    known = run.predictions[run.predictions["series"].isin(list(some))]
    assert table["series"].tolist() == known["series"].tolist()
    np.testing.assert_allclose(table["ICH"], known["p:ICH"], atol=1e-6)
    assert table["patient"].tolist() == [planted.patients[s] for s in table["series"]]


def test_series_without_features_are_listed(toy, fitted, make_store, planted):
    run = fitted()
    some = dict(list(planted.matrices.items())[:3])
    first = next(iter(some))
    store = make_store(
        toy.folder / "new.zarr", some, patients=planted.patients, recipe=RECIPE,
        failed={first: range(len(some[first]))},
    )  # fmt: skip
    predictions = predict_store(run, FeatureStore.open(store), device="cpu")
    assert predictions.empty_series == [first]
    assert first not in predictions.table["series"].tolist()


def test_series_with_failed_slices_are_predicted_and_listed(toy, fitted, make_store, planted):
    run = fitted()
    some = dict(list(planted.matrices.items())[:3])
    first = next(iter(some))
    store = make_store(
        toy.folder / "new.zarr", some, patients=planted.patients, recipe=RECIPE, failed={first: [1]}
    )
    predictions = predict_store(run, FeatureStore.open(store), device="cpu")
    assert predictions.partial_series == [first]
    assert first in predictions.table["series"].tolist()


def test_features_of_another_recipe_are_refused_by_field(toy, fitted, make_store, planted):
    run = fitted()
    recipe = {**RECIPE, "size": 256, "windows": [[80, 200]]}
    store = make_store(
        toy.folder / "new.zarr", planted.matrices, patients=planted.patients, recipe=recipe
    )
    with pytest.raises(FeaturesError, match="size is 256, not 224") as error:
        predict_store(run, FeatureStore.open(store), allow_numerics=True)
    assert "windows is" in str(error.value)
    assert error.value.exit_code == 5


def test_other_numerics_are_crossed_on_request_and_said(toy, fitted, make_store, planted):
    run = fitted()
    store = make_store(
        toy.folder / "new.zarr", planted.matrices, patients=planted.patients, recipe=RECIPE,
        dtype="float16",
    )  # fmt: skip
    with pytest.raises(FeaturesError, match="--allow-numerics"):
        predict_store(run, FeatureStore.open(store))
    predictions = predict_store(run, FeatureStore.open(store), allow_numerics=True, device="cpu")
    assert "numerics differ" in predictions.notes[0]
    np.testing.assert_allclose(predictions.table["ICH"], run.predictions["p:ICH"], atol=0.01)
