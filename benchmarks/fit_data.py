"""Random features of the size of CQ500's training series, and a problem that can be learnt."""

import numpy as np

SERIES, SLICES, SHORTEST, LONGEST = 835, 96_273, 30, 396
FEATURES, LABELS = 512, 9


def lengths(seed: int = 0) -> np.ndarray:
    """Slices of each of the 835 series, 96,273 together.

    Parameters
    ----------
    seed : int
        Of their distribution, which has many short and some long ones.

    Returns
    -------
    int array (835,)
        From 30 to 396.
    """
    rng = np.random.default_rng(seed)
    drawn = SHORTEST + (LONGEST - SHORTEST) * rng.beta(0.75, 2.4, SERIES)
    found = drawn.round().astype(np.int64)
    found[:2] = SHORTEST, LONGEST
    while (missing := SLICES - int(found.sum())) != 0:
        step = np.sign(missing)
        free = np.flatnonzero((found + step >= SHORTEST) & (found + step <= LONGEST))[2:]
        found[rng.choice(free, min(abs(missing), len(free)), replace=False)] += step
    return found


def features(of: np.ndarray, seed: int = 0) -> tuple[list[np.ndarray], np.ndarray]:
    """Random float16 matrices, as a store has them, and random labels.

    Parameters
    ----------
    of : int array (B,)
        Slices of each series.
    seed : int
        Of the numbers.

    Returns
    -------
    X : list of B float16 arrays (n, 512)
    y : float32 array (B, 9)
    """
    rng = np.random.default_rng(seed)
    X = [rng.standard_normal((n, FEATURES), dtype=np.float32).astype(np.float16) for n in of]
    return X, (rng.random((len(X), LABELS)) < 0.2).astype(np.float32)


def planted(series: int, seed: int) -> tuple[list[np.ndarray], np.ndarray]:
    """A finding that a few neighbouring slices show faintly, in half of the series.

    Parameters
    ----------
    series : int
        How many.
    seed : int
        Of everything.

    Returns
    -------
    X : list of float16 arrays (n, 32)
        20 to 120 slices.
    y : float32 array (series, 1)
    """
    rng = np.random.default_rng(seed)
    y = (np.arange(series) % 2).astype(np.float32)[:, None]
    X = []
    for ill in y[:, 0]:
        n = int(rng.integers(20, 121))
        matrix = rng.standard_normal((n, 32))
        if ill:
            start = int(rng.integers(0, n - 5))
            matrix[start : start + 5, :6] += 0.9
        X.append(matrix.astype(np.float16))
    return X, y
