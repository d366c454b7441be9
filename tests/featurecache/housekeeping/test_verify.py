"""Every byte of a store is looked at: whatever is changed, verify and readers say so."""

import errno
import json
import shutil

import numpy as np
import pytest

from featurecache import arrays
from featurecache.columns import part_draft
from featurecache.errors import StoreError
from featurecache.feature_array import FeatureArray
from featurecache.housekeeping.verify import verify
from featurecache.local_storage import LocalStorage
from featurecache.metadata import read_metadata, sealed
from featurecache.nodes import encode_rows
from featurecache.open_storage import open_storage
from featurecache.store import FeatureStore
from featurecache.tables import PartTables

rng = np.random.default_rng(0)
FIRST = {"a": rng.normal(size=(70, 3)).astype("float32"), "b": np.ones((3, 3), "float32")}
SECOND = {"b": rng.normal(size=(5, 3)).astype("float32"), "c": np.zeros((9, 3), "float32")}


@pytest.fixture
def store(tmp_path, make_store):
    """Two parts with two feature sets each; one slice failed, one series is superseded."""
    path = tmp_path / "cache.zarr"
    make_store(path, FIRST, name=("one", "two"), failed={"a": [3]})
    return make_store(path, SECOND, name=("one", "two"))


def read_everything(path):
    opened = FeatureStore.open(path)
    features = {name: opened[name] for name in ("one", "two")}
    assert len(features["one"].to_numpy()) == len(features["one"].slices)
    assert len(features["one"].series) == len(features["two"].series)
    assert len(features["two"].to_numpy()) == len(features["one"].to_numpy())


def found(path, kind=None):
    return [fault.file for fault in verify(path).faults if kind in (None, fault.kind)]


def test_a_store_as_it_was_written_is_sound(store):
    report = verify(store)
    assert (report.state, report.exit_code, report.faults) == ("sound", 0, [])
    assert report.files == sum(path.is_file() for path in store.rglob("*"))
    assert (report.parts, report.units) == (2, 6)
    assert report.document()["state"] == "sound"


