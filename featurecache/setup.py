"""What `featurecache init` does: check what was given, write the settings, make the key."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from featurecache.errors import UsageError
from featurecache.identifiers import create_key
from featurecache.location import Location
from featurecache.nifti_ids import read_nifti_table
from featurecache.project import FILE_NAME, KEY_NAME, write_project
from featurecache.select import PRESET_RULES, Selection, add_rules


def initialise(
    folder: Path,
    source: Path,
    *,
    preset: str | None = None,
    labels: Path | None = None,
    labels_format: str | None = None,
    slice_labels: Path | None = None,
    nifti_ids: Path | None = None,
    store: Location | None = None,
    key: Path | None = None,
    keep_ids: bool = False,
    select: Sequence[str] = (),
    force: bool = False,
) -> str:
    """Write ``featurecache.toml`` and, unless identifiers are kept, the key file.

    Parameters
    ----------
    folder : Path
        The project folder.
    source : Path
        Folder of DICOM files.
    preset : {"cq500", "rsna"} or None
        Sets `labels_format`, `select` and `keep_ids` for a public data set.
    labels, slice_labels : Path or None
        Label files.
    nifti_ids : Path or None
        Table of identifiers of NIfTI files.
    labels_format : {"table", "cq500", "rsna"} or None
        None: by preset, else ``table``.
    store : Path, str or None
        A folder or ``s3://BUCKET/PREFIX``; None: ``cache.zarr``.
    key : Path or None
        None: the default.
    keep_ids : bool
        Keep identifiers in the store as they are.
    select : sequence of str
        Rules that say which series are used, see `featurecache.select`; instead of those of the
        preset, or beside them where they begin with ``+``. None: by preset, else all series.
    force : bool
        Replace the settings that are there. A key is never replaced.

    Returns
    -------
    str
        What was written and what comes next, for people.

    Raises
    ------
    UsageError
        `source`, a label file or the table of NIfTI files is missing or wrong, a rule is none, the
        key cannot be written, or the folder has settings already.
    """
    rules = add_rules(PRESET_RULES.get(preset or "", ()), select) if select else None
    rules = rules or PRESET_RULES.get(preset or "")
    selection = Selection.parse(rules or ())
    files = {"--labels": labels, "--slice-labels": slice_labels, "--nifti-ids": nifti_ids}
    _check(folder, source, files, force=force)
    if nifti_ids is not None:
        read_nifti_table(nifti_ids)
    keep_ids = keep_ids or preset is not None
    key_lines = _key_lines(key or folder / KEY_NAME, keep_ids)
    path = write_project(
        folder,
        replace=True,
        preset=preset,
        source=source,
        labels=labels,
        labels_format=labels_format or preset or "table",
        slice_labels=slice_labels,
        nifti_ids=nifti_ids,
        store=store or folder / "cache.zarr",
        key=key,
        keep_ids=keep_ids,
        select=list(rules) if rules else None,
    )
    lines = [f"wrote {path}", *key_lines, *_selection_lines(selection, preset)]
    return "\n".join([*lines, *_next_steps(labels, slice_labels)])


def _check(folder: Path, source: Path, files: Mapping[str, Path | None], *, force: bool) -> None:
    if not source.is_dir():
        hint = "; unzip it first" if source.suffix.lower() in {".zip", ".tar", ".gz"} else ""
        came = "is a file" if source.exists() else "does not exist"
        raise UsageError(f"SOURCE {source} {came}: expected a folder of DICOM files{hint}")
    for option, file in files.items():
        if file is not None and not file.is_file():
            came = "is a folder" if file.is_dir() else "does not exist"
            raise UsageError(f"{option} {file} {came}: expected a CSV file")
    if (folder / FILE_NAME).exists() and not force:
        raise UsageError(
            f"{folder / FILE_NAME} exists: edit it, or replace it with --force (a key stays)"
        )


def _key_lines(path: Path, keep_ids: bool) -> list[str]:
    """Make the key, before the settings: what cannot be made leaves none of them behind."""
    if keep_ids:
        return ["identifiers will stand in the store as they are (public data)"]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder of the key {path}: {error.strerror}") from error
    if create_key(path):
        return [
            f"wrote {path}: the secret behind the ids of the store; keep it, share it with none"
        ]
    return [f"kept {path}"]


def _selection_lines(selection: Selection, preset: str | None) -> list[str]:
    if selection == Selection():
        return ["every series is used"] if preset else []
    return [
        f"series are used that keep each of these rules (`select` in {FILE_NAME}):",
        *(f"  {text}" for text in selection.texts),
        "  `featurecache scan` shows what they leave out; --select all takes everything",
    ]


def _next_steps(labels: Path | None, slice_labels: Path | None) -> list[str]:
    steps = [
        "",
        "next:",
        "  featurecache scan                      what is in the files",
        "  featurecache extract --backbone vgg16  features of every slice",
    ]
    if labels is None and slice_labels is None:
        return [*steps, f"  then name your labels in {FILE_NAME} and run `seqhead fit --rnn gru`"]
    return [
        *steps,
        "  seqhead labels                         what the labels are",
        "  seqhead fit --rnn gru                  a head on the features",
        "  seqhead evaluate                       how good it is on held-out patients",
    ]
