"""featurecache.toml: defaults, refusals that say what to do, and edits that keep comments."""

import os
import string
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurecache.errors import UsageError
from featurecache.project import FILE_NAME, MAX_BYTES, load_project, remember_run, write_project


def write(folder: Path, text: str) -> Path:
    path = folder / FILE_NAME
    path.write_text(text)
    return path


def test_without_a_file_everything_is_default(tmp_path: Path) -> None:
    project = load_project(tmp_path)

    assert project.path is None
    assert project.store == tmp_path / "cache.zarr"
    assert (project.source, project.labels, project.labels_format) == (None, None, "table")
    assert project.keep_ids is False


def test_index_and_key_lie_beside_the_file_else_beside_the_store(tmp_path: Path) -> None:
    store = Path("/elsewhere/cache.zarr")
    assert load_project(tmp_path).index_for(store) == Path("/elsewhere/featurecache.sqlite")
    assert load_project(tmp_path).key_for(store) == Path("/elsewhere/featurecache.key")

    write(tmp_path, "")
    assert load_project(tmp_path).index_for(store) == tmp_path / "featurecache.sqlite"

    write(tmp_path, 'index = "i.sqlite"\nkey = "/keys/k"\n')
    assert load_project(tmp_path).index_for(store) == tmp_path / "i.sqlite"
    assert load_project(tmp_path).key_for(store) == Path("/keys/k")


def test_a_store_in_a_bucket_stays_a_url_and_index_and_key_stay_files(tmp_path: Path) -> None:
    url = "s3://lab/head-ct/cache.zarr"
    assert load_project(tmp_path).index_for(url) == Path("featurecache.sqlite")
    assert load_project(tmp_path).key_for(url) == Path("featurecache.key")

    write_project(tmp_path, store=url)
    project = load_project(tmp_path)
    assert project.store == url
    assert project.index_for(url) == tmp_path / "featurecache.sqlite"
    assert project.key_for(url) == tmp_path / "featurecache.key"


def test_relative_paths_start_at_the_file(tmp_path: Path) -> None:
    write(tmp_path, 'source = "dicom"\nlabels = "../labels.csv"\n')

    project = load_project(tmp_path)

    assert project.source == tmp_path / "dicom"
    assert project.labels == tmp_path / "../labels.csv"


def test_parent_folders_are_not_searched(tmp_path: Path) -> None:
    write(tmp_path, "keep_ids = true\n")
    (tmp_path / "below").mkdir()

    assert load_project(tmp_path / "below").keep_ids is False


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('sorce = "x"', "unknown setting 'sorce'; did you mean 'source'?"),
        ("zzz = 1", "known are source, store"),
        ('path = "x"', "unknown setting 'path'"),
        ('keep_ids = "perhaps"', "keep_ids"),
        ('labels_format = "excel"', "'table', 'cq500' or 'rsna'"),
        ("source = 3", "source"),
        ("store = 3", "store: Input should be a valid string, got 3"),
        ('store = "gs://lab/x"', "gs:// is no place for a store"),
        ('store = "s3://me:secret@lab/x"', "no user, password"),
        ('select = "thickness<=5"', 'expected a list, e.g. select = ["thickness<=5"]'),
        ("select = [5]", "expected a list"),
        ('select = ["thicknes<=5"]', "did you mean 'thickness'?"),
        ('select = ["+slices>5"]', "not a rule"),
        ('source = ""', "expected a path, got ''"),
        ('source = "a\\u0000b"', "expected a path"),
        ("source = ", "not valid TOML"),
        ("source = " + "[" * 20_000, "featurecache.toml"),
        ('"!!python/object" = "os.system"', "unknown setting"),
    ],
)
def test_a_wrong_setting_is_refused_with_the_file_and_the_reason(
    tmp_path: Path, text: str, words: str
) -> None:
    write(tmp_path, text)

    with pytest.raises(UsageError) as error:
        load_project(tmp_path)

    assert FILE_NAME in str(error.value)
    assert words in str(error.value)


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    with path.open("wb") as file:
        file.truncate(1 << 40)  # sparse: reading it whole would exhaust memory

    with pytest.raises(UsageError, match=f"larger than {MAX_BYTES // 1024} KB"):
        load_project(tmp_path)


