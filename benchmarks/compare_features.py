"""Whether ours and the plain script give the same features, before either is timed."""

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from commands import extract, plain

from featurecache import FeatureStore

_ROUNDING = 2e-3  # float16 in the store (2**-11), another order of sums
_SAMPLE = 2.0  # the proof looks at one batch; other slices may be worse


def verify(
    tree: Path, backbone: str, options: dict[str, Any], script_slices: int
) -> dict[str, Any]:
    """Extract, embed with the plain script in float32, compare; this also warms both up.

    Parameters
    ----------
    tree : Path
        DICOM files, a folder a series.
    backbone : str
        Network.
    options : dict
        Of ``featurecache extract``.
    script_slices : int
        How many the script embeds.

    Returns
    -------
    dict
        What ours used: ``precision``, ``compiled``, ``batch_size``, ``threads``; and
        ``relative_error`` (of the worst slice) with the ``tolerance`` for it.

    Raises
    ------
    SystemExit
        Features differ by more than the tolerance, which comes of the proof that ours makes.
    """
    with tempfile.TemporaryDirectory(dir=tree.parent) as name:
        folder, out = Path(name), Path(name) / "features"
        precision = extract(tree, folder, backbone, options)["precision"]
        size, device = options["size"], options["device"]
        plain(tree, backbone, size=size, slices=script_slices, device=device, out=out)
        (features,) = FeatureStore.open(folder / "store.zarr").values()
        error, n_rows = _worst(features, out)
        metadata = folder / "store.zarr/part-0000/features" / features.name / "zarr.json"
        plan = json.loads(metadata.read_bytes())["attributes"]["plan"]
    tolerance = _ROUNDING + _SAMPLE * (precision["relative_error"] or 0.0)
    print(f"{n_rows} slices of ours ({precision['used']}) and of the script (float32) differ by "
          f"{error:.2g} at most, tolerance {tolerance:.2g}")  # fmt: skip
    if not error <= tolerance:
        raise SystemExit(f"{backbone}: the features differ; nothing was timed")
    return {
        "precision": precision["used"], "compiled": plan["compiled"],
        "batch_size": plan["batch_size"], "threads": plan["threads"],
        "relative_error": error, "tolerance": tolerance,
    }  # fmt: skip


def _worst(features: Any, out: Path) -> tuple[float, int]:
    """Norm of the difference over the norm of the feature vector, of the worst slice."""
    worst, n_rows = 0.0, 0
    for path in out.glob("*.npy"):
        theirs, mine = np.load(path), features[path.stem].astype(np.float32)
        if mine.shape != theirs.shape:
            raise SystemExit(f"series {path.stem}: {mine.shape} here, {theirs.shape} in the script")
        errors = np.linalg.norm(mine - theirs, axis=1) / np.linalg.norm(theirs, axis=1)
        worst, n_rows = max(worst, float(errors.max())), n_rows + len(errors)
    if not n_rows:
        raise SystemExit("the script embedded no series")
    return worst, n_rows
