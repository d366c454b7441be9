"""The commands for a store that is there, as a user types them."""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from click.testing import CliRunner, Result

from cli.featurecache import main
from featurecache import FeatureStore

EXTRACT = (
    "extract", "--backbone", "squeezenet1_1", "--weights", "random:0", "--size", "32",
    "--batch-size", "4", "--unit-slices", "16", "--workers", "1", "--device", "cpu",
)  # fmt: skip
CHUNK = "cache.zarr/part-0000/features/squeezenet1_1/c.1.0"


def run(*args: str | Path, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(arg) for arg in args])
    assert result.exit_code == code, result.output
    return result


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project folder with phantom, settings, index, key and a store, made once."""
    folder = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run("phantom", "images", "--patients", 2, "--seed", 1, "--series", "thick")
        run("init", "images/dicom", "--labels", "images/labels.csv")
        run(*EXTRACT)
    return folder


@pytest.fixture(autouse=True)
def project(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of it to work in; the index finds the images where they were."""
    for name in ("SOURCE", "STORE", "INDEX", "KEY", "KEEP_IDS", "LABELS", "SELECT"):
        monkeypatch.delenv(f"FEATURECACHE_{name}", raising=False)
    for path in made.iterdir():
        if path.is_file():
            shutil.copy(path, tmp_path)
    shutil.copytree(made / "cache.zarr", tmp_path / "cache.zarr")
    monkeypatch.chdir(tmp_path)
    yield tmp_path


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def files(store: Path) -> dict[str, bytes]:
    found = (path for path in sorted(store.rglob("*")) if path.is_file())
    return {path.relative_to(store).as_posix(): path.read_bytes() for path in found}


def test_verify_ends_with_0_or_5_and_names_what_is_wrong(project: Path) -> None:
    assert "sound" in run("verify").stdout
    flip(project / CHUNK)
    text = run("verify", code=5).stdout
    assert "damaged    part-0000/features/squeezenet1_1/c.1.0: cannot be read" in text
    assert "featurecache verify --repair" in text
    document = json.loads(run("verify", "cache.zarr", "--json", code=5).stdout)
    assert (document["schema_version"], document["state"]) == (1, "damaged")
    assert document["faults"][0]["kind"] == "damaged"


def test_a_unit_that_is_missing_is_unfinished_and_extract_continues(
    project: Path, made: Path
) -> None:
    clean = files(project / "cache.zarr")
    (project / CHUNK).unlink()
    assert "run the same `featurecache extract` again" in run("verify", code=5).stdout
    run(*EXTRACT, made / "images/dicom")
    assert files(project / "cache.zarr") == clean


def test_repair_gives_the_same_bytes_and_ends_with_0(project: Path) -> None:
    clean = files(project / "cache.zarr")
    for name in (CHUNK, "cache.zarr/part-0000/slices/z_mm/c.0", "cache.zarr/zarr.json"):
        flip(project / name)
    text = run("verify", "--repair", "--workers", 1, "--device", "cpu").stdout
    assert "repaired   part-0000/features/squeezenet1_1/c.1.0" in text
    assert files(project / "cache.zarr") == clean


def test_what_cannot_be_repaired_ends_with_5(project: Path) -> None:
    flip(project / CHUNK)
    damaged = files(project / "cache.zarr")
    text = run("verify", "--repair", "--index", "none.sqlite", code=5).stdout
    assert "not repaired: there is no index none.sqlite" in text
    assert files(project / "cache.zarr") == damaged


def test_gc_drops_the_rows_of_a_series_that_changed(project: Path, made: Path) -> None:
    shutil.copytree(made / "images", project / "images")
    image = next(path for path in sorted((project / "images/dicom").rglob("*.dcm")) if _axial(path))
    dicom = pydicom.dcmread(image)
    dicom.KVP = 99
    dicom.save_as(image)
    run(*EXTRACT, project / "images/dicom", "--index", "again.sqlite")
    before = FeatureStore.open(project / "cache.zarr")["squeezenet1_1"].to_numpy()
    document = json.loads(run("gc", "--dry-run", "--json").stdout)
    assert document["superseded_rows"] > 0
    assert (project / "cache.zarr/part-0000").exists()
    assert "one part was written in place of part-0000" in run("gc").stdout
    assert not (project / "cache.zarr/part-0000").exists()
    after = FeatureStore.open(project / "cache.zarr")["squeezenet1_1"].to_numpy()
    np.testing.assert_array_equal(before, after)
    run("verify")
    text = run(*EXTRACT, project / "images/dicom", "--index", "again.sqlite").stdout
    assert "computed nothing" in text


def _axial(path: Path) -> bool:
    return "LOCALIZER" not in pydicom.dcmread(path, stop_before_pixels=True).ImageType


def test_diff_compares_feature_sets_and_stores(project: Path) -> None:
    document = json.loads(run("diff", "cache.zarr", "cache.zarr", "--json").stdout)
    assert document["equal"]
    assert "the same, bit for bit" in run("diff", "cache.zarr", "cache.zarr:squeezenet1_1").stdout
    run("diff", "cache.zarr:vgg16", "cache.zarr", code=2)
    run("diff", "cache.zarr", "none.zarr", code=5)


@pytest.mark.parametrize("name", ["x.npz", "x.h5", "x.parquet"])
def test_export_takes_the_format_from_the_name(project: Path, name: str) -> None:
    assert f"{name}: " in run("export", name).stdout
    assert (project / name).stat().st_size > 1000
    assert "--force" in run("export", "cache.zarr", name, code=2).stderr
    run("export", "cache.zarr", name, "--features", "squeezenet1_1", "--force")


def test_export_says_what_is_missing(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("export", "x.mat", code=2)
    run("export", "x.npz", "--features", "vgg16", code=2)
    run("export", "a", "b", "c", code=2)
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert "pip install 'featurecache[export]'" in run("export", "x.h5", code=4).stderr
    (project / CHUNK).unlink()
    run("export", "x.npz", code=5)
    assert "without features: see" in run("export", "x.npz", "--incomplete").stdout


def test_pack_writes_a_store_that_verify_and_info_know(project: Path) -> None:
    assert "packed.zarr: squeezenet1_1" in run("pack", "packed.zarr").stdout
    run("verify", "packed.zarr")
    assert json.loads(run("info", "packed.zarr", "--json").stdout)["parts"] == 1
    assert json.loads(run("diff", "cache.zarr", "packed.zarr", "--json").stdout)["equal"]
    run("pack", "cache.zarr", "packed.zarr", code=2)


def test_the_store_comes_from_the_environment_too(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "cache.zarr").rename(project / "elsewhere.zarr")
    run("verify", code=5)
    monkeypatch.setenv("FEATURECACHE_STORE", "elsewhere.zarr")
    run("verify")
    run("export", "x.npz")
    run("pack", "p.zarr")
