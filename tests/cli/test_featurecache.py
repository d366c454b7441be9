"""The commands of `featurecache`, run in this process on a phantom of three patients."""

import json
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from click.testing import CliRunner, Result

from cli.featurecache import main
from featurecache.project import load_project
from featurecache.select import CQ500_RULES

EXTRACT = (
    "extract", "--backbone", "squeezenet1_1", "--weights", "random:0", "--size", "64",
    "--workers", "1",
)  # fmt: skip


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """DICOM of three patients, drawn once."""
    folder = tmp_path_factory.mktemp("phantom")
    result = run("phantom", folder, "--patients", 3, "--seed", 1, "--series", "thick")
    assert result.exit_code == 0, result.stderr
    return folder


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("SOURCE", "STORE", "INDEX", "KEY", "KEEP_IDS", "LABELS", "SELECT"):
        monkeypatch.delenv(f"FEATURECACHE_{name}", raising=False)
    yield tmp_path


@pytest.fixture
def initialised(project: Path, phantom: Path) -> Path:
    """A working folder after `init` on the phantom."""
    result = run("init", phantom, "--labels", phantom / "labels.csv")
    assert result.exit_code == 0, result.stderr
    return project


@pytest.mark.parametrize("args", [("--version",), ("extract",), ("scan", "--min-slices", "0")])
def test_wrong_use_ends_with_2_and_the_version_with_0(args: tuple[str, ...]) -> None:
    result = run(*args)

    assert result.exit_code == (0 if args == ("--version",) else 2)
    assert "Traceback" not in result.output


def test_init_writes_settings_and_a_private_key(initialised: Path, phantom: Path) -> None:
    text = (initialised / "featurecache.toml").read_text()

    assert f'source = "{phantom}"' in text
    assert 'labels_format = "table"' in text
    assert (initialised / "featurecache.key").stat().st_mode & 0o777 == 0o600


def test_init_refuses_to_replace_settings_and_never_replaces_a_key(
    initialised: Path, phantom: Path
) -> None:
    key = (initialised / "featurecache.key").read_bytes()

    refused = run("init", phantom)
    forced = run("init", phantom, "--force")

    assert refused.exit_code == 2
    assert "--force" in refused.stderr
    assert forced.exit_code == 0
    assert "kept featurecache.key" in forced.stdout
    assert (initialised / "featurecache.key").read_bytes() == key
    assert "labels.csv" not in (initialised / "featurecache.toml").read_text()


@pytest.mark.parametrize("preset", ["cq500", "rsna"])
def test_presets_set_the_label_format_and_keep_public_ids(
    preset: str, project: Path, phantom: Path
) -> None:
    result = run("init", phantom, "--preset", preset, "--labels", phantom / "labels.csv")

    assert result.exit_code == 0
    text = (project / "featurecache.toml").read_text()
    assert f'labels_format = "{preset}"' in text
    assert "keep_ids = true" in text
    assert not (project / "featurecache.key").exists()


def test_init_shows_and_stores_the_selection_of_a_preset(project: Path, phantom: Path) -> None:
    said = run("init", phantom, "--preset", "cq500", "--select", "+thickness<=5").stdout

    settings = load_project()
    assert settings.select == (*CQ500_RULES, "thickness<=5")
    assert all(f"  {rule}" in said for rule in CQ500_RULES)
    run("init", phantom, "--preset", "cq500", "--select", "slices>=20", "--force")
    assert load_project().select == ("slices>=20",)
    assert "every series is used" in run("init", phantom, "--preset", "rsna", "--force").stdout
    assert load_project().select == ("all",)
    run("init", phantom, "--force")
    assert load_project().select == ()
    refused = run("init", phantom, "--select", "slice>=20", "--force")
    assert refused.exit_code == 2
    assert "did you mean 'slices'?" in refused.stderr


def selected(*args: str) -> list[str]:
    result = run("scan", "--json", *args)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)["selection"]


