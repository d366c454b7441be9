"""NIfTI files with a table of identifiers, from `init` to a store."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from cli.featurecache import main
from featurecache.project import load_project
from featurecache.store import FeatureStore

nibabel = pytest.importorskip(
    "nibabel", reason="the nifti extra is not installed: pip install 'featurecache[nifti]'"
)


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three volumes of two patients, in a folder below an empty working folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("SOURCE", "STORE", "INDEX", "KEY", "KEEP_IDS", "LABELS", "SELECT", "NIFTI_IDS"):
        monkeypatch.delenv(f"FEATURECACHE_{name}", raising=False)
    root = tmp_path / "scans"
    root.mkdir()
    for number, name in enumerate(("a", "b", "c")):
        data = np.random.default_rng(number).normal(35, 9, (16, 16, 3))
        data[:4] = -1000
        image = nibabel.Nifti1Image(data.astype(np.int16), np.diag([-0.5, -0.5, 5.0, 1.0]))
        nibabel.save(image, root / f"{name}.nii.gz")
    (tmp_path / "ids.csv").write_text("path,PatientID\na.nii.gz,p1\nb.nii.gz,p2\nc.nii.gz,p2\n")
    return root


def test_init_keeps_the_table_and_every_command_follows_it(tree: Path) -> None:
    made = run("init", tree, "--nifti-ids", "ids.csv", "--keep-ids")
    assert made.exit_code == 0, made.stderr
    assert load_project().nifti_ids == Path("ids.csv")

    scanned = run("scan", "--json")
    extracted = run(
        "extract", "--backbone", "squeezenet1_1", "--weights", "random:0", "--size", "64",
        "--workers", "1",
    )  # fmt: skip

    assert (scanned.exit_code, extracted.exit_code) == (0, 0), extracted.stderr
    found = {one["series"]: one["patient"] for one in json.loads(scanned.stdout)["series"]}
    assert found == {"a": "p1", "b": "p2", "c": "p2"}
    stored = FeatureStore.open("cache.zarr")["squeezenet1_1"].series["patient"]
    assert stored.to_dict() == found


def test_what_the_table_lacks_and_has_too_much_is_listed(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("other.csv").write_text("path,PatientID\na.nii.gz,p1\nx.nii.gz,p2\n")
    monkeypatch.setenv("FEATURECACHE_NIFTI_IDS", "other.csv")

    result = run("scan", tree)

    assert result.exit_code == 3
    assert "3 files seen = 1 used + 0 skipped + 2 failed" in result.stdout
    assert "row of the table of --nifti-ids without a NIfTI file" in result.stdout
    assert "rows of --nifti-ids that name no NIfTI file:\n  x.nii.gz" in result.stdout
    assert "rows of --nifti-ids" not in run("scan", tree, "--nifti-ids", "ids.csv").stdout


@pytest.mark.parametrize("command", ["init", "scan"])
@pytest.mark.parametrize(
    ("text", "words"), [(None, "nowhere.csv"), ("path,ID\na.nii.gz,1\n", "'PatientID' is missing")]
)
def test_a_wrong_table_stops_before_any_work(
    tree: Path, command: str, text: str | None, words: str
) -> None:
    if text is not None:
        Path("nowhere.csv").write_text(text)

    result = run(command, tree, "--nifti-ids", "nowhere.csv")

    assert result.exit_code == 2
    assert words in result.stderr
    assert not Path("featurecache.sqlite").exists()
    assert not Path("featurecache.toml").exists()
