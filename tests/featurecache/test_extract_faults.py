"""An extraction that is stopped while it writes is continued by the next one."""

import shutil

import numpy as np
import pytest

from featurecache.errors import StoreIncompleteError
from featurecache.extract import extract
from featurecache.identifiers import Identifiers
from featurecache.options import ExtractOptions
from featurecache.scan import scan
from featurecache.store import FeatureStore, describe

KEEP = Identifiers(None)
OPTIONS = {
    "backbone": "squeezenet1_1", "weights": "random:0", "size": 64, "precision": "fp32",
    "dtype": "float32", "batch_size": 4, "unit_slices": 16, "workers": 1, "device": "cpu",
}  # fmt: skip


def content(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    """DICOM tree and its index."""
    from featurecache.phantom import write_phantom

    folder = tmp_path_factory.mktemp("faults")
    write_phantom(folder / "phantom", patients=2, seed=3, series="thick", size=64)
    scan(folder / "phantom" / "dicom", folder / "index.sqlite", workers=1)
    return folder / "phantom" / "dicom", folder / "index.sqlite"


def run(phantom, store, **options):
    return extract(phantom[1], store, ExtractOptions(**{**OPTIONS, **options}), KEEP)


def test_killed_while_it_plans_and_while_it_commits(phantom, faults, tmp_path):
    whole = faults.FaultyLocalStorage(tmp_path / "whole.zarr")
    report = run(phantom, whole)
    plan = len(whole.steps) - 4 * report.units
    for n in (2, plan // 2, plan, plan + 1, plan + 4, len(whole.steps) - 1):
        folder = tmp_path / f"{n}.zarr"
        with pytest.raises(faults.Killed):
            run(phantom, faults.FaultyLocalStorage(folder, at=n, how="torn"))
        assert run(phantom, folder).exit_code == 0
        assert content(folder) == content(tmp_path / "whole.zarr")
        shutil.rmtree(folder)


def test_disk_full_ends_the_run_and_the_next_one_goes_on(phantom, faults, tmp_path):
    whole, folder = tmp_path / "whole.zarr", tmp_path / "c.zarr"
    run(phantom, whole)
    full = faults.FaultyLocalStorage(folder, at=60, how=faults.ENOSPC)
    with pytest.raises(OSError, match="No space left"):
        run(phantom, full)
    done = describe(folder)["features"]["squeezenet1_1"]["units_done"]
    report = run(phantom, folder)
    assert report.timing.units == report.units - done
    assert content(folder) == content(whole)


def test_a_retry_that_is_killed_is_finished_by_any_later_run(phantom, faults, tmp_path):
    tree, _ = phantom
    folder = tmp_path / "c.zarr"
    run(phantom, tmp_path / "clean.zarr")
    victim = max(tree.rglob("*.dcm"))
    away = victim.rename(victim.with_suffix(".away"))
    assert run(phantom, folder).failed_rows == 1
    away.rename(victim)
    for at in (3, 4, 5):  # the features; the status that comes last
        copy = shutil.copytree(folder, tmp_path / f"{at}.zarr")
        with pytest.raises(faults.Killed):
            run(phantom, faults.FaultyLocalStorage(copy, at=at), retry_failed=True)
        assert not describe(copy)["features"]["squeezenet1_1"]["complete"]
        with pytest.raises(StoreIncompleteError, match="it finishes them"):
            FeatureStore.open(copy)["squeezenet1_1"]
        report = run(phantom, copy)
        assert (report.failed_rows, report.timing.slices, report.exit_code) == (0, 1, 0)
        assert content(copy) == content(tmp_path / "clean.zarr")
        features = FeatureStore.open(copy)["squeezenet1_1"]
        assert np.isfinite(features.to_numpy()).all()
