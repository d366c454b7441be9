"""What each training series gives in an epoch: itself, or a view of it that is drawn."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seqhead.matrices import take_from
from seqhead.sampling import take_samples
from seqhead.train_config import TrainConfig

_STREAM = 7  # of random numbers, so that drawing views changes no other draw

Labels = np.ndarray | Sequence[np.ndarray]


@dataclass(frozen=True, slots=True)
class EpochSource:
    """Training series with their augmented views.

    Parameters
    ----------
    views : tuple of V + 1 sequences of B arrays (n, D)
        The series as they are, then each view of them, row by row.
    y : array (B, K), or sequence of B arrays (n, K)
        Their labels.
    seed : int
        Of the draws.
    sample_to : int or None
        To how many slices a series is reduced.
    leftovers : bool
        Whether left-over slices make further samples; all of a series are of one view.
    """

    views: tuple[Sequence[np.ndarray], ...]
    y: Labels
    seed: int
    sample_to: int | None = None
    leftovers: bool = False

    @classmethod
    def of(
        cls,
        X: Sequence[np.ndarray],
        y: Labels,
        views: Sequence[Sequence[np.ndarray]],
        config: TrainConfig,
        sample_to: int | None,
    ) -> "EpochSource":
        """The source of a fit; without views every epoch is the same, and is sampled once.

        Parameters
        ----------
        X, y
            Series as they are, and their labels.
        views : sequence of V sequences of B arrays (n, D)
            Views of the same rows; may be empty.
        config : TrainConfig
            Seed and left-overs.
        sample_to : int or None
            Of the head.

        Returns
        -------
        EpochSource
        """
        if views:
            return cls((X, *views), y, config.seed, sample_to, config.leftovers)
        sampled, labels = take_samples(X, y, sample_to, leftovers=config.leftovers)
        return cls((sampled,), y if labels is None else labels, config.seed)

    @property
    def labels(self) -> Labels:
        """Labels of what every epoch gives."""
        return self.epoch(1)[1]

    def drawn(self, epoch: int) -> np.ndarray:
        """Say which view each series gives.

        Parameters
        ----------
        epoch : int
            From 1.

        Returns
        -------
        int array (B,)
            From 0, the series as it is, to V; each equally likely.
        """
        rng = np.random.default_rng([_STREAM, self.seed, epoch])
        return rng.integers(len(self.views), size=len(self.y))

    def epoch(self, epoch: int) -> tuple[Sequence[np.ndarray], Labels]:
        """Give the series of an epoch.

        Parameters
        ----------
        epoch : int
            From 1; the same gives the same.

        Returns
        -------
        X, y
        """
        if len(self.views) == 1:
            return self.views[0], self.y
        X = take_from(self.views, self.drawn(epoch))
        sampled, labels = take_samples(X, self.y, self.sample_to, leftovers=self.leftovers)
        return sampled, self.y if labels is None else labels
