"""What became of every file: used, skipped with a reason or failed with a reason."""

from collections import Counter
from dataclasses import dataclass, field

from featurecache.errors import FeatureCacheError
from featurecache.words import plural


@dataclass(slots=True)
class Account:
    """Counts of files, and of the reasons and warnings behind them.

    Parameters
    ----------
    seen : int
        Files and other entries met in the tree, counted by the walk itself.
    used, skipped, failed : int
        What became of them.
    reasons : dict of (kind, text) to int
        `kind` is "skipped" or "failed" (then the counts are files and add up to the totals) or
        "warning" (files or stacks).
    """

    seen: int = 0
    used: int = 0
    skipped: int = 0
    failed: int = 0
    reasons: dict[tuple[str, str], int] = field(default_factory=Counter)

    def check(self) -> None:
        """Raise unless every file seen is accounted for.

        Raises
        ------
        FeatureCacheError
            If ``seen != used + skipped + failed``, or the reasons do not add up to the totals.
        """
        total = self.used + self.skipped + self.failed
        if self.seen != total:
            raise FeatureCacheError(
                f"The account does not balance: {self.seen} files seen, but {self.used} used + "
                f"{self.skipped} skipped + {self.failed} failed = {total}. "
                "Files changed during the scan, or this is a bug: scan again."
            )
        for kind, expected in (("skipped", self.skipped), ("failed", self.failed)):
            given = sum(count for (of, _), count in self.reasons.items() if of == kind)
            if given != expected:
                raise FeatureCacheError(
                    f"The account does not balance: {expected} files {kind}, but reasons for "
                    f"{given}. This is a bug: please report it."
                )

    def text(self) -> str:
        """Return the account as lines for a terminal."""
        lines = [
            f"{plural(self.seen, 'file')} seen = {self.used:,} used + {self.skipped:,} skipped "
            f"+ {self.failed:,} failed"
        ]
        for kind in ("failed", "skipped", "warning"):
            found = [(count, text) for (of, text), count in self.reasons.items() if of == kind]
            lines += [
                f"  {kind:8} {count:8}  {text}" for count, text in sorted(found, reverse=True)
            ]
        return "\n".join(lines)
