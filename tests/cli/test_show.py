"""`featurecache show`, run in this process."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli.featurecache import main


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """DICOM of two patients, small images."""
    from featurecache.phantom import write_phantom

    folder = tmp_path_factory.mktemp("phantom")
    write_phantom(folder, patients=2, seed=1, series="thick", size=64)
    return folder


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("SOURCE", "STORE", "INDEX", "KEY", "KEEP_IDS", "LABELS", "SELECT"):
        monkeypatch.delenv(f"FEATURECACHE_{name}", raising=False)
    yield tmp_path


@pytest.fixture
def series(phantom: Path) -> dict[str, str]:
    """A scanned project: folder of a series, and its number of slices."""
    assert run("init", phantom / "dicom").exit_code == 0
    assert run("scan").exit_code == 0
    folder = phantom / "dicom" / "PH000000" / "ST000001" / "SE000003"
    return {"folder": str(folder), "slices": str(len(list(folder.iterdir())))}


def test_a_sheet_of_a_folder_and_of_a_store_id(series: dict[str, str], project: Path) -> None:
    by_folder = run("show", series["folder"], "--out", "a.png", "--size", "64")
    assert by_folder.exit_code == 0, by_folder.output
    assert by_folder.stdout == f"a.png: {series['slices']} slices\n"

    from featurecache.identifiers import Identifiers
    from featurecache.index import Index

    with Index.open(project / "featurecache.sqlite", readonly=True) as index:
        key = index.find(series["folder"]).key
    store_id = Identifiers.load(project / "featurecache.key").series(key)
    by_id = run("show", store_id, "--out", "b.png", "--size", "64")
    assert by_id.exit_code == 0, by_id.output
    assert (project / "a.png").read_bytes() == (project / "b.png").read_bytes()
    assert run("show", key, "--out", "c.png", "--size", "64").exit_code == 0
    assert (project / "a.png").read_bytes() == (project / "c.png").read_bytes()


def test_options_of_extract_change_the_sheet(series: dict[str, str], project: Path) -> None:
    sheets = set()
    for number, options in enumerate(
        [
            (), ("--windows", "brain,subdural,bone"), ("--spacing", "1", "--fov", "250"),
            ("--fov", "120"), ("--columns", "3"),
        ]
    ):  # fmt: skip
        out = f"{number}.png"
        done = run("show", series["folder"], "--out", out, "--size", "64", *options)
        assert done.exit_code == 0, done.output
        sheets.add((project / out).read_bytes())
    assert len(sheets) == 5


def test_the_selection_of_the_settings_is_told(series: dict[str, str], project: Path) -> None:
    plain = run("show", series["folder"], "--out", "a.png", "--size", "64")
    settings = project / "featurecache.toml"
    settings.write_text(settings.read_text() + 'select = ["slices>=999"]\n')
    left_out = run("show", series["folder"], "--out", "b.png", "--size", "64")
    everything = run("show", series["folder"], "--out", "c.png", "--size", "64", "--select", "all")

    assert [one.exit_code for one in (plain, left_out, everything)] == [0, 0, 0], left_out.output
    sheets = [(project / name).read_bytes() for name in ("a.png", "b.png", "c.png")]
    assert sheets[0] == sheets[2] != sheets[1]


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (("--fit", "stretch"), "stretch"),
        (("--spacing", "0"), "--spacing"),
        (("--windows", "brian"), "brian"),
        (("--key", "nowhere.key"), "nowhere.key"),
        (("--spacing", "0.001", "--fov", "250"), "pixels a side"),
    ],
)
def test_wrong_options_end_with_2(
    series: dict[str, str], wrong: tuple[str, ...], named: str
) -> None:
    result = run("show", series["folder"], "--out", "a.png", *wrong)

    assert result.exit_code == 2, result.output
    assert named in result.stderr


def test_failed_slices_end_with_3(
    phantom: Path, project: Path, series: dict[str, str], tmp_path: Path
) -> None:
    import shutil

    tree = shutil.copytree(phantom / "dicom", tmp_path / "damaged")
    file = sorted(next(tree.rglob("SE000003")).iterdir())[0]
    file.write_bytes(file.read_bytes()[:-1000])
    assert run("scan", tree, "--index", "other.sqlite").exit_code == 0

    result = run("show", file.parent, "--index", "other.sqlite", "--out", "a.png", "--size", "64")

    assert result.exit_code == 3, result.output
    assert "1 failed: pixel data is short" in result.stdout
    assert (project / "a.png").exists()
