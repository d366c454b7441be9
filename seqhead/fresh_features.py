"""Features of one series, made now: of those slices alone that the heads look at."""

from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np

from featurecache.arrays import OK
from featurecache.crew import Crew
from featurecache.embed import Embedder
from featurecache.errors import UsageError
from featurecache.gather import Gathered, Outcome, accepted
from featurecache.networks import Network
from featurecache.pixels import Decoded, DecodeJob, decode_slice
from featurecache.pool import Failure, isolated_map
from featurecache.reasons import SLICE_REASONS, slice_reason_code
from seqhead.errors import FeaturesError
from seqhead.members import Member
from seqhead.sampling import even_places

_LOOKAHEAD, _MESSAGE_SLICES = 64, 4
_MOST_KEPT = 256  # decoded slices in memory, 0.5 MB each; others are decoded once more


@dataclass(slots=True)
class Spent:
    """Seconds by step, and what was found in pixels.

    Parameters
    ----------
    read_s, decode_s : float
        Summed over reader processes.
    transform_s, embed_s : float
        On the device.
    warnings : Counter
        Findings about slices.
    embedded : Counter
        Number of a network -> slices that it embedded.
    """

    read_s: float = 0.0
    decode_s: float = 0.0
    transform_s: float = 0.0
    embed_s: float = 0.0
    warnings: Counter[str] = field(default_factory=Counter)
    embedded: Counter[int] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class FreshFeatures:
    """Features of one series.

    Parameters
    ----------
    X : ndarray (n, D) or (n, D + D2)
        Of the slices that the heads look at, none where all slices failed. Rows of the second set
        that no head reads are zero.
    places : int array (n,)
        Their places among the planned slices.
    failed : dict of int to str
        Place of each slice without features -> reason.
    """

    X: np.ndarray
    places: np.ndarray
    failed: dict[int, str]


