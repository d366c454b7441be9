"""A contact sheet shows what is fed, says what failed, and names nobody."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from featurecache.errors import UsageError
from featurecache.framing import parse_framing
from featurecache.identifiers import Identifiers
from featurecache.recipe import parse_windows
from featurecache.select import Selection
from featurecache.show import find_stack, show
from featurecache.transforms import to_input

KEY = Identifiers(b"k" * 32)
SIDE = 128
FIRST_TILE = 16  # from the left


def pixels(path):
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def tiles(sheet, count, columns):
    """Images of a sheet, found by the layout: rows of a side and a caption."""
    rows = -(-count // columns)
    top = sheet.shape[0] - 16 - (rows * (SIDE + 20 + 8) - 8)
    return [
        sheet[y : y + SIDE, x : x + SIDE]
        for number in range(count)
        for y, x in [
            (top + number // columns * (SIDE + 28), FIRST_TILE + number % columns * (SIDE + 8))
        ]
    ]


@pytest.fixture
def series(tmp_path, write_series, scanned):
    """Five slices, the third cut short."""
    folder = tmp_path / "tree" / "series"
    paths = write_series(folder, n=5, PatientName="Doe^Jane", SeriesDescription="Doe head")
    paths[2].write_bytes(paths[2].read_bytes()[:-1000])
    return SimpleNamespace(folder=folder, index=scanned(tmp_path / "tree").index)


@pytest.fixture
def sheet(series, tmp_path):
    """Draw with options; returns the outcome and the pixels."""

    def draw(identifiers=KEY, windows="brain", columns=3, **framing):
        out = tmp_path / "sheet.png"
        shown = show(
            series.index, "1.2.2", out, identifiers, windows=parse_windows(windows),
            framing=parse_framing(SIDE, **framing), columns=columns,
        )  # fmt: skip
        return shown, pixels(out)

    return draw


def fed(decoded, windows, framing):
    """What the backbone takes, back to 0-255."""
    recipe = SimpleNamespace(
        windows=parse_windows(windows), framing=framing, zoom=None, mean=(0,) * 3, std=(1,) * 3
    )
    image = to_input(
        torch.from_numpy(decoded.stored[None]), torch.tensor([decoded.slope]).double(),
        torch.tensor([decoded.intercept]).double(), recipe,
        torch.tensor([[decoded.row_spacing_mm, decoded.column_spacing_mm]]).double(),
    )  # fmt: skip
    return (image[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)


@pytest.mark.parametrize("windows", ["brain", "brain,subdural,bone"])
@pytest.mark.parametrize("framing", [{}, {"spacing_mm": 0.4, "fov_mm": 40.0}])
def test_tiles_are_pixel_for_pixel_what_the_backbone_is_fed(
    series, sheet, decode, windows, framing
):
    shown, drawn = sheet(windows=windows, **framing)
    assert (shown.slices, shown.failed) == (5, {"pixel data is short": 1})
    stack = series.index.find("1.2.2")
    for position, tile in enumerate(tiles(drawn, 5, 3)):
        if position == 2:
            assert len(np.unique(tile.reshape(-1, 3), axis=0)) > 1, "the reason is written in it"
            assert (tile[0] == tile[0, 0]).all()
            continue
        path = series.index.root / stack.slices[position].path
        expected = fed(decode(path), windows, parse_framing(SIDE, **framing))
        np.testing.assert_array_equal(tile, expected)


def test_small_images_are_enlarged_by_a_whole_factor(series, tmp_path):
    show(
        series.index, "1.2.2", tmp_path / "small.png", KEY, windows=[(40, 80)],
        framing=parse_framing(32), columns=5,
    )  # fmt: skip
    tile = tiles(pixels(tmp_path / "small.png"), 5, 5)[0]
    np.testing.assert_array_equal(tile, tile[::4, ::4].repeat(4, 0).repeat(4, 1))


@pytest.fixture
def texts(monkeypatch):
    """Everything that is written onto sheets."""
    from PIL.ImageDraw import ImageDraw

    written, write = [], ImageDraw.text

    def note(self, at, text, *args, **kwargs):
        written.append(text)
        return write(self, at, text, *args, **kwargs)

    monkeypatch.setattr(ImageDraw, "text", note)
    return written


def test_positions_z_reasons_and_warnings_are_written(sheet, texts):
    sheet()
    assert {"0", "1", "2", "3", "4"} <= set(texts)
    assert {"z 0.0 mm", "z 5.0 mm", "z 20.0 mm"} <= set(texts)
    assert "pixel data is short" in " ".join(texts).replace("\n", " ")
    assert "window brain (40/80 HU)" in texts
    assert "squash to 128 x 128 pixels" in texts
    assert any("0.5 x 0.5 mm" in text and "median gap 5 mm" in text for text in texts)


def test_the_sheet_names_nobody(sheet, texts, tmp_path):
    sheet()
    assert f"Series {KEY.series('1.2.2')}" in texts
    everything = " ".join(texts)
    for private in ("1.2.2 ", "Doe", "p1", str(tmp_path)):
        assert private not in everything
    assert b"Doe" not in (tmp_path / "sheet.png").read_bytes()
    texts.clear()
    sheet(identifiers=None)
    assert "Series without an id (no key)" in texts
    texts.clear()
    sheet(identifiers=Identifiers(None))
    assert "Series 1.2.2" in texts


def test_slices_without_spacing_are_empty_where_mm_are_asked_for(
    tmp_path, write_series, scanned, texts
):
    write_series(tmp_path / "tree", n=3, PixelSpacing=None)
    index = scanned(tmp_path / "tree").index
    options = {"windows": [(40, 80)], "columns": None}
    shown = show(
        index, "1.2.2", tmp_path / "a.png", KEY, framing=parse_framing(64, fov_mm=30), **options
    )
    assert shown.failed == {"pixel spacing unknown": 3}
    shown = show(index, "1.2.2", tmp_path / "a.png", KEY, framing=parse_framing(64), **options)
    assert shown.failed == {}


def test_findings_about_pixels_say_which_slices_they_are_about(
    tmp_path, write_ct, write_series, scanned, texts
):
    write_series(tmp_path / "tree", n=14)
    for place in (1, *range(3, 13)):
        file = tmp_path / f"tree/1.2.2-{place:03}.dcm"
        write_ct(
            file, np.full((64, 64), 1000, np.uint16), SOPInstanceUID=f"1.2.2.{place + 1}",
            ImagePositionPatient=[0.0, 0.0, 5.0 * place],
        )  # fmt: skip
    index = scanned(tmp_path / "tree").index
    shown = show(index, "1.2.2", tmp_path / "a.png", KEY, windows=[(40, 80)],
                 framing=parse_framing(64))  # fmt: skip
    assert shown.warnings == {"constant slice": 11}
    assert "slices 1, 3, 4, 5, 6, 7, 8, 9 and 3 more: constant slice" in texts


def test_one_slice_is_no_plural_and_an_unknown_spacing_is_named(
    tmp_path, write_series, scanned, texts
):
    write_series(tmp_path / "tree", n=1, PixelSpacing=None)
    show(scanned(tmp_path / "tree").index, "1.2.2", tmp_path / "a.png", KEY, windows=[(40, 80)],
         framing=parse_framing(64))  # fmt: skip
    assert "1 slice of 64 x 64 pixels, pixel spacing unknown" in texts
    assert "left out of extractions: fewer than 2 slices" in texts


def test_a_series_that_a_rule_leaves_out_is_shown_and_says_so(series, tmp_path, texts):
    options = {"windows": [(40, 80)], "framing": parse_framing(64)}
    rules = Selection.parse(["slices>=20"])
    show(series.index, "1.2.2", tmp_path / "a.png", KEY, selection=rules, **options)
    assert "left out of extractions: slices is not >=20" in texts
    texts.clear()
    show(series.index, "1.2.2", tmp_path / "a.png", KEY, **options)
    assert not any("left out" in text for text in texts)


def test_a_sheet_of_hundreds_of_slices_takes_little_more_memory_than_its_pixels(tmp_path):
    """In a process of its own, for its own peak: 300 tiles are 17 million pixels."""
    code = """
