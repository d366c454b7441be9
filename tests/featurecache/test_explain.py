"""`scan --explain`: plain words for what is unknown, and nothing cut off in silence."""

import os

import pytest

from featurecache.errors import UsageError
from featurecache.explain import explain


def test_what_a_header_does_not_say_is_called_unknown(tmp_path, write_series, scanned):
    write_series(tmp_path / "tree", n=1, PixelSpacing=None, SliceThickness=None)
    text = explain(scanned(tmp_path / "tree").path, tmp_path / "tree")
    assert "series 1.2.2: 1 slice\n" in text
    assert "tilt unknown, median gap unknown, thickness unknown, field of view unknown" in text
    assert "kernel unknown, description unknown" in text
    assert "nan" not in text


def test_what_rules_look_at_is_there(tmp_path, write_series, scanned):
    write_series(
        tmp_path / "tree", n=3, SeriesDescription="POST  CONTRAST", ConvolutionKernel="H30"
    )
    text = explain(scanned(tmp_path / "tree").path, tmp_path / "tree")
    assert "median gap 5.00 mm, thickness 5 mm, field of view 32 mm" in text
    assert "kernel H30, description POST CONTRAST" in text


def test_a_folder_of_many_series_says_how_many_it_does_not_list(tmp_path, write_ct, scanned):
    for number in range(23):
        uid = f"1.2.{number + 100}"
        write_ct(tmp_path / f"tree/{uid}", SeriesInstanceUID=uid, SOPInstanceUID=f"{uid}.1")
    lines = explain(scanned(tmp_path / "tree").path, tmp_path / "tree").splitlines()
    assert sum(line.startswith("series ") for line in lines) == 20
    assert lines[-1].startswith("and 3 more series:")


def test_a_file_that_changed_once_changed_once(tmp_path, write_series, write_ct, scanned):
    first = write_series(tmp_path / "tree", n=3)[0]
    scanned(tmp_path / "tree")
    for times in ("once", "2 times"):
        os.utime(first, ns=(0, len(times)))
        path = scanned(tmp_path / "tree").path
        assert f"changed {times} since it was first scanned" in explain(path, first)


def test_a_name_that_is_not_utf8_and_not_there_is_a_usage_error(tmp_path, write_series, scanned):
    write_series(tmp_path / "tree", n=2)
    index = scanned(tmp_path / "tree")
    name = os.fsdecode(b"no\xffwhere")
    with pytest.raises(UsageError, match="is not in"):
        explain(index.path, tmp_path / "tree" / name)
    with pytest.raises(UsageError, match="No series"):
        index.index.find(name)