def flipped(content):
    changed = bytearray(content)
    changed[len(content) // 2] ^= 4
    return bytes(changed)


DAMAGES = {
    "bit flipped": flipped,
    "cut": lambda content: content[: len(content) // 2],
    "deleted": lambda content: None,
}


LAYERS = {
    "chunks": lambda path: path.name != "zarr.json",
    "arrays": lambda path: path.name == "zarr.json" and len(path.parts) > 3,
    "groups": lambda path: path.name == "zarr.json" and len(path.parts) <= 3,
}


def damage(path, how):
    """Change a file; returns what puts it back."""
    content = path.read_bytes()
    changed = DAMAGES[how](content)
    path.unlink() if changed is None else path.write_bytes(changed)
    return lambda: path.write_bytes(content)


def all_files(store):
    return sorted(path.relative_to(store) for path in store.rglob("*") if path.is_file())


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("how", DAMAGES)
def test_verify_names_every_file_that_is_damaged_however_many_are(store, how, layer):
    files = [path for path in all_files(store) if LAYERS[layer](path)]
    if how == "deleted":  # without its features, a status is one of a unit to be computed
        files = [path for path in files if "status" not in path.parts or path.name == "zarr.json"]
    for path in files:
        damage(store / path, how)
    named = found(store)
    assert [path for path in files if not any(f"{path}".startswith(one) for one in named)] == []


@pytest.mark.parametrize("how", DAMAGES)
def test_whatever_happens_to_a_file_no_reader_is_silent(store, how):
    files, silent = all_files(store), []
    assert len(files) == 111
    for path in files:
        restore = damage(store / path, how)
        try:
            read_everything(store)
            silent.append(path)
        except StoreError:
            restore()
    assert silent == []
    read_everything(store)


@pytest.mark.slow
@pytest.mark.parametrize("how", DAMAGES)
def test_verify_names_the_one_file_that_is_damaged_and_nothing_is_repaired_unasked(store, how):
    for path in all_files(store):
        restore = damage(store / path, how)
        before = {file: (store / file).read_bytes() for file in all_files(store)}
        report = verify(store)
        assert report.exit_code == 5
        assert any(f"{path}".startswith(fault.file) for fault in report.faults)
        assert {file: (store / file).read_bytes() for file in all_files(store)} == before
        restore()
    assert verify(store).state == "sound"


def test_units_that_were_not_computed_are_unfinished_not_damaged(store):
    (store / "part-0000/features/one/c.1.0").unlink()
    report = verify(store)
    assert (report.state, report.exit_code) == ("unfinished", 5)
    kinds = {fault.file: fault.kind for fault in report.faults}
    assert kinds == {
        "part-0000/features/one": "unfinished",
        "part-0000/status/one/c.1": "stray",
    }
    assert "run the same `featurecache extract` again" in report.text()


def test_a_status_that_is_gone_is_damage_since_its_features_are_there(store):
    (store / "part-0001/status/two/c.0").unlink()
    assert found(store, "damaged") == found(store) == ["part-0001/status/two/c.0"]


def test_a_part_that_came_after_a_feature_set_is_unfinished(store, make_store):
    make_store(store, {"d": np.ones((2, 3), "float32")}, name="one")
    assert found(store) == ["part-0002/features/two"]
    assert verify(store).state == "unfinished"


def test_files_that_do_not_belong_to_the_store_are_named(store):
    (store / "notes.txt").write_text("mine")
    (store / "part-0000/features/one/c.7.0").write_bytes(b"x")
    (store / "part-0000/features/one/c.0.0.0123.partial").write_bytes(b"x")
    (store / ".part-0002.0123.partial/series").mkdir(parents=True)
    (store / ".part-0002.0123.partial/zarr.json").write_bytes(b"x")
    (store / "part-0001/series/weight").mkdir()
    (store / "part-0001/series/weight/zarr.json").write_text("{}")
    assert found(store, "stray") == [
        ".part-0002.0123.partial/", "notes.txt", "part-0000/features/one/c.0.0.0123.partial",
        "part-0000/features/one/c.7.0", "part-0001/series/weight/zarr.json",
    ]  # fmt: skip
    assert verify(store).state == "stray"


def test_an_empty_status_array_without_features_is_what_a_killed_run_left(store):
    arrays.create_features(
        open_storage(store), 1, "late", n_slices=14, dim=2, dtype="float32", unit_slices=8,
        attributes={},
    )  # fmt: skip
    (store / "part-0001/features/late/zarr.json").unlink()
    assert found(store) == ["part-0001/status/late"]


def test_features_that_were_removed_are_missed_by_their_status(store):
    for path in (store / "part-0000/features/two").iterdir():
        path.unlink()
    assert found(store, "damaged") == ["part-0000/features/two"]


def test_a_removed_part_is_named(store):
    (store / "part-0000").rename(store.parent / "away")
    assert found(store) == ["part-0000"]


def rewrite(path, change):
    """Change metadata and seal them again, as a program with a bug would."""
    document = json.loads(path.read_bytes())
    change(document)
    path.write_bytes(sealed(json.dumps(document).encode()))


def test_a_fingerprint_that_is_not_that_of_the_recipe_is_found(store):
    rewrite(
        store / "part-0000/features/one/zarr.json",
        lambda d: d["attributes"]["recipe"].update(size=512),
    )
    report = verify(store)
    assert [fault.file for fault in report.faults] == ["part-0000/features/one/zarr.json"]
    assert "fingerprint" in report.faults[0].what


def test_parts_of_different_recipes_are_found(store):
    from featurecache.recipe import fingerprint_of

    def other(document):
        recipe = document["attributes"]["recipe"] | {"size": 512}
        document["attributes"] |= {"recipe": recipe, "fingerprint": fingerprint_of(recipe)}

    rewrite(store / "part-0001/features/one/zarr.json", other)
    assert "made by another recipe than part-0000" in verify(store).faults[0].what


def write_column(store, column, change):
    """Another table column, with a checksum that fits."""
    storage = open_storage(store)
    tables = {name: arrays.read_table(storage, 0, name) for name in ("series", "slices")}
    table, _, name = column.partition("/")
    tables[table][name] = change(tables[table][name])
    files = part_draft(storage, PartTables.of(**tables)).files()
    storage.write(f"part-0000/{column}/c.0", files[f"{column}/c.0"])


@pytest.mark.parametrize(
    ("column", "change", "words"),
    [
        ("series/first_row", lambda c: c.add([0, 1]), "series 1 begins at row 71, expected 70"),
        (
            "series/n_slices",
            lambda c: c.add([0, 1]),
            "they add up to 74 slices, and slices/ has 73",
        ),
        ("series/n_slices", lambda c: c * [1, 0], "1 series without a slice"),
        ("series/series", lambda c: ["a", "a"], "1 series twice, e.g. a"),
        ("series/source", lambda c: ["x", c[1]], "1 of 2 are not 32 hexadecimal digits"),
        ("slices/position", lambda c: c[::-1].to_numpy(), "row 0 has 2, expected 0"),
        ("slices/series", lambda c: 1 - c, "row 0 has 1, expected 0"),
        ("slices/slice", lambda c: ["x"] * len(c), "71 slices appear twice in their series"),
    ],
)
def test_tables_that_do_not_fit_together_are_found(store, column, change, words):
    write_column(store, column, change)
    faults = verify(store).faults
    assert (f"part-0000/{column}", words) in {(fault.file, fault.what) for fault in faults}


def test_ids_of_a_store_with_a_key_must_be_hashes(store):
    rewrite(store / "zarr.json", lambda d: d["attributes"].update(key_digest="0" * 32))
    columns = {file.partition("/")[2] for file in found(store)}
    assert columns == {
        "series/series", "series/series_of", "series/study", "series/patient", "slices/slice"
    }  # fmt: skip
    rewrite(store / "zarr.json", lambda d: d["attributes"].update(key_digest="mine"))
    assert "zarr.json" in found(store)


def rewrite_unit(store, values, status):
    """A unit whose chunks are intact, but do not fit each other."""
    storage = open_storage(store)
    for where, rows in (("part-0000/features/one", values), ("part-0000/status/one", status)):
        for key, chunk in encode_rows(read_metadata(storage, where), 0, rows).items():
            storage.write(f"{where}/{key}", chunk)


def test_rows_are_nan_exactly_where_they_failed(store):
    array = FeatureArray(open_storage(store), 0, "one")
    values, status = array.read(0, 64), array.unit_status(0)
    for row, value, words in [
        (5, np.nan, "NaN or infinity in 1 row called ok"),
        (5, np.inf, "NaN or infinity in 1 row called ok"),
        (3, 1.0, "values in 1 row called failed"),
    ]:
        wrong = values.copy()
        wrong[row, 1] = value
        rewrite_unit(store, wrong, status)
        (fault,) = verify(store).faults
        assert words in fault.what
    for code, words in [(0, "1 failed rows were being tried again"), (77, "codes [77]")]:
        wrong = status.copy()
        wrong[3] = code
        rewrite_unit(store, values, wrong)
        (fault,) = verify(store).faults
        assert fault.file == "part-0000/status/one/c.0"
        assert words in fault.what


def test_what_the_disk_does_not_give_is_named_and_the_rest_is_read(store, monkeypatch):
    bad = {"part-0000/series/study/c.0", "part-0001/status/one/c.0", "part-0001/slices/zarr.json"}
    read = LocalStorage.read

    def failing(self, key):
        if key in bad:
            raise OSError(errno.EIO, "Input/output error", key)
        return read(self, key)

    monkeypatch.setattr(LocalStorage, "read", failing)
    flip = damage(store / "part-0000/features/two/c.1.0", "bit flipped")
    report = verify(store)
    flip()
    assert set(found(store)) == bad
    assert {fault.file for fault in report.faults} == {*bad, "part-0000/features/two/c.1.0"}
    assert "cannot be read (Input/output error)" in report.text()


def test_what_is_no_store_is_an_error(tmp_path):
    with pytest.raises(StoreError, match="there is no store"):
        verify(tmp_path / "none.zarr")
    (tmp_path / "zarr.json").write_text("{}")
    with pytest.raises(StoreError, match="featurecache did not make it"):
        verify(tmp_path)


def test_a_store_of_a_newer_version_is_an_error(store):
    rewrite(store / "zarr.json", lambda d: d["attributes"].update(format_version=99))
    with pytest.raises(StoreError, match="Update featurecache"):
        verify(store)


def test_chunks_that_go_away_under_a_reader_are_an_error_never_missing_rows(store):
    features = FeatureStore.open(store)["one"]
    (store / "part-0001").rename(store.parent / "away")
    with pytest.raises(StoreError, match=r"part-0001/zarr\.json is missing"):
        features.to_numpy()
    (store.parent / "away").rename(store / "part-0001")
    assert len(features.slices) == len(features.to_numpy())
    (store / "part-0001/features/one/c.0.0").unlink()
    for read in (features.to_numpy, lambda: features["c"]):
        with pytest.raises(StoreError, match=r"calls row \d ok, but it has no features"):
            read()
    shutil.rmtree(store / "part-0001")
    with pytest.raises(StoreError, match="open it again"):
        features["c"]
