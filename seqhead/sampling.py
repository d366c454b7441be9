"""Which slices of a series are looked at: even samples, left-overs, reversal, dropped slices."""

from collections.abc import Callable, Sequence

import numpy as np

from seqhead.matrices import lengths_of, take_slices_of
from seqhead.train_config import TrainConfig

Pick = Callable[[int], np.ndarray]
"""Length of a series -> numbers of the slices to take, in the order to take them."""


def even_places(n: int, m: int | None) -> np.ndarray:
    """Spread a sample over a series.

    Parameters
    ----------
    n : int
        Slices of the series.
    m : int or None
        Slices wanted; None: all.

    Returns
    -------
    int array (min(n, m),)
        Increasing; the middles of m equal parts of the series.
    """
    if m is None or n <= m:
        return np.arange(n)
    return (2 * np.arange(m) + 1) * n // (2 * m)


def disjoint_samples(n: int, m: int | None) -> list[np.ndarray]:
    """Sample a series, then what is left over, until less than a sample is left.

    Parameters
    ----------
    n, m : int
        As in `even_places`.

    Returns
    -------
    list of int arrays
        The first is that of `even_places`; no slice is in two of them.

    References
    ----------
    DrCT2, section VI.A.1: "the unsampled data are used to generate a new CT set for data
    enhancement".
    """
    if m is None or n <= m:
        return [np.arange(n)]
    left, samples = np.arange(n), []
    while len(left) >= m:
        chosen = even_places(len(left), m)
        samples.append(left[chosen])
        left = np.delete(left, chosen)
    return samples


def take_samples(
    X: Sequence[np.ndarray],
    y: np.ndarray | Sequence[np.ndarray] | None,
    m: int | None,
    *,
    leftovers: bool = False,
) -> tuple[Sequence[np.ndarray], np.ndarray | Sequence[np.ndarray] | None]:
    """Reduce series of labels of their own to a fixed number of slices.

    Parameters
    ----------
    X : sequence of B arrays (n, D)
        Features.
    y : array (B, K) or None
        Labels of the series. Labels of slices go with ``m=None`` only.
    m : int or None
        Slices wanted; None: all.
    leftovers : bool
        Whether left-over slices make further samples, with the label of their series.

    Returns
    -------
    X, y
        Of all samples; without left-overs in the order of the series.
    """
    if m is None:
        return X, y
    places = [
        disjoint_samples(n, m) if leftovers else [even_places(n, m)] for n in lengths_of(X).tolist()
    ]
    owners = np.repeat(np.arange(len(X)), [len(samples) for samples in places])
    taken = take_slices_of(X, owners, [rows for samples in places for rows in samples])
    return taken, None if y is None else np.asarray(y)[owners]


def augmentation(config: TrainConfig, rng: np.random.Generator) -> Pick | None:
    """Make the augmentation of a training configuration.

    Parameters
    ----------
    config : TrainConfig
        ``reverse`` and ``drop_slices``.
    rng : Generator
        Draws anew at each call of what is returned.

    Returns
    -------
    callable or None
        None where there is none. At least one slice is left.
    """
    if not (config.reverse or config.drop_slices):
        return None

    def pick(n: int) -> np.ndarray:
        places = np.arange(n)
        if config.drop_slices:
            kept = rng.random(n) >= config.drop_slices
            kept[rng.integers(n)] |= not kept.any()
            places = places[kept]
        return places[::-1] if config.reverse and rng.random() < config.reverse else places

    return pick


def balanced_rows(
    y: np.ndarray | Sequence[np.ndarray], rng: np.random.Generator
) -> np.ndarray | None:
    """Draw series so that those with a finding and those without come equally often.

    Parameters
    ----------
    y : array (B, K), or sequence of B arrays (n, K)
        Labels; NaN is unknown. A series has a finding where any label of it, or of a slice, is 1.
    rng : Generator
        Draws.

    Returns
    -------
    int array (B,) or None
        Series, some more than once; None where all or none have a finding.
    """
    found = np.array([bool((rows == 1).any()) for rows in y])
    ill, well = np.flatnonzero(found), np.flatnonzero(~found)
    if not len(ill) or not len(well):
        return None
    half = len(found) // 2
    return np.concatenate([_draw(ill, half, rng), _draw(well, len(found) - half, rng)])


def _draw(rows: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Each row as often as the others, as far as the count allows."""
    repeats = [rng.permutation(rows) for _ in range(-(-count // len(rows)))]
    return np.concatenate(repeats)[:count]