def test_selection_comes_from_flag_then_environment_then_settings(
    initialised: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert selected() == ["all"]
    path = initialised / "featurecache.toml"
    path.write_text(path.read_text() + 'select = ["slices>=3"]\n')
    assert selected() == ["slices>=3"]
    monkeypatch.setenv("FEATURECACHE_SELECT", "slices>=4; description=* unless a b ;")
    assert selected() == ["slices>=4", "description=* unless a b"]
    assert selected("--select", "slices>=5") == ["slices>=5"]
    assert selected("--select", "+slices<=90", "--select", "+one per study") == [
        "slices>=3", "slices<=90", "one per study: thinnest",
    ]  # fmt: skip
    assert selected("--select", "all") == ["all"]


def test_an_empty_selection_is_shown_by_scan_and_refused_by_both(initialised: Path) -> None:
    shown = run("scan", "--select", "slices>=20", "--select", "kernel!=SOFT40")
    refused = run(*EXTRACT, "--select", "kernel!=SOFT40")

    assert (shown.exit_code, refused.exit_code) == (2, 2)
    assert "0 used" in shown.stdout
    assert "not selected: kernel matches SOFT40" in shown.stdout
    kinds = [line for line in shown.stdout.splitlines() if " leave out " in line]
    assert kinds and all(line.endswith("  kernel matches SOFT40") for line in kinds)
    for result in (shown, refused):
        assert "the rule 'kernel!=SOFT40' took the last 3 of 3" in result.stderr
    assert not (initialised / "cache.zarr").exists()
    wrong = run("scan", "--select", "slice>3")
    assert wrong.exit_code == 2
    assert "did you mean 'slices'?" in wrong.stderr


def test_extract_leaves_out_what_scan_said_it_would(initialised: Path) -> None:
    few = min(one["n_slices"] for one in json.loads(run("scan", "--json").stdout)["series"])
    rule = f"slices>{few}"
    shown = json.loads(run("scan", "--json", "--select", rule).stdout)

    done = run(*EXTRACT, "--plan-only", "--json", "--select", rule)

    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["files"] == shown["files"]
    assert document["selection"] == [rule]
    assert 1 <= sum(one["selected"] for one in document["series"]) <= 2
    assert all("description" not in one for one in document["series"])
    stored = json.loads(run("info", "--json").stdout)
    assert stored["series"] == sum(one["selected"] for one in document["series"])


def test_init_takes_key_and_store_elsewhere(project: Path, phantom: Path) -> None:
    result = run("init", phantom, "--key", "secrets/k", "--store", "/features/cache.zarr")

    assert result.exit_code == 0, result.stderr
    assert (project / "secrets/k").is_file()
    assert 'store = "/features/cache.zarr"' in (project / "featurecache.toml").read_text()


def test_a_key_that_cannot_be_written_leaves_no_settings(project: Path, phantom: Path) -> None:
    (project / "file").touch()

    result = run("init", phantom, "--key", "file/sub/k")

    assert result.exit_code == 2
    assert "cannot make the folder of the key file/sub/k" in result.stderr
    assert [path.name for path in project.iterdir()] == ["file"]
    assert run("init", phantom).exit_code == 0


def test_init_names_what_is_missing(project: Path, phantom: Path) -> None:
    archive = project / "scans.zip"
    archive.touch()

    assert "nowhere does not exist" in run("init", "nowhere").stderr
    assert "unzip it first" in run("init", archive).stderr
    assert "--labels x.csv does not exist" in run("init", phantom, "--labels", "x.csv").stderr
    assert "is a folder" in run("init", phantom, "--slice-labels", phantom).stderr
    assert sorted(path.name for path in project.iterdir()) == ["scans.zip"]


def test_flag_wins_over_environment_over_settings_over_default(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def store_in_use(*args: str) -> str:
        return run("info", *args).stderr

    assert "cache.zarr" in store_in_use()
    (project / "featurecache.toml").write_text('store = "settings.zarr"\n')
    assert "settings.zarr" in store_in_use()
    monkeypatch.setenv("FEATURECACHE_STORE", "environment.zarr")
    assert "environment.zarr" in store_in_use()
    assert "flag.zarr" in store_in_use("flag.zarr")


def test_broken_settings_do_not_stop_help(project: Path) -> None:
    (project / "featurecache.toml").write_text("sorce = 1\n")

    assert run("scan", "--help").exit_code == 0
    result = run("scan")
    assert result.exit_code == 2
    assert "did you mean 'source'?" in result.stderr


def test_scan_needs_a_source(project: Path) -> None:
    result = run("scan")

    assert result.exit_code == 2
    assert "featurecache init SOURCE" in result.stderr
    assert run("scan", "nowhere").exit_code == 2
    assert not (project / "featurecache.sqlite").exists()


def test_scan_accounts_for_every_file(initialised: Path, phantom: Path) -> None:
    files = [path for path in phantom.rglob("*") if path.is_file()]

    text = run("scan")
    document = json.loads(run("scan", "--json").stdout)

    assert text.exit_code == 0, text.stderr
    assert f"{len(files)} files seen" in text.stdout
    assert document["schema_version"] == 1
    counts = document["files"]
    assert counts["seen"] == len(files)
    assert counts["seen"] == counts["used"] + counts["skipped"] + counts["failed"]
    assert len(document["series"]) == 3
    assert (initialised / "featurecache.sqlite").stat().st_mode & 0o777 == 0o600


def test_scan_ends_with_3_and_the_reason_when_a_file_failed(phantom: Path, project: Path) -> None:
    source = sorted((phantom / "dicom" / "PH000000").rglob("*"))
    images = [path for path in source if path.is_file()]
    target = project / "dicom"
    target.mkdir()
    for number, path in enumerate(images):
        dataset = pydicom.dcmread(path)
        if number == len(images) // 2 and "RescaleIntercept" in dataset:
            del dataset.RescaleIntercept
        dataset.save_as(target / f"{number}.dcm")

    result = run("scan", "dicom")

    assert result.exit_code == 3
    assert "1 failed" in result.stdout
    assert "escale" in result.stdout


def test_explain_says_what_became_of_a_file(initialised: Path, phantom: Path) -> None:
    assert "scan" in run("scan", "--explain", phantom).stderr, "there is no index yet"
    run("scan")

    result = run("scan", "--explain", phantom / "labels.csv")

    assert result.exit_code == 0
    assert "skipped" in result.stdout
    both = run("scan", "--explain", phantom / "labels.csv", "--json")
    assert both.exit_code == 2
    assert "leave out --json" in both.stderr


def test_extract_then_info(initialised: Path) -> None:
    first = run(*EXTRACT)
    assert first.exit_code == 0, first.stderr
    assert "files seen" in first.stdout

    document = json.loads(run("info", "--json").stdout)
    features = document["features"]["squeezenet1_1"]
    assert document["schema_version"] == 1
    assert document["series"] == 3
    assert features["shape"] == [document["slices"], 512]
    assert features["complete"] is True

    text = run("info").stdout
    assert f"{document['slices']} x 512 float16" in text
    assert "random:0" in text

    again = json.loads(run(*EXTRACT, "--json").stdout)
    assert again["schema_version"] == 1
    assert again["files"]["seen"] > 0
    assert set(again["seconds"]) >= {"read", "decode", "transform", "embed", "write"}

    other = run(*EXTRACT, "--windows", "bone")
    assert other.exit_code == 5
    assert "windows" in other.stderr

    listed = json.loads(run("info", "--series", "--json").stdout)["series_list"]
    assert len(listed) == 3
    assert all(one["in_store"] for one in listed)
    assert all(len(one["series"]) == 32 for one in listed)
    index = json.loads(run("scan", "--json").stdout)["series"]
    assert {one["series"] for one in listed} == {one["series"] for one in index}
    lines = run("info", "--series").stdout.splitlines()
    assert sum(line.endswith("yes") for line in lines) == 3


def test_extract_without_init_makes_a_key_beside_the_store(project: Path, phantom: Path) -> None:
    result = run(*EXTRACT, phantom, "--store", "out/cache.zarr", "--plan-only")

    assert result.exit_code == 0, result.stderr
    assert "wrote the key out/featurecache.key" in result.stderr
    assert (project / "out/featurecache.sqlite").exists()

    (project / "out/featurecache.key").unlink()
    without = run(*EXTRACT, phantom, "--store", "out/cache.zarr")
    assert without.exit_code == 2
    assert "key file out/featurecache.key is missing" in without.stderr


def test_kept_ids_are_the_users_own(project: Path, phantom: Path) -> None:
    result = run(*EXTRACT, phantom, "--keep-ids", "--plan-only")
    assert result.exit_code == 0, result.stderr

    listed = json.loads(run("info", "--series", "--json").stdout)["series_list"]

    assert not (project / "featurecache.key").exists()
    assert all(one["series"] == one["series_instance_uid"] for one in listed)


def test_series_are_listed_before_any_extraction(initialised: Path, phantom: Path) -> None:
    assert "no index" in run("info", "--series").stderr
    run("scan")

    result = run("info", "--series", "--json")

    assert result.exit_code == 0, result.stderr
    listed = json.loads(result.stdout)["series_list"]
    assert len(listed) == 3
    assert not any(one["in_store"] for one in listed)
    assert "cache.zarr is not there yet" in run("info", "--series").stdout
    for name in ("series", "series_instance_uid", "folder"):
        shown = run("show", listed[0][name], "--out", "a.png", "--size", "32")
        assert shown.exit_code == 0, shown.stderr
    (initialised / "featurecache.key").unlink()
    assert run("info", "--series").stdout.count("no key yet") == 3


def test_series_of_the_store_that_the_index_lacks_are_listed(
    initialised: Path, phantom: Path
) -> None:
    assert run(*EXTRACT, "--plan-only").exit_code == 0
    assert run("scan", phantom / "dicom/PH000000", "--index", "one.sqlite").exit_code == 0

    listed = json.loads(run("info", "--series", "--json", "--index", "one.sqlite").stdout)

    assert [one["in_store"] for one in listed["series_list"]] == [True] * 3
    assert [one["folder"] is None for one in listed["series_list"]] == [False, True, True]
    assert {one["n_slices"] for one in listed["series_list"]} == {
        one["n_slices"] for one in json.loads(run("scan", "--json").stdout)["series"]
    }
    assert run("info", "--series", "--index", "one.sqlite").stdout.count("not in the index") == 2


def test_info_of_what_is_no_store_ends_with_5(project: Path) -> None:
    (project / "folder").mkdir()

    assert run("info", "nowhere.zarr").exit_code == 5
    assert run("info", "folder").exit_code == 5


def test_doctor_prints_a_document() -> None:
    result = run("doctor", "--json")

    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["schema_version"] == 1
    assert "devices" in run("doctor").stdout