import resource, sys
from pathlib import Path
import numpy as np
from featurecache.contact_sheet import Tile, draw_sheet
tile = Tile(np.zeros((224, 224, 3), np.uint8), "1", "z 1.0 mm")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
draw_sheet(Path(sys.argv[1]), [tile] * 300, "many", side=224)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    out = tmp_path / "many.png"
    done = subprocess.run(
        [sys.executable, "-c", code, out], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 300_000, "KiB"
    assert pixels(out).shape[0] > 3000


def test_a_series_is_found_by_store_id_uid_and_folder(series):
    for name in (KEY.series("1.2.2"), "1.2.2", str(series.folder)):
        assert find_stack(series.index, name, KEY).key == "1.2.2"


def test_refuses_what_it_cannot_find(series):
    with pytest.raises(UsageError, match="No series '9"):
        find_stack(series.index, "9.9", KEY)
    with pytest.raises(UsageError, match="under this key"):
        find_stack(series.index, "0" * 32, KEY)
    for keyless in (None, Identifiers(None)):
        with pytest.raises(UsageError, match="point --key at the key"):
            find_stack(series.index, KEY.series("1.2.2"), keyless)


@pytest.mark.parametrize("name", ["sheet.jpg", "nowhere/sheet.png"])
def test_refuses_a_file_it_cannot_write_before_it_decodes(series, tmp_path, name):
    with pytest.raises(UsageError, match="expected the name of a"):
        show(series.index, "1.2.2", tmp_path / name, KEY, windows=[(40, 80)],
             framing=parse_framing(64))  # fmt: skip


def test_more_columns_than_slices_are_as_many_as_slices(sheet):
    _, wide = sheet(columns=1_000_000)
    _, fits = sheet(columns=5)
    np.testing.assert_array_equal(wide, fits)


def test_refuses_a_sheet_that_no_viewer_opens(series, tmp_path):
    with pytest.raises(UsageError, match="too large"):
        show(series.index, "1.2.2", tmp_path / "a.png", KEY, windows=[(40, 80)],
             framing=parse_framing(20_000), columns=5)  # fmt: skip
    assert not (tmp_path / "a.png").exists()


@pytest.mark.real_data
def test_a_real_head_goes_onto_one_sheet(real_scans, scanned, tmp_path):
    index = scanned(real_scans / "head-ge").index
    out = tmp_path / "head.png"
    shown = show(index, str(real_scans / "head-ge"), out, KEY, windows=parse_windows("brain"),
                 framing=parse_framing(SIDE))  # fmt: skip
    assert (shown.slices, shown.failed) == (28, {})
    means = [tile.mean() for tile in tiles(pixels(out), 28, 7)]
    assert max(means[10:20]) > 40, "brain in the middle"
    assert means[27] < 20, "nearly air at the top"
