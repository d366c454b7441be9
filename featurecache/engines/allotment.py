"""Which units are given to whom, where those who compute them may die."""

from collections import Counter, deque
from collections.abc import Sequence

from featurecache.units import Unit

_ATTEMPTS = 3
_IN_FLIGHT = 3  # units that a pipeline has begun and not committed, at most
_SHARES = 2


class Allotment:
    """Hands out units: many at first, fewer towards the end, so that all takers end together.

    Of the units that come back from a taker that died, the first few are suspects: they are given
    out last and one at a time, so that none is blamed for another, and not more than three times.

    Parameters
    ----------
    units : sequence of Unit
        All of them.
    n_takers : int
        How many will ask for units.

    Attributes
    ----------
    given_up : dict
        Units on which takers died three times, by `Unit.span`: what was said the last time.
    """

    def __init__(self, units: Sequence[Unit], n_takers: int) -> None:
        self.given_up: dict[tuple[int, int, int], str] = {}
        self._n_takers = n_takers
        self._waiting, self._suspects = deque(units), deque[Unit]()
        self._attempts: Counter[tuple[int, int, int]] = Counter()

    def __len__(self) -> int:
        """Units that wait for a taker."""
        return len(self._waiting) + len(self._suspects)

    def take(self) -> list[Unit]:
        """Units for one taker, in order; none where none are left."""
        if self._waiting:
            count = max(1, len(self._waiting) // (_SHARES * self._n_takers))
            return [self._waiting.popleft() for _ in range(count)]
        return [self._suspects.popleft()] if self._suspects else []

    def give_back(self, units: Sequence[Unit], reason: str) -> None:
        """Take units back that a dead taker has not committed.

        Parameters
        ----------
        units : sequence of Unit
            In the order in which it computed them.
        reason : str
            How it died.
        """
        for unit in units[:_IN_FLIGHT]:
            self._attempts[unit.span] += 1
            if self._attempts[unit.span] < _ATTEMPTS:
                self._suspects.append(unit)
            else:
                self.given_up[unit.span] = reason
        self._waiting.extend(units[_IN_FLIGHT:])

    def close(self) -> None:
        """Give nothing out any more."""
        self._waiting.clear()
        self._suspects.clear()
