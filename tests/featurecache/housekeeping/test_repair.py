"""What is damaged is written again, bit for bit, or left as it is with the reason."""

import errno
import shutil

import numpy as np
import pydicom
import pytest

from featurecache import arrays
from featurecache.errors import StoreLockedError, UsageError
from featurecache.extract import extract
from featurecache.feature_array import FeatureArray
from featurecache.housekeeping.gc import gc
from featurecache.housekeeping.repair import repair
from featurecache.housekeeping.repair_units import Machine
from featurecache.housekeeping.verify import verify
from featurecache.identifiers import Identifiers, create_key
from featurecache.locks import store_lock
from featurecache.open_storage import open_storage
from featurecache.options import FeatureOptions, RunOptions
from featurecache.scan import scan
from featurecache.store import FeatureStore

OPTIONS = {
    "backbone": "squeezenet1_1", "weights": "random:0", "size": 48, "precision": "fp32",
    "batch_size": 4,
}  # fmt: skip
RUN = RunOptions(device="cpu", unit_slices=16, workers=1)
SETS = (
    {"name": "one", "dtype": "float32"},
    {"name": "two", "windows": "brain,subdural,bone", "fov_mm": 200.0, "pool": "max"},
)
MACHINE = Machine(None, "cpu", 1)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Folder with images, index, key and a store: two parts, two feature sets, one failed slice."""
    from featurecache.phantom import write_phantom

    folder = tmp_path_factory.mktemp("repair")
    write_phantom(folder / "phantom", patients=2, seed=3, series="thick", size=64)
    create_key(folder / "key")
    first, second = sorted((folder / "phantom/dicom").iterdir())
    later = second.rename(folder / "later")
    victim = next(path for path in sorted(first.rglob("*.dcm")) if is_axial(path))
    victim.write_bytes(victim.read_bytes()[:-1000])
    for _ in range(2):
        scan(folder / "phantom", folder / "index.sqlite", workers=1)
        for one in SETS:
            compute(folder / "index.sqlite", folder / "cache.zarr", folder / "key", **one)
        if later.exists():
            later.rename(second)
    assert verify(folder / "cache.zarr").state == "sound"
    return folder


def compute(index, store, key, **options):
    extract(
        index, store, [FeatureOptions(**{**OPTIONS, **options})], RUN,
        Identifiers.load(key, keep=key is None),
    )  # fmt: skip


def is_axial(path):
    return "LOCALIZER" not in pydicom.dcmread(path, stop_before_pixels=True).ImageType


@pytest.fixture
def store(made, tmp_path):
    return shutil.copytree(made / "cache.zarr", tmp_path / "cache.zarr")


@pytest.fixture
def mend(made, store):
    """Repair the store; returns the report."""

    def run(index=None, key=None, machine=MACHINE):
        load = Identifiers.load
        return repair(
            store, index or made / "index.sqlite", lambda: load(key or made / "key"), machine
        )

    return run


def content(path):
    return {
        file.relative_to(path).as_posix(): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def cut(path):
    path.write_bytes(path.read_bytes()[:-3])


DAMAGES = {"flipped": flip, "cut": cut, "deleted": lambda path: path.unlink()}
CHUNKS = {
    "a unit": ["part-0000/features/one/c.1.0"],
    "its status": ["part-0000/status/one/c.0"],
    "both": ["part-0001/features/two/c.0.0", "part-0001/status/two/c.0"],
    "several": [
        "part-0000/features/one/c.0.0", "part-0001/features/one/c.1.0",
        "part-0000/features/two/c.0.0",
    ],
}  # fmt: skip


@pytest.mark.parametrize("files", CHUNKS.values(), ids=CHUNKS)
def test_units_are_computed_again_to_the_same_bits(made, store, mend, files):
    for how in DAMAGES.values() if len(files) == 1 else (flip, cut):
        for file in files:
            how(store / file)
        report = mend()
        assert (report.state, report.kept) == ("sound", [])
        assert content(store) == content(made / "cache.zarr")


@pytest.mark.parametrize("how", DAMAGES)
def test_every_file_but_units_and_recipes_is_written_again_at_once(made, store, mend, how):
    """All metadata but those of features; every column but the one that names the series."""
    spared = ("part-0000/features/", "part-0001/status/", "part-0000/series/series/")
    for key in content(store):
        if "/c." in key and key.split("/")[1] in ("features", "status"):
            continue
        keep = key.startswith(spared) and key.count("/") > 2
        other_part = key.startswith("part-0001") and key.split("/")[1] in ("series", "slices")
        if not keep and not other_part:
            DAMAGES[how](store / key)
    report = mend()
    assert (report.kept, report.state) == ([], "sound")
    assert content(store) == content(made / "cache.zarr")


def test_what_stood_nowhere_else_is_left_and_named(store, mend):
    for part in ("part-0000", "part-0001"):
        flip(store / part / "features/one/zarr.json")
    flip(store / "part-0000/series/series/c.0")
    flip(store / "part-0000/series/source/c.0")
    before = content(store)
    report = mend()
    assert report.exit_code == 5
    assert report.repaired == []
    assert content(store) == before
    text = report.text()
    assert "no other part has these features" in text
    assert "nothing says which series it has" in text


def test_without_index_key_or_weights_nothing_is_touched(made, store, mend, tmp_path):
    flip(store / "part-0000/features/one/c.1.0")
    flip(store / "part-0000/series/study/c.0")
    before = content(store)
    for how, words in [
        ({"index": tmp_path / "none.sqlite"}, "there is no index"),
        ({"key": tmp_path / "none"}, "key file"),
    ]:
        report = mend(**how)
        assert words in report.text()
        assert content(store) == before
    create_key(tmp_path / "other")
    assert "another key" in mend(key=tmp_path / "other").text()
    assert content(store) == before


def test_weights_from_a_file_must_be_named_and_be_the_same(made, mend, store, tmp_path):
    import torchvision
    from safetensors.torch import save_file

    for seed in (0, 1):
        import torch

        torch.manual_seed(seed)
        save_file(torchvision.models.squeezenet1_1().state_dict(), tmp_path / f"{seed}.safetensors")
    weights = str(tmp_path / "0.safetensors")
    compute(made / "index.sqlite", store, made / "key", weights=weights, name="file")
    clean = content(store)
    chunk = store / "part-0000/features/file/c.0.0"
    flip(chunk)
    damaged = content(store)
    assert "name it with --weights" in mend().text()
    wrong = mend(machine=Machine(tmp_path / "1.safetensors", "cpu", 1))
    assert "weights is" in wrong.text()
    assert content(store) == damaged
    right = mend(machine=Machine(tmp_path / "0.safetensors", "cpu", 1))
    assert right.repaired == ["part-0000/features/file/c.0.0"]
    assert content(store) == clean


def scanned_again(made, tmp_path, change):
    """Another index, after something happened to the images."""
    tree = shutil.copytree(made / "phantom", tmp_path / "phantom")
    for path in (made / "phantom").rglob("*"):  # same times: only what is changed is changed
        shutil.copystat(path, tree / path.relative_to(made / "phantom"))
    change([path for path in sorted(tree.rglob("*.dcm")) if is_axial(path)])
    scan(tree, tmp_path / "again.sqlite", workers=1)
    return tmp_path / "again.sqlite"


def test_units_whose_files_are_gone_stay_damaged_and_others_are_repaired(
    made, store, mend, tmp_path
):
    def lose(files):
        shutil.rmtree(files[0].parents[1])

    index = scanned_again(made, tmp_path, lose)
    flip(store / "part-0000/features/one/c.0.0")
    flip(store / "part-0001/features/one/c.0.0")
    flip(store / "part-0000/slices/z_mm/c.0")
    report = mend(index=index)
    assert report.repaired == ["part-0001/features/one/c.0.0"]
    assert {fault.file for fault in report.faults} == {
        "part-0000/features/one/c.0.0", "part-0000/slices/z_mm/c.0"
    }  # fmt: skip
    assert len(report.kept) == 2
    assert "not in the index" in report.text()


def test_a_slice_that_cannot_be_read_now_leaves_the_unit_as_it_is(made, store, mend, tmp_path):
    index = scanned_again(made, tmp_path, lambda files: None)
    slices = arrays.read_table(open_storage(store), 0, "slices")["slice"][:16].tolist()
    key = Identifiers.load(made / "key")
    files = [path for path in (tmp_path / "phantom").rglob("*.dcm") if is_axial(path)]
    uids = {key.slice(str(pydicom.dcmread(path).SOPInstanceUID)): path for path in files}
    uids[slices[9]].unlink()  # after the scan
    flip(store / "part-0000/features/one/c.0.0")
    before = content(store)
    report = mend(index=index)
    assert "1 slice that had features cannot be computed now (file vanished)" in report.text()
    assert content(store) == before


def test_failed_rows_keep_their_reason_and_their_place(made, store, mend):
    array = FeatureArray(open_storage(store), 0, "one")
    failed = np.flatnonzero(array.read_status() != 1)
    assert len(failed) == 1
    flip(store / f"part-0000/features/one/c.{failed[0] // 16}.0")
    mend()
    assert content(store) == content(made / "cache.zarr")


def test_a_store_that_is_written_to_is_not_repaired(store, mend):
    with store_lock(store), pytest.raises(StoreLockedError):
        mend()


def test_a_sound_store_is_not_touched(store, mend):
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*")}
    assert mend().state == "sound"
    assert {path: path.stat().st_mtime_ns for path in store.rglob("*")} == before


def test_units_that_were_never_computed_are_left_to_extract(store, mend):
    (store / "part-0001/features/one/c.1.0").unlink()
    (store / "part-0001/status/one/c.1").unlink()
    report = mend()
    assert (report.state, report.repaired) == ("unfinished", [])


def test_a_repair_killed_at_any_write_made_nothing_worse_and_can_be_repeated(
    made, store, tmp_path, faults
):
    for file in ("features/one/c.0.0", "status/one/c.0", "series/study/c.0", "slices/zarr.json"):
        flip(store / "part-0000" / file)
    load, clean = lambda: Identifiers.load(made / "key"), content(made / "cache.zarr")
    damaged = {fault.file for fault in verify(store).faults}
    for step in range(1, 20):
        trial = shutil.copytree(store, tmp_path / f"trial-{step}.zarr")
        storage = faults.FaultyLocalStorage(trial, at=step, how="torn")
        try:
            repair(storage, made / "index.sqlite", load, MACHINE)
            break
        except faults.Killed:
            assert {
                fault.file for fault in verify(trial).faults if fault.kind != "stray"
            } <= damaged
            if step in (2, 5, 7, 8):  # amid metadata, tables, and between the chunks of a unit
                repair(trial, made / "index.sqlite", load, MACHINE)
                gc(trial)
                assert content(trial) == clean
    assert len(storage.steps) == 8
    assert content(trial) == clean


def test_a_full_disk_stops_a_repair_and_leaves_what_was_there(made, store, faults):
    flip(store / "part-0000/features/one/c.0.0")
    before = content(store)
    storage = faults.FaultyLocalStorage(store, at=1, how=errno.ENOSPC)
    with pytest.raises(OSError, match="No space left"):
        repair(storage, made / "index.sqlite", lambda: Identifiers.load(made / "key"), MACHINE)
    assert content(store) == before


def test_superseded_rows_do_not_keep_the_others_of_their_unit_from_being_repaired(
    made, store, mend, tmp_path
):
    def change(files):
        dicom = pydicom.dcmread(files[0])
        dicom.KVP = 99
        dicom.save_as(files[0])

    index = scanned_again(made, tmp_path, change)
    for one in SETS:
        compute(index, store, made / "key", **one)
    assert len(list(store.glob("part-*"))) == 3
    before = FeatureStore.open(store)["one"].to_numpy()
    units = len(list((store / "part-0000/features/one").glob("c.*")))
    for unit in range(units):
        flip(store / f"part-0000/features/one/c.{unit}.0")
    assert mend(index=index).state == "sound"
    np.testing.assert_array_equal(FeatureStore.open(store)["one"].to_numpy(), before)


def test_metadata_of_a_part_that_replaces_others_come_back_as_they_were(store, mend):
    (store / "part-0001").rename(store / "part-0002")
    shutil.copytree(store / "part-0000", store / "part-0001")
    gc(store)
    assert [path.name for path in sorted(store.glob("part-*"))] == ["part-0003"]
    clean = content(store)
    flip(store / "part-0003/zarr.json")
    assert mend().state == "sound"
    assert content(store) == clean


def test_a_store_with_kept_ids_gets_its_root_back_without_a_key(made, tmp_path):
    index, store = made / "index.sqlite", tmp_path / "kept.zarr"
    compute(index, store, None)
    clean = content(store)
    flip(store / "zarr.json")

    def no_key():
        raise UsageError("the key file is missing")

    assert repair(store, index, no_key, MACHINE).state == "sound"
    assert content(store) == clean
