"""Files that other tools read: one writer for each format, fed one series at a time."""

import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd

from featurecache.errors import FeatureCacheError, MissingResourceError

_ROW_GROUP_ROWS = 16_384


@dataclass(frozen=True, slots=True)
class Exported:
    """What is exported: rows that succeeded, and what is known about them.

    Parameters
    ----------
    about : dict
        JSON values: name, recipe, fingerprint, whether ids are hashed.
    slices : DataFrame
        One line per row of features, N of them.
    series : DataFrame
        One line per series; its rows are ``first_row`` to ``first_row + n_rows``.
    failed : DataFrame
        Slices without features, with the reason.
    dim : int
        D.
    dtype : numpy.dtype
        Type in the store.
    matrices : callable
        Gives (series, (n, D) rows) in the order of `slices`.
    """

    about: dict[str, Any]
    slices: pd.DataFrame
    series: pd.DataFrame
    failed: pd.DataFrame
    dim: int
    dtype: np.dtype
    matrices: Callable[[], Iterator[tuple[str, np.ndarray]]]


def write_npz(path: Path, exported: Exported) -> None:
    """One ``.npz``: ``features`` (N, D), a vector per column of the tables, no pickle.

    Parameters
    ----------
    path : Path
        The file.
    exported : Exported
        What goes in.

    Raises
    ------
    FeatureCacheError
        Rows and tables do not match.
    """
    tables = {"": exported.slices, "series_": exported.series, "failed_": exported.failed}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:

        def write(name: str, values: np.ndarray) -> None:
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, values, allow_pickle=False)

        with archive.open(zipfile.ZipInfo("features.npy"), "w", force_zip64=True) as member:
            shape = (len(exported.slices), exported.dim)
            header = {"descr": exported.dtype.str, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(member, header)
            for _, rows in _checked(exported):
                member.write(np.ascontiguousarray(rows, exported.dtype).tobytes())
        for prefix, table in tables.items():
            for column, values in table.items():
                name = f"{prefix}{column}".replace("series_series", "series_id")
                write(name, _plain(values))
        write("about", np.array(json.dumps(exported.about)))


def write_h5(path: Path, exported: Exported) -> None:
    """One HDF5 file: ``features/SERIES`` (n, D) for each series, and the tables as groups.

    Parameters
    ----------
    path : Path
        The file.
    exported : Exported
        What goes in.

    Raises
    ------
    MissingResourceError
        h5py is not installed.
    FeatureCacheError
        Rows and tables do not match.
    """
    h5py = _needed("h5py", "h5")
    text = h5py.string_dtype()
    series = exported.series.assign(dataset=exported.series["series"].map(dataset_name))
    tables = {"slices": exported.slices, "series": series, "failed": exported.failed}
    with h5py.File(path, "w") as file:
        file.attrs["about"] = json.dumps(exported.about)
        group = file.create_group("features")
        for name, rows in _checked(exported):
            group.create_dataset(dataset_name(name), data=rows)
        for name, table in tables.items():
            for column in table:
                values = table[column]
                if pd.api.types.is_numeric_dtype(values):
                    file.create_dataset(f"{name}/{column}", data=values.to_numpy())
                else:
                    data = values.to_numpy(dtype=object)
                    file.create_dataset(f"{name}/{column}", data=data, dtype=text)


def write_parquet(path: Path, exported: Exported) -> None:
    """One Parquet file: a row per slice, the features as a list of D float32.

    Parameters
    ----------
    path : Path
        The file.
    exported : Exported
        What goes in. Failed slices have no row.

    Raises
    ------
    MissingResourceError
        pyarrow is not installed.
    FeatureCacheError
        Rows and tables do not match.
    """
    arrow, parquet = _needed("pyarrow", "parquet"), _needed("pyarrow.parquet", "parquet")
    columns = {
        name: arrow.string() if not pd.api.types.is_numeric_dtype(values)
        else arrow.from_numpy_dtype(values.dtype)
        for name, values in exported.slices.items()
    }  # fmt: skip
    vector = arrow.list_(arrow.float32(), exported.dim)
    schema = arrow.schema([*columns.items(), ("features", vector)])
    schema = schema.with_metadata({"featurecache": json.dumps(exported.about)})
    first = 0
    with parquet.ParquetWriter(path, schema) as writer:
        for block in _blocks(exported):
            lines = exported.slices.iloc[first : first + len(block)]
            values = arrow.array(block.astype(np.float32).ravel())
            features = arrow.FixedSizeListArray.from_arrays(values, type=vector)
            cells = [arrow.array(lines[name], kind, from_pandas=False)
                     for name, kind in columns.items()]  # fmt: skip
            writer.write_table(arrow.Table.from_arrays([*cells, features], schema=schema))
            first += len(block)


def write_failed_parquet(path: Path, exported: Exported) -> None:
    """The table of failed slices as a Parquet file.

    Parameters
    ----------
    path : Path
        The file.
    exported : Exported
        What goes in.
    """
    arrow, parquet = _needed("pyarrow", "parquet"), _needed("pyarrow.parquet", "parquet")
    parquet.write_table(arrow.Table.from_pandas(exported.failed, preserve_index=False), path)


WRITERS: dict[str, Callable[[Path, Exported], None]] = {
    "npz": write_npz,
    "h5": write_h5,
    "parquet": write_parquet,
}
"""Format -> what writes it."""


def check_format(form: str) -> None:
    """Find out before any work whether a format can be written.

    Parameters
    ----------
    form : {"npz", "h5", "parquet"}
        The format.

    Raises
    ------
    MissingResourceError
        Its package is not installed.
    """
    for module in {"h5": ["h5py"], "parquet": ["pyarrow", "pyarrow.parquet"]}.get(form, []):
        _needed(module, form)


def dataset_name(series: str) -> str:
    """Name of a series' data set in HDF5.

    Parameters
    ----------
    series : str
        Store id.

    Returns
    -------
    str
        The id itself, with a slash, which HDF5 takes for a path, written as ``%2F``.
    """
    return series.replace("%", "%25").replace("/", "%2F")


def _needed(module: str, form: str) -> ModuleType:
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise MissingResourceError(
            f"--format {form} needs {package}, which is not installed: "
            "pip install 'featurecache[export]'"
        ) from error


def _plain(column: pd.Series) -> np.ndarray:
    """A column without Python objects: numbers, or text of fixed width."""
    numeric = pd.api.types.is_numeric_dtype(column)
    return column.to_numpy() if numeric else column.to_numpy(dtype=object).astype(np.str_)


def _checked(exported: Exported) -> Iterator[tuple[str, np.ndarray]]:
    """The matrices, which must be as long as the tables say."""
    expected = exported.series[exported.series["n_rows"] > 0].set_index("series")["n_rows"]
    seen = 0
    for series, rows in exported.matrices():
        if len(rows) != expected[series] or exported.slices["series"].iloc[seen] != series:
            raise FeatureCacheError(f"series {series}: rows and tables differ; this is a bug")
        seen += len(rows)
        yield series, rows
    if seen != len(exported.slices):
        raise FeatureCacheError(f"{seen} rows for {len(exported.slices)} slices; this is a bug")


def _blocks(exported: Exported) -> Iterator[np.ndarray]:
    """The matrices joined to blocks that make a row group."""
    pending: list[np.ndarray] = []
    for _, rows in _checked(exported):
        pending.append(rows)
        if sum(map(len, pending)) >= _ROW_GROUP_ROWS:
            yield np.concatenate(pending)
            pending = []
    if pending:
        yield np.concatenate(pending)