class FeatureMaker:
    """Makes the features of a series as an extraction would, and those that no head reads not.

    A head that samples its series is given the sample; one that looks at key slices of a second
    feature set (DrCT2) is given those of the key slices, which the first set tells.

    Parameters
    ----------
    networks : sequence of Network
        One, or two.
    members : sequence of Member
        The models that will read the features.
    crew : Crew
        Reader processes.

    Attributes
    ----------
    spent : Spent
        Of all series so far.
    """

    def __init__(
        self, networks: Sequence[Network], members: Sequence[Member], crew: Crew
    ) -> None:  # fmt: skip
        self.spent = Spent()
        self._networks, self._members, self._crew = networks, members, crew
        head = members[0].run.config.head
        self._sample_to = None if head is None else head.sample_to

    def make(self, jobs: Sequence[DecodeJob]) -> FreshFeatures:
        """Make the features of a series.

        Parameters
        ----------
        jobs : sequence of DecodeJob
            Its slices, in order; all are decoded.

        Returns
        -------
        FreshFeatures

        Raises
        ------
        FeaturesError
            A network gave a value that the type of the features cannot hold.
        UsageError
            A file changed meanwhile.
        """
        sampled = self._sample_to is not None and len(jobs) > self._sample_to
        slices = _Slices(jobs, self._crew, self._kept(len(jobs), sampled=sampled), self.spent)
        first = None if sampled else Gathered(len(jobs), self._embedders[0])
        failed: dict[int, str] = {}
        for place, outcome in enumerate(slices):
            for embedder in self._embedders:
                outcome = accepted(outcome, embedder)
            if isinstance(outcome, Failure):
                failed[place] = SLICE_REASONS[slice_reason_code(outcome.reason)]
            if first is not None:
                first.add(outcome)
        ok = np.array([place for place in range(len(jobs)) if place not in failed], dtype=int)
        places = ok[even_places(len(ok), self._sample_to)]
        values = self._finished(0, first)[ok] if first else self._embed(0, slices, places)
        return FreshFeatures(self._with_second(values, slices, places), places, failed)

    @property
    def _embedders(self) -> list[Embedder]:
        return [network.embedder for network in self._networks]

    def _kept(self, n: int, *, sampled: bool) -> frozenset[int]:
        """Places of slices that will be asked for again, if none fails."""
        if not sampled and len(self._networks) == 1:
            return frozenset()
        return frozenset(even_places(n, self._sample_to)[:_MOST_KEPT].tolist())

    def _with_second(
        self, values: np.ndarray, slices: "_Slices", places: np.ndarray
    ) -> np.ndarray:  # fmt: skip
        """The second set beside the first, where a head reads it."""
        if len(self._networks) == 1:
            return values
        recipe, dim = self._networks[1].recipe, self._embedders[1].dim
        both = np.hstack([values, np.zeros((len(values), dim), recipe.dtype)])
        if len(both):
            rows = np.logical_or.reduce([one.second_rows([both])[0] for one in self._members])
            both[rows, values.shape[1] :] = self._embed(1, slices, places[rows])
        return both

    def _embed(self, number: int, slices: "_Slices", places: np.ndarray) -> np.ndarray:
        """Features of some slices that were decoded before."""
        gathered = Gathered(len(places), self._embedders[number])
        for decoded in slices.again(places.tolist()):
            gathered.add(decoded)
        return self._finished(number, gathered)

    def _finished(self, number: int, gathered: Gathered) -> np.ndarray:
        """Wait for the features, and round them as a store does."""
        gathered.submit()
        gathered.finish()
        self.spent.transform_s += gathered.spent.transform_s
        self.spent.embed_s += gathered.spent.embed_s
        is_ok, dtype = gathered.status == OK, self._networks[number].recipe.dtype
        self.spent.embedded[number] += int(is_ok.sum())
        with np.errstate(over="ignore"):
            stored = gathered.values.astype(dtype)
        if not np.isfinite(stored[is_ok]).all():
            raise FeaturesError(
                f"the network {self._networks[number].recipe.backbone} gave a value that {dtype} "
                "cannot hold. An extraction of this series stops likewise"
            )
        return stored


class _Slices:
    """Decoded slices of a series, each at its turn; some are kept."""

    def __init__(
        self, jobs: Sequence[DecodeJob], crew: Crew, keep: frozenset[int], spent: Spent
    ) -> None:
        self._jobs, self._crew, self._keep, self._spent = jobs, crew, keep, spent
        self._kept: dict[int, Decoded] = {}

    def __iter__(self) -> Iterator[Outcome]:
        with closing(self._decode(self._jobs)) as outcomes:
            for place, outcome in enumerate(outcomes):
                if isinstance(outcome, Decoded):
                    self._spent.warnings.update(outcome.warnings)
                    if place in self._keep:
                        self._kept[place] = outcome
                yield outcome

    def again(self, places: Sequence[int]) -> Iterator[Decoded]:
        """Slices that were decoded already, once more."""
        missing = [self._jobs[place] for place in places if place not in self._kept]
        with closing(self._decode(missing)) as fresh:
            for place in places:
                outcome = self._kept[place] if place in self._kept else next(fresh)
                if isinstance(outcome, Failure):
                    raise UsageError(
                        f"{self._jobs[place].path} could be read a moment ago, and cannot now "
                        f"({outcome.reason}): run the same command again"
                    )
                yield outcome

    def _decode(self, jobs: Sequence[DecodeJob]) -> Generator[Outcome, None, None]:
        if not jobs:
            return
        results = isolated_map(
            decode_slice, jobs, workers=self._crew, lookahead=_LOOKAHEAD, chunk=_MESSAGE_SLICES
        )
        with closing(results):
            for _, outcome in results:
                if isinstance(outcome, Decoded):
                    self._spent.read_s += outcome.read_s
                    self._spent.decode_s += outcome.decode_s
                yield outcome
