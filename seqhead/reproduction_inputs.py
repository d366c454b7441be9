"""What a reproduction is of, so that a second call goes on with it, and never with another one."""

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from seqhead.cohort import Cohort
from seqhead.digests import series_digests
from seqhead.errors import LabelError, RunError
from seqhead.labels.reading import read_labels, read_slice_labels
from seqhead.options import FitOptions, system_changes
from seqhead.sources import Opened, Sources
from seqhead.systems.schema import System

_FILE = "inputs.json"


def check_labels(system: System, sources: Sources) -> None:
    """Find out before hours of extraction whether the labels will do.

    Parameters
    ----------
    system : System
        What will be fitted.
    sources : Sources
        The label files; the store need not be there.

    Raises
    ------
    LabelError
        A file is wrong, or the system needs labels of slices and there are none.
    """
    labels = read_labels(sources.labels, sources.labels_format)
    if sources.slice_labels is not None:
        read_slice_labels(sources.slice_labels)
    elif system.level == "slice" and labels.level != "slice":
        raise LabelError(
            f"{system.name} learns slices, and {labels.source} labels each {labels.level}. Give a "
            "table with SOPInstanceUID as --slice-labels"
        )


def inputs_of(
    options: FitOptions, sources: Sources, opened: Opened, cohort: Cohort
) -> dict[str, Any]:
    """Describe everything that decides a figure.

    Parameters
    ----------
    options : FitOptions
        The system and what was changed.
    sources : Sources
        Label files.
    opened : Opened
        The features.
    cohort : Cohort
        What is learnt from and judged: files may have changed since, and their features with them.

    Returns
    -------
    dict
        JSON values; no path and no identifier.
    """
    sets = [opened.features, *([opened.second] if opened.second else [])]
    return {
        "schema_version": 1,
        "system": options.system,
        "settings": list(system_changes(options)),
        "seed": options.seed,
        "features": {one.name: dict(one.fingerprint) for one in sets},
        "series": _digest(
            f"{name}:{n_ok}\n".encode()
            for one in sets
            for name, n_ok in sorted(one.series["n_ok"].items())
        ),
        "values of features": _digest(map(str.encode, series_digests(cohort.X))),
        "labels": _digest([sources.labels.read_bytes()]),
        "labels format": sources.labels_format,
        "slice labels": sources.slice_labels and _digest([sources.slice_labels.read_bytes()]),
    }


def claim(folder: Path, inputs: dict[str, Any]) -> None:
    """Note what a folder is a reproduction of, or make sure that it is one of the same.

    Parameters
    ----------
    folder : Path
        Of the reproduction; made if it is not there.
    inputs : dict
        From `inputs_of`.

    Raises
    ------
    RunError
        It was begun with other inputs, or cannot be written.
    """
    file = folder / _FILE
    if not file.exists():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(file, json.dumps(inputs, indent=2) + "\n")
        except OSError as error:
            raise RunError(f"cannot write {file}: {error.strerror}") from error
        return
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        other = [name for name in inputs if found.get(name) != inputs[name]]
    except (OSError, ValueError, AttributeError) as error:
        raise RunError(f"{file} cannot be read: {error}. Give another --out") from error
    if other:
        raise RunError(
            f"{folder} was begun with other inputs ({', '.join(other)} differ): give another "
            "--out, or remove that folder"
        )


def write_whole(path: Path, text: str) -> None:
    """Write a file that is there as a whole or not at all.

    Parameters
    ----------
    path : Path
        The file; replaced if it is there.
    text : str
        What goes in.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def _digest(parts: Any) -> str:
    whole = hashlib.sha256()
    for part in parts:
        whole.update(part)
    return whole.hexdigest()
