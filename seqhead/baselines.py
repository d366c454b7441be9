"""The baseline that every result stands beside: what length and position alone can tell."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict

SERIES_FEATURES = (
    "n_slices",
    "z_extent_mm",
    "median_gap_mm",
    "thickness_mm",
    "fov_mm",
    "tilt_deg",
)
"""What the baseline knows of a series."""

SLICE_FEATURES = ("relative_position", "relative_position_squared")
"""What the baseline knows of a slice."""


class _Coefficients(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    features: tuple[str, ...]
    labels: tuple[str, ...]
    fill: tuple[float, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    coef: tuple[tuple[float, ...], ...]
    intercept: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class PositionBaseline:
    """Logistic regression on standardised length and position, one for each label.

    Unknown values of a feature count as its training median. A label with one class only in
    training gets the constant (positives + 1) / (n + 2).

    Parameters
    ----------
    features, labels : tuple of str
        F feature names and K label names.
    fill, mean, scale : float arrays (F,)
        Median, and the standardisation after filling.
    coef : float array (K, F)
        Coefficients.
    intercept : float array (K,)
        Intercepts.
    """

    features: tuple[str, ...]
    labels: tuple[str, ...]
    fill: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    coef: np.ndarray
    intercept: np.ndarray

    @classmethod
    def fit(cls, table: pd.DataFrame, y: np.ndarray, names: tuple[str, ...]) -> "PositionBaseline":
        """Fit on training rows.

        Parameters
        ----------
        table : DataFrame (n, F)
            Columns `SERIES_FEATURES` or `SLICE_FEATURES`.
        y : float array (n, K)
            1, 0, or NaN for unknown.
        names : tuple of str
            Names of the K labels.

        Returns
        -------
        PositionBaseline
        """
        raw = table.to_numpy(np.float64)
        known = ~np.isnan(raw)
        fill = np.array([np.median(c[k]) if k.any() else 0.0
                         for c, k in zip(raw.T, known.T, strict=True)])  # fmt: skip
        filled = np.where(known, raw, fill)
        mean, scale = filled.mean(axis=0), filled.std(axis=0)
        scale[scale < 1e-9] = 1.0
        fitted = [_logistic((filled - mean) / scale, y[:, k]) for k in range(len(names))]
        coef = np.array([coef for coef, _ in fitted])
        intercept = np.array([intercept for _, intercept in fitted])
        return cls(tuple(table.columns), names, fill, mean, scale, coef, intercept)

    def predict_proba(self, table: pd.DataFrame) -> np.ndarray:
        """Score rows.

        Parameters
        ----------
        table : DataFrame (n, F)
            The columns of the fit.

        Returns
        -------
        float array (n, K)
        """
        raw = table[list(self.features)].to_numpy(np.float64)
        filled = np.where(np.isnan(raw), self.fill, raw)
        logits = (filled - self.mean) / self.scale @ self.coef.T + self.intercept
        return 1 / (1 + np.exp(-np.clip(logits, -700, 700)))

    def document(self) -> dict[str, Any]:
        """The coefficients as JSON values."""
        return {
            "features": list(self.features),
            "labels": list(self.labels),
            **{name: getattr(self, name).tolist()
               for name in ("fill", "mean", "scale", "coef", "intercept")},
        }  # fmt: skip

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> "PositionBaseline":
        """Rebuild from `document`.

        Parameters
        ----------
        document : dict
            What `document` gave.

        Returns
        -------
        PositionBaseline

        Raises
        ------
        pydantic.ValidationError
            A field is missing or of another type.
        """
        fields = _Coefficients.model_validate(document)
        arrays = {
            name: np.array(getattr(fields, name), dtype=np.float64)
            for name in ("fill", "mean", "scale", "coef", "intercept")
        }
        return cls(fields.features, fields.labels, **arrays)


def series_features(series: pd.DataFrame) -> pd.DataFrame:
    """What the baseline knows of series.

    Parameters
    ----------
    series : DataFrame
        ``FeatureSet.series``.

    Returns
    -------
    DataFrame
        Columns `SERIES_FEATURES`.
    """
    return series[list(SERIES_FEATURES)].astype(np.float64)


def slice_features(slices: pd.DataFrame, series: pd.DataFrame) -> pd.DataFrame:
    """What the baseline knows of slices.

    Parameters
    ----------
    slices, series : DataFrame
        ``FeatureSet.slices`` and ``FeatureSet.series``.

    Returns
    -------
    DataFrame
        Columns `SLICE_FEATURES`; the relative position is 0 at the first planned slice of the
        series and 1 at the last.
    """
    planned = series["n_slices"].loc[slices["series"]].to_numpy()
    relative = slices["position"].to_numpy() / np.maximum(planned - 1, 1)
    return pd.DataFrame(dict(zip(SLICE_FEATURES, (relative, relative**2), strict=True)))


def _logistic(rows: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, float]:
    from sklearn.linear_model import LogisticRegression

    known = ~np.isnan(y)
    if len(np.unique(y[known])) < 2:
        share = (np.nansum(y) + 1) / (known.sum() + 2)
        return np.zeros(rows.shape[1]), float(np.log(share / (1 - share)))
    model = LogisticRegression(max_iter=1000).fit(rows[known], y[known].astype(int))
    return model.coef_[0], float(model.intercept_[0])
