"""Documents as lines for people: what `--json` says, in tables."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from cli.common import printable
from featurecache.location import Location
from featurecache.select import NOT_SELECTED
from featurecache.words import plural

_LISTED = 20
_KINDS_LISTED = 200  # people read these to see what a rule left out or let through


def table(rows: Iterable[Sequence[object]], indent: str = "") -> list[str]:
    """Align rows in columns: numbers right, text left.

    Parameters
    ----------
    rows : iterable of sequences
        Cells; integers get thousands separators.
    indent : str
        Before every line.

    Returns
    -------
    list of str
    """
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(len(text) for text, _ in column) for column in zip(*cells, strict=True)]
    return [
        (
            indent
            + "  ".join(
                text.rjust(width) if right else text.ljust(width)
                for (text, right), width in zip(row, widths, strict=True)
            )
        ).rstrip()
        for row in cells
    ]


def _cell(value: object) -> tuple[str, bool]:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}", True
    return str(value), False


def scan_text(document: dict[str, Any]) -> str:
    """Say what became of the files, and which series cannot be used.

    Parameters
    ----------
    document : dict
        The document of ``scan --json`` or ``extract --json``.

    Returns
    -------
    str
    """
    files, series = document["files"], document["series"]
    used = [one["n_slices"] for one in series if one["selected"]]
    unusable = [[one["series"], one["reason"]] for one in series if not one["usable"]]
    left_out = sum(one["usable"] and not one["selected"] for one in series)
    slices = plural(sum(used), "slice")
    what = f"{len(used):,} usable series of {slices}, "
    if left_out:
        what = f"{len(used):,} series of {slices} selected, {left_out:,} not selected, "
    lines = [
        f"{plural(files['seen'], 'file')} seen = {files['used']:,} used + "
        f"{files['skipped']:,} skipped + {files['failed']:,} failed",
        *table(
            [[one.get("kind", ""), one["count"], one["reason"]] for one in document["reasons"]],
            "  ",
        ),
        f"{what}{len(unusable):,} not usable",
        *_some(unusable),
        *_unmatched_lines(document.get("nifti_rows_without_file", [])),
        *_description_lines(series),
        *_selection_lines(document["selection"]),
        *_unjudged_lines(series, document["selection"]),
    ]
    return "\n".join(lines)


def _some(rows: list[list[Any]], most: int = _LISTED) -> list[str]:
    more = [f"  and {len(rows) - most:,} more: --json lists them all"]
    return table(rows[:most], "  ") + (more if len(rows) > most else [])


def _unmatched_lines(paths: list[str]) -> list[str]:
    """Rows of the table of NIfTI files that name none."""
    rows = [[path] for path in paths]
    return ["rows of --nifti-ids that name no NIfTI file:", *_some(rows)] if rows else []


def _selection_lines(rules: list[str]) -> list[str]:
    if rules == ["all"]:
        return []
    return ["selection, each rule must hold:", *(f"  {rule}" for rule in rules)]


def _unjudged_lines(series: list[dict[str, Any]], rules: list[str]) -> list[str]:
    """What rules let through because a header says nothing."""
    lines = []
    for field in ("description", "kernel"):
        count = sum(one["selected"] and not one.get(field, "?").strip() for one in series)
        if count and any(rule.startswith(f"{field}!=") for rule in rules):
            lines.append(
                f"note: {count:,} of the selected series have no {field}, so no {field}!= rule "
                "could leave them out"
            )
    return lines


def _description_lines(series: list[dict[str, Any]]) -> list[str]:
    """Series by what rules look at; free text, so only where the document has it."""
    kinds = Counter(
        (
            "use" if one["selected"] else "leave out",
            "? mm" if one["thickness_mm"] is None else f"{one['thickness_mm']:g} mm",
            " ".join(one["kernel"].split()) or "no kernel",
            " ".join(one["description"].split()) or "no description",
            "" if one["selected"] else one["reason"].removeprefix(NOT_SELECTED),
        )
        for one in series
        if one["usable"] and "description" in one
    )
    order = sorted(kinds.items(), key=lambda pair: (-pair[1], pair[0]))
    rows: list[list[Any]] = [[count, *kind] for kind, count in order]
    head = "series by thickness, kernel and description, and why they are left out:"
    if all(one["selected"] for one in series if one["usable"]):
        head = "series by thickness, kernel and description:"
    return [head, *_some(rows, _KINDS_LISTED)] if rows else []


def info_text(store: Location, document: dict[str, Any]) -> str:
    """Describe a store.

    Parameters
    ----------
    store : Path
        The store.
    document : dict
        The document of ``info --json``, with ``series_list`` where series are asked for.

    Returns
    -------
    str
    """
    lines = [
        f"{store}: {document['series']:,} series, {plural(document['slices'], 'slice')}, "
        f"{plural(document['parts'], 'part')}, identifiers {document['identifiers']}"
    ]
    if not document["parts"]:
        lines = [f"{store} is not there yet"]
    for name, features in document["features"].items():
        lines += ["", *_feature_lines(name, features)]
    if not document["features"]:
        lines += ["", "no features yet: run `featurecache extract --backbone NAME`"]
    if "series_list" in document:
        lines += ["", *_series_lines(document["series_list"])]
    return "\n".join(lines)


def _feature_lines(name: str, features: dict[str, Any]) -> list[str]:
    rows, width = features["shape"]
    state = "complete" if features["complete"] else "unfinished: run the same extract again"
    recipe = features["recipe"]
    windows = ", ".join("/".join(f"{value:g}" for value in pair) for pair in recipe["windows"])
    zoom = f", enlarged to {recipe['zoom']}" if recipe.get("zoom") else ""
    return [
        f"{name}",
        *table(
            [
                ["values", f"{rows:,} x {width:,} {features['dtype']}"],
                ["units", f"{features['units_done']} of {features['units']}, {state}"],
                ["failed", plural(features["failed_rows"], "slice")],
                ["network", f"{recipe['backbone']}, {recipe['layer']}, {recipe['pool']} pooling"],
                ["weights", f"{recipe['weights_source']} ({recipe['weights'][:12]})"],
                ["image", f"windows {windows} HU, {_framing(recipe)}{zoom}"],
                ["precision", recipe["precision"]],
                ["identity", features["fingerprint"]["identity"][:16]],
            ],
            indent="  ",
        ),
    ]


def _framing(recipe: dict[str, Any]) -> str:
    how = recipe["resize"].partition(",")[0]
    if recipe.get("fov_mm") is not None:
        how = f"central {recipe['fov_mm']:g} mm at {recipe['spacing_mm']:.4g} mm"
    return f"{how}, {recipe['size']} x {recipe['size']}"


def _series_lines(series: list[dict[str, Any]]) -> list[str]:
    head = ["series", "SeriesInstanceUID", "folder", "slices", "in store"]
    body = [
        [
            one["series"] or "no key yet",
            one["series_instance_uid"] or "not in the index",
            printable(one["folder"] or "").replace("\n", "\\n").replace("\t", "\\t"),
            one["n_slices"],
            "yes" if one["in_store"] else "no",
        ]
        for one in series
    ]
    return table([head, *body])
