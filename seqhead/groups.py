"""Who counts as one patient: everything that any identifier puts together."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from featurecache.identifiers import Identifiers
from seqhead.labels.file import LabelFile
from seqhead.labels.join import label_rows


def patient_groups(
    series: pd.DataFrame,
    slices: pd.DataFrame,
    files: Iterable[LabelFile],
    identifiers: Identifiers,
) -> np.ndarray:
    """Groups of series that must never be split: connected components.

    Two series are connected by the PatientID or the StudyInstanceUID that the store has of them,
    and by the patient or the study that a label file names for them. One patient under two
    spellings, or one study under two PatientIDs, is therefore one group.

    Parameters
    ----------
    series : DataFrame
        ``FeatureSet.series``, B rows.
    slices : DataFrame
        Planned slices, N rows.
    files : iterable of LabelFile
        Label files of these series.
    identifiers : Identifiers
        The key of the store.

    Returns
    -------
    array of str (B,)
        The store id of the group's first patient: where nothing else connects patients, each
        one's own.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    B = len(series)
    pairs = [
        _links(np.arange(B), series[column], f"store {column}") for column in ("patient", "study")
    ]
    for number, labels in enumerate(files):
        pairs += _file_links(labels, identifiers, series, slices, f"file {number}")
    links = pd.concat(pairs).drop_duplicates()
    codes, names = pd.factorize(links["name"])
    edges = (np.ones(len(links), dtype=np.int8), (links["series"].to_numpy(), B + codes))
    size = B + len(names)
    component = connected_components(coo_array(edges, shape=(size, size)), directed=False)[1][:B]
    first = pd.Series(np.arange(B)).groupby(component).transform("first")
    return np.asarray(series["patient"].to_numpy(dtype=object)[first.to_numpy()])


def _file_links(
    labels: LabelFile,
    identifiers: Identifiers,
    series: pd.DataFrame,
    slices: pd.DataFrame,
    where: str,
) -> list[pd.DataFrame]:
    """Patients and studies that a label file names, blank ones left out."""
    row = label_rows(labels, identifiers, series, slices)
    owner = np.arange(len(series))
    if labels.level == "slice":
        owner = series.index.get_indexer(pd.Index(slices["series"]))
    links = []
    for level in ("patient", "study"):
        if level in labels.ids:
            cells = np.append(labels.ids[level].to_numpy(dtype=object), "")[row]
            links.append(_links(owner[cells != ""], cells[cells != ""], f"{where} {level}"))
    return links


def _links(owner: np.ndarray, names: pd.Series | np.ndarray, kind: str) -> pd.DataFrame:
    names = np.asarray(names, dtype=object)
    return pd.DataFrame({"series": owner, "name": [f"{kind} {name}" for name in names]}).astype(
        {"series": np.int64, "name": object}
    )