def test_a_pipe_in_its_place_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / FILE_NAME)

    with pytest.raises(UsageError, match="not a regular file"):
        load_project(tmp_path)


def test_bytes_that_are_not_utf8_are_named(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"source = '\xff'")

    with pytest.raises(UsageError, match="not UTF-8 text: byte 10"):
        load_project(tmp_path)


def test_written_settings_come_back(tmp_path: Path) -> None:
    write_project(
        tmp_path, source=tmp_path / "dicom", labels=Path("/data/l.csv"), keep_ids=True, preset=None
    )

    project = load_project(tmp_path)
    assert project.source == tmp_path / "dicom"
    assert project.labels == Path("/data/l.csv")
    assert project.keep_ids is True
    text = (tmp_path / FILE_NAME).read_text()
    assert 'source = "dicom"' in text, "paths inside the folder move with it"
    assert "preset" not in text


def test_rules_are_written_one_a_line_and_come_back(tmp_path: Path) -> None:
    rules = ["thickness<=5", 'description!=*"C+"*']

    write_project(tmp_path, select=rules)

    text = (tmp_path / FILE_NAME).read_text()
    assert text.count("\n    ") == 2
    assert load_project(tmp_path).select == tuple(rules)
    write_project(tmp_path, select=["all"])
    assert load_project(tmp_path).select == ("all",)
    write(tmp_path, "")
    assert load_project(tmp_path).select == ()


def test_relative_paths_are_meant_from_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, work = tmp_path / "project", tmp_path / "work"
    project.mkdir()
    work.mkdir()
    monkeypatch.chdir(work)

    write_project(project, source=Path("dicom"))

    assert 'source = "../work/dicom"' in (project / FILE_NAME).read_text()


def test_remembering_a_run_keeps_comments_order_and_mode(tmp_path: Path) -> None:
    path = write(tmp_path, '# mine\nsource = "d"  # the scans\n\n# last\nkeep_ids = false\n')
    path.chmod(0o600)

    remember_run(tmp_path, tmp_path / "runs" / "gru-1")

    assert path.read_text().startswith(
        '# mine\nsource = "d"  # the scans\n\n# last\nkeep_ids = false\n'
    )
    assert load_project(tmp_path).last_run == "runs/gru-1"
    assert load_project(tmp_path).run() == tmp_path / "runs/gru-1"
    assert path.stat().st_mode & 0o777 == 0o600

    remember_run(tmp_path, tmp_path / "runs" / "gru-2")
    assert path.read_text().count("last_run") == 1
    assert load_project(tmp_path).last_run == "runs/gru-2"


def test_a_run_in_a_folder_without_settings_writes_none(tmp_path: Path) -> None:
    remember_run(tmp_path, tmp_path / "run")

    assert list(tmp_path.iterdir()) == []


def test_a_refused_change_leaves_the_file_alone(tmp_path: Path) -> None:
    path = write(tmp_path, "keep_ids = false\n")

    with pytest.raises(UsageError, match="labels_format"):
        write_project(tmp_path, labels_format="excel")

    assert path.read_text() == "keep_ids = false\n"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS file names are UTF-8")
def test_a_path_that_is_not_utf8_is_refused_whole(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"not UTF-8|expected a path"):
        write_project(tmp_path, source=Path(os.fsdecode(b"/data/\xff")))

    assert list(tmp_path.iterdir()) == []


NAMES = st.text(
    st.characters(
        codec="utf-8", exclude_categories=["Cc", "Cs", "Cn", "Zl", "Zp", "Zs", "Cf", "Co"]
    ),
    min_size=1,
    max_size=20,
).filter(lambda name: name not in (".", "..") and "/" not in name)


@given(name=NAMES | st.text(string.punctuation.replace("/", ""), min_size=3, max_size=9))
def test_any_folder_name_survives_the_round_trip(
    tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    folder = tmp_path_factory.mktemp("project")

    write_project(folder, source=folder / name)

    assert load_project(folder).source == folder / name
