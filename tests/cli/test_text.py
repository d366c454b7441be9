"""Documents as lines: nothing that a rule left out is hidden, and no header breaks a line."""

from cli.text import scan_text


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


def test_a_line_feed_in_a_header_breaks_no_row() -> None:
    assert "  1  use  5 mm  H30  HEAD THIN" in scan_text(document(["HEAD\r\n\tTHIN"])).splitlines()
