"""Documents as lines: nothing that a rule left out is hidden, and no header breaks a line."""

from pathlib import Path

import pytest

from cli.text import info_text, scan_text


def document(descriptions: list[str], **fields: object) -> dict:
    series = [
        {
            "series": str(n), "n_slices": 2, "usable": True, "selected": True, "reason": None,
            "thickness_mm": 5.0, "kernel": "H30", "description": text, **fields,
        }
        for n, text in enumerate(descriptions)
    ]  # fmt: skip
    files = {"seen": 0, "used": 0, "skipped": 0, "failed": 0}
    return {"files": files, "reasons": [], "series": series, "selection": ["all"]}


def test_rare_descriptions_are_listed_too() -> None:
    names = [f"SERIES {number}" for number in range(60)]
    text = scan_text(document([*names, "POST", *["PLAIN"] * 500]))
    assert all(f"  {name}\n" in f"{text}\n" for name in [*names, "POST"])
    assert "and 40 more: --json lists them all" in scan_text(
        document([f"SERIES {number}" for number in range(240)])
    )


def test_a_kind_that_is_left_out_has_the_rule_beside_it() -> None:
    reason = "not selected: description matches *POST*"
    lines = scan_text(document(["POST"] * 3, selected=False, reason=reason)).splitlines()
    assert "  3  leave out  5 mm  H30  POST  description matches *POST*" in lines


def test_series_that_no_pattern_can_judge_are_pointed_out() -> None:
    stripped = {**document(["PLAIN", "", " "]), "selection": ["description!=*CONTRAST*"]}
    note = "note: 2 of the selected series have no description, so no description!= rule"
    assert note in scan_text(stripped)
    assert "note:" not in scan_text({**stripped, "selection": ["kernel!=*BONE*"]})
    assert "note:" not in scan_text({**stripped, "selection": ["description=*"]})
    for one in stripped["series"]:
        del one["description"]
    assert "note:" not in scan_text(stripped), "extract has no free text"


def test_a_line_feed_in_a_header_breaks_no_row() -> None:
    assert "  1  use  5 mm  H30  HEAD THIN" in scan_text(document(["HEAD\r\n\tTHIN"])).splitlines()


@pytest.mark.parametrize(
    ("framing", "words"),
    [
        ({}, "windows 40/80 HU, squash, 224 x 224"),
        ({"resize": "pad to a square with air, bilinear"}, "pad to a square with air, 224 x 224"),
        ({"fov_mm": 250.0, "spacing_mm": 1.0}, "central 250 mm at 1 mm, 224 x 224"),
    ],
)
def test_info_tells_framings_apart(framing: dict, words: str) -> None:
    recipe = {
        "backbone": "vgg16", "layer": "l", "pool": "avg", "weights": "0" * 64, "size": 224,
        "weights_source": "random:0", "windows": [[40.0, 80.0]], "precision": "fp32",
        "resize": "squash, bilinear", **framing,
    }  # fmt: skip
    features = {
        "shape": [1, 2], "dtype": "float16", "complete": True, "units": 1, "units_done": 1,
        "failed_rows": 0, "recipe": recipe, "fingerprint": {"identity": "0" * 64},
    }  # fmt: skip
    counts = {"series": 1, "slices": 1, "parts": 1, "identifiers": "hashed"}
    assert words in info_text(Path("s.zarr"), {**counts, "features": {"f": features}})


def test_a_line_feed_in_a_folder_breaks_no_row() -> None:
    listed = [
        {"series": None, "series_instance_uid": "1.2", "folder": "a\nb", "n_slices": 2,
         "in_store": False},
    ]  # fmt: skip
    counts = {"series": 0, "slices": 0, "parts": 0, "identifiers": None, "features": {}}
    text = info_text(Path("s.zarr"), {**counts, "series_list": listed})
    assert text.splitlines()[-1].split() == ["no", "key", "yet", "1.2", "a\\nb", "2", "no"]
