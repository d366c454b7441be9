"""Are probabilities what they say? Tables and scores, and two ways to put them right."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from seqhead.operating_points import has_both_classes
from seqhead.proportions import wilson

BINS = 10
"""Bins of equal width of a reliability table."""

METHODS = ("temperature", "isotonic")
"""Ways to calibrate."""

_EPS = 1e-7  # float32 sigmoids reach 0 and 1
_LOG_TEMPERATURES = (-3.0, 3.0)  # 1/20 to 20: a few rows in perfect order would ask for 0


def reliability(y: np.ndarray, probability: np.ndarray, bins: int = BINS) -> list[dict[str, Any]]:
    """How often rows of about one probability are positive.

    Parameters
    ----------
    y : float array (n,)
        1, 0, or NaN for unknown.
    probability : float array (n,)
        Between 0 and 1.
    bins : int
        Of equal width.

    Returns
    -------
    list of dict
        For each bin that has rows: ``low``, ``high``, ``n``, ``positives``, ``probability``
        (mean), ``share`` of positives, and its Wilson interval ``share_ci``.
    """
    known = ~np.isnan(y)
    y, probability = y[known], probability[known]
    code = _bin(probability, bins)
    table = []
    for k in np.unique(code):
        rows = code == k
        n, positives = int(rows.sum()), int(y[rows].sum())
        table.append(
            {
                "low": float(k / bins),
                "high": float((k + 1) / bins),
                "n": n,
                "positives": positives,
                "probability": float(probability[rows].mean()),
                "share": positives / n,
                "share_ci": wilson(positives, n),
            }
        )
    return table


def expected_calibration_error(
    y: np.ndarray, probability: np.ndarray, bins: int = BINS
) -> float | None:
    """Mean distance between probability and share of positives, over bins of equal width.

    Parameters
    ----------
    y, probability, bins
        As for `reliability`.

    Returns
    -------
    float or None
        None where nothing is known.

    References
    ----------
    Naeini, Cooper, Hauskrecht 2015, AAAI.
    """
    known = ~np.isnan(y)
    if not known.any():
        return None
    gap = np.bincount(_bin(probability[known], bins), (probability - y)[known], minlength=bins)
    return float(np.abs(gap).sum() / known.sum())


class Calibrator(BaseModel):
    """What validation patients say of one label's probabilities.

    Attributes
    ----------
    temperature : float or None
        Log odds are divided by it; above 1 the model was too sure. None where the validation
        patients show one class only.
    knots, values : tuple of float
        Isotonic regression: its value at each knot, straight in between; empty for none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float | None = None
    knots: tuple[float, ...] = ()
    values: tuple[float, ...] = ()

    def apply(self, probability: np.ndarray, method: str) -> np.ndarray:
        """Calibrate probabilities.

        Parameters
        ----------
        probability : float array
            Of the model.
        method : str
            ``"temperature"``: keeps the order of all rows; ``"isotonic"``: may make ties.

        Returns
        -------
        float64 array
            As they were, where there was nothing to learn from.
        """
        probability = np.asarray(probability, dtype=np.float64)
        if self.temperature is None:
            return probability
        if method == "isotonic":
            return np.interp(probability, self.knots, self.values)
        from scipy.special import expit

        return expit(_logit(probability) / self.temperature)


def fit_calibrator(y: np.ndarray, probability: np.ndarray) -> Calibrator:
    """Learn from validation rows how a label's probabilities are to be read.

    Parameters
    ----------
    y : float array (n,)
        1, 0, or NaN for unknown.
    probability : float array (n,)
        Of the model.

    Returns
    -------
    Calibrator

    References
    ----------
    Guo et al. 2017, On Calibration of Modern Neural Networks (temperature). Zadrozny and Elkan
    2002, KDD (isotonic).
    """
    known = ~np.isnan(y)
    y, probability = y[known], np.asarray(probability, dtype=np.float64)[known]
    if not has_both_classes(y):
        return Calibrator()
    from sklearn.isotonic import IsotonicRegression

    steps = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(probability, y)
    return Calibrator(
        temperature=_temperature(y, _logit(probability)),
        knots=tuple(steps.X_thresholds_.tolist()),
        values=tuple(steps.y_thresholds_.tolist()),
    )


@dataclass(frozen=True, slots=True)
class Calibration:
    """Calibrators of K labels.

    Parameters
    ----------
    labels : dict of str to Calibrator
        One for each label, in order.
    """

    labels: dict[str, Calibrator]

    @classmethod
    def fit(cls, names: tuple[str, ...], y: np.ndarray, probability: np.ndarray) -> "Calibration":
        """Learn from validation rows.

        Parameters
        ----------
        names : tuple of str
            Names of the K labels.
        y, probability : float arrays (n, K)
            Labels and probabilities.

        Returns
        -------
        Calibration
        """
        return cls({n: fit_calibrator(y[:, k], probability[:, k]) for k, n in enumerate(names)})

    def apply(self, probability: np.ndarray, method: str) -> np.ndarray:
        """Calibrate probabilities.

        Parameters
        ----------
        probability : float array (n, K)
            Of the model.
        method : str
            One of `METHODS`.

        Returns
        -------
        float64 array (n, K)
        """
        columns = zip(self.labels.values(), np.asarray(probability).T, strict=True)
        return np.stack([one.apply(column, method) for one, column in columns], axis=1)

    def document(self) -> dict[str, Any]:
        """``calibration.json`` of a run."""
        return {name: one.model_dump(mode="json") for name, one in self.labels.items()}

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> "Calibration":
        """Rebuild from `document`.

        Parameters
        ----------
        document : dict
            What `document` gave.

        Returns
        -------
        Calibration

        Raises
        ------
        pydantic.ValidationError
            A field is of another type.
        """
        return cls({name: Calibrator.model_validate(one) for name, one in document.items()})


def _bin(probability: np.ndarray, bins: int) -> np.ndarray:
    """Number of the bin; both ends belong to the outer bins."""
    return np.clip((probability * bins).astype(np.int64), 0, bins - 1)


def _temperature(y: np.ndarray, logit: np.ndarray) -> float:
    """Temperature with the least log loss."""
    from scipy.optimize import minimize_scalar

    signed = np.where(y == 1, -logit, logit)

    def loss(log_temperature: float) -> float:
        return float(np.logaddexp(0, signed / np.exp(log_temperature)).mean())

    found = minimize_scalar(loss, bounds=_LOG_TEMPERATURES, method="bounded")
    return float(np.exp(found.x))


def _logit(probability: np.ndarray) -> np.ndarray:
    inside = np.clip(probability, _EPS, 1 - _EPS)
    return np.log(inside) - np.log1p(-inside)
