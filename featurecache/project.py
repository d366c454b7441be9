"""`featurecache.toml`: what the commands of a working folder need not be told again."""

import os
import tempfile
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from featurecache.errors import UsageError
from featurecache.location import Location, parse_location
from featurecache.select import Selection

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

FILE_NAME, KEY_NAME = "featurecache.toml", "featurecache.key"
MAX_BYTES = 64 * 1024
_PATH_FIELDS = ("source", "store", "labels", "slice_labels", "nifti_ids", "index", "key")

_COMMENT_COLUMN = 36
_HEADER = (
    "What featurecache and seqhead take when a flag or an environment variable does not say",
    "otherwise. Relative paths start at this folder. Edit freely; comments stay.",
)
_COMMENTS = {
    "source": "the folder of DICOM files",
    "labels": "one line per patient, study or series",
    "labels_format": "table, cq500 or rsna",
    "slice_labels": "one line per slice (SOPInstanceUID)",
    "nifti_ids": "whose scan each NIfTI file is (path, PatientID)",
    "store": "the features; may be shared, if its ids are hashed",
    "index": "what the scan found; holds identifiers, keep it private",
    "key": "the secret behind the ids of the store; without it labels cannot be joined",
    "keep_ids": "true: identifiers stand in the store as they are",
    "preset": "the data set that these settings are for",
    "select": "which series are used: each must keep every rule",
    "last_run": "what `seqhead evaluate` takes without a RUN",
}


