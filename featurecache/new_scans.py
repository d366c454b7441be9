"""Scans that are in no store: a folder, indexed in passing, whose slices are decoded on demand."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from featurecache.chosen import Chosen, choose
from featurecache.crew import Workers
from featurecache.errors import UsageError
from featurecache.index import Index
from featurecache.pixels import DecodeJob, job_for
from featurecache.scan import Progress, scan
from featurecache.scan_document import move_to_failed, scan_document
from featurecache.select import Selection

if TYPE_CHECKING:
    from featurecache.stacks import Stack


@dataclass(frozen=True, slots=True)
class NewScans:
    """A folder that was scanned.

    Parameters
    ----------
    index : Index
        Open for reading.
    chosen : Chosen
        What the selection leaves out.
    """

    index: Index
    chosen: Chosen

    def stacks(self) -> "Iterator[Stack]":
        """Usable series that are selected, ordered by patient, study and key, as in a store."""
        for stack in self.index.stacks():
            if stack.key not in self.chosen.series:
                yield stack

    def jobs(self, stack: "Stack") -> list[DecodeJob]:
        """What to decode for each slice of a series, in slice order."""
        root = self.index.root
        return [job_for(root, stack, slice_, stack.key) for slice_ in stack.slices]

    def document(self, failed: Mapping[str, str], warnings: Counter[str]) -> dict[str, Any]:
        """The account of all files, after slices were decoded.

        Parameters
        ----------
        failed : mapping
            Path as in the index of each file with a slice that failed -> reason.
        warnings : Counter
            What was found in pixels.

        Returns
        -------
        dict
            As `scan_document`, with the user's own ids.
        """
        document = scan_document(self.index, None, self.chosen)
        move_to_failed(document, failed, warnings)
        return document


@contextmanager
def new_scans(
    folder: Path, selection: Selection | None = None, *, workers: Workers | None = None,
    progress: Progress | None = None, assume_hu: bool = False, min_slices: int = 2,
    nifti_ids: Path | None = None,
) -> Iterator[NewScans]:  # fmt: skip
    """Scan a folder into an index that nobody else can read, and that is removed at the end.

    Parameters
    ----------
    folder : Path
        Scans; nothing is written there.
    selection : Selection, optional
        Which series are used.
    workers : int or Crew, optional
        Reader processes; by default one per core.
    progress, assume_hu, min_slices, nifti_ids
        As in `featurecache.scan.scan`.

    Yields
    ------
    NewScans

    Raises
    ------
    UsageError
        It is no folder, has no usable series (the message has the account of its files), or the
        selection leaves none.
    """
    with TemporaryDirectory(prefix="featurecache-") as temporary:  # mode 0700
        path = Path(temporary) / "index.sqlite"
        account = scan(
            folder, path, workers=workers, progress=progress, assume_hu=assume_hu,
            min_slices=min_slices, nifti_ids=nifti_ids,
        )  # fmt: skip
        with Index.open(path, readonly=True) as index:
            chosen = choose(index, selection)
            chosen.check()
            if next(index.stacks(), None) is None:
                raise UsageError(f"{folder} has no usable CT series. {account.text()}")
            yield NewScans(index, chosen)