class Project(BaseModel):
    """The settings of one working folder.

    Attributes
    ----------
    path : Path or None
        The file they came from; None where there is none.
    source : Path or None
        Folder of DICOM files.
    store : Path or str
        The feature store: a folder, or ``s3://BUCKET/PREFIX``.
    labels, slice_labels : Path or None
        Label files.
    labels_format : {"table", "cq500", "rsna"}
    nifti_ids : Path or None
        Table of identifiers of NIfTI files.
    index, key : Path or None
        As written; use `index_for` and `key_for`.
    keep_ids : bool
        Whether identifiers go into the store as they are.
    preset : {"cq500", "rsna"} or None
    select : tuple of str
        Rules that say which series are used, see `featurecache.select`; none: all series.
    last_run : str or None
        Folder of the last fit, relative to the project folder.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Path | None = None
    source: Path | None = None
    store: Location = Path("cache.zarr")
    labels: Path | None = None
    labels_format: Literal["table", "cq500", "rsna"] = "table"
    slice_labels: Path | None = None
    nifti_ids: Path | None = None
    index: Path | None = None
    key: Path | None = None
    keep_ids: bool = False
    preset: Literal["cq500", "rsna"] | None = None
    select: tuple[str, ...] = ()
    last_run: str | None = None

    def index_for(self, store: Location) -> Path:
        """Find the index: as written, else beside featurecache.toml, else beside the store.

        It is a file: where the store lies in a bucket, that is the working folder.

        Parameters
        ----------
        store : Path or str
            The store in use.

        Returns
        -------
        Path
        """
        return self.index or self._beside(store) / "featurecache.sqlite"

    def key_for(self, store: Location) -> Path:
        """Find the key: as written, else beside featurecache.toml, else beside the store.

        It is a file: where the store lies in a bucket, that is the working folder.

        Parameters
        ----------
        store : Path or str
            The store in use.

        Returns
        -------
        Path
        """
        return self.key or self._beside(store) / KEY_NAME

    def run(self) -> Path | None:
        """Give the folder of the last fit, or None.

        Returns
        -------
        Path or None
        """
        if self.last_run is None or self.path is None:
            return None
        return self.path.parent / self.last_run

    def _beside(self, store: Location) -> Path:
        if self.path is not None:
            return self.path.parent
        return store.parent if isinstance(store, Path) else Path()


def load_project(folder: Path = Path()) -> Project:
    """Read ``featurecache.toml`` of a folder.

    Parameters
    ----------
    folder : Path
        The project folder; the working folder by default. Parents are not searched.

    Returns
    -------
    Project
        Paths are joined with `folder`. Without a file, all defaults.

    Raises
    ------
    UsageError
        The file is too large, is not TOML, has an unknown key or a value of another type.
    """
    path = folder / FILE_NAME
    if not path.exists():
        return Project(store=folder / "cache.zarr")
    return _parse(path, _read(path))


def write_project(folder: Path = Path(), *, replace: bool = False, **fields: Any) -> Path:
    """Write ``featurecache.toml``, or change fields of one and keep everything else in it.

    Parameters
    ----------
    folder : Path
        The project folder.
    replace : bool
        Start from an empty file instead of the one that is there.
    **fields
        Fields of `Project`; None is left out. Paths inside the folder are written relative to it.

    Returns
    -------
    Path
        The file, which is replaced in one step.

    Raises
    ------
    UsageError
        The file exists and cannot be read, or a field does not fit.
    """
    import tomlkit

    path = folder / FILE_NAME
    keep = path.exists() and not replace
    document = tomlkit.parse(_read(path)) if keep else _new_document()
    for name, value in fields.items():
        if value is None:
            continue
        item = tomlkit.item(_portable(value, folder) if isinstance(value, Path) else value)
        if isinstance(item, tomlkit.items.Array):
            item.multiline(len(item) > 1)
        if name not in document:
            item.comment(_COMMENTS.get(name, ""))
            width = len(f"{name} = {item.as_string()}")
            item.trivia.comment_ws = " " * max(2, _COMMENT_COLUMN - width)
        document[name] = item
    text = tomlkit.dumps(document)
    _parse(path, text)
    _replace(path, text)
    return path


def remember_run(folder: Path, run: Path) -> None:
    """Record the last fit in ``featurecache.toml``, if there is one.

    Parameters
    ----------
    folder : Path
        The project folder.
    run : Path
        The run folder.
    """
    if (folder / FILE_NAME).exists():
        write_project(folder, last_run=_portable(run, folder))


def _new_document() -> "TOMLDocument":
    import tomlkit

    document = tomlkit.document()
    for line in _HEADER:
        document.add(tomlkit.comment(line))
    document.add(tomlkit.nl())
    return document


def _read(path: Path) -> str:
    if not path.is_file():
        raise UsageError(f"{path} is not a regular file: expected the settings of this folder")
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise UsageError(
            f"{path} is larger than {MAX_BYTES // 1024} KB: expected a few settings. "
            "Move it away and run `featurecache init` again"
        )
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text: byte {error.start} is not valid") from None


def _parse(path: Path, text: str) -> Project:
    try:
        fields = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not valid TOML: {error}") from None
    except RecursionError:
        raise UsageError(f"{path} is nested too deeply: expected plain `name = value`") from None
    _check_names(path, fields)
    for name in _PATH_FIELDS:
        if isinstance(fields.get(name), str):
            fields[name] = _located(path, name, _checked_path(path, name, fields[name]))
    fields.setdefault("store", path.parent / "cache.zarr")
    _check_rules(path, fields.get("select", []))
    try:
        return Project(path=path, **fields)
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(
            f"{path}: {first['loc'][0]}: {first['msg']}, got {first['input']!r}"
        ) from None


def _check_names(path: Path, fields: dict[str, Any]) -> None:
    from difflib import get_close_matches

    known = [name for name in Project.model_fields if name != "path"]
    for name in fields:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
            raise UsageError(f"{path}: unknown setting {name!r}; {hint}")


def _check_rules(path: Path, rules: Any) -> None:
    if not isinstance(rules, list) or not all(isinstance(rule, str) for rule in rules):
        raise UsageError(f'{path}: select: expected a list, e.g. select = ["thickness<=5"]')
    try:
        Selection.parse(rules)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None


def _checked_path(path: Path, name: str, value: str) -> str:
    if not value or not value.isprintable():
        raise UsageError(f"{path}: {name}: expected a path, got {value!r}")
    return value


def _located(path: Path, name: str, value: str) -> Location:
    """A path from the project folder on, or the URL of a store."""
    try:
        location = parse_location(value) if name == "store" else Path(value)
    except UsageError as error:
        raise UsageError(f"{path}: store: {error}") from None
    return path.parent / location if isinstance(location, Path) else location


def _portable(target: Path, folder: Path) -> str:
    """Spell a path so that it holds when read from the project folder."""
    absolute, base = Path(os.path.abspath(target)), Path(os.path.abspath(folder))  # noqa: PTH100
    if absolute.is_relative_to(base):
        return absolute.relative_to(base).as_posix()
    return absolute.as_posix() if target.is_absolute() else os.path.relpath(absolute, base)


def _replace(path: Path, text: str) -> None:
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError:
        raise UsageError(
            f"{path} cannot hold a path that is not UTF-8; give it as a flag"
        ) from None
    target = path.resolve()
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=".featurecache-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, target.stat().st_mode & 0o777 if target.exists() else 0o644)  # noqa: PTH101
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
