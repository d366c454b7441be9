"""A case: a head, what is wrong with it and how it was scanned, from a seed and an index."""

from dataclasses import dataclass

from featurecache.phantom.anatomy import Anatomy, draw_anatomy
from featurecache.phantom.findings import Pathology
from featurecache.phantom.pathology import draw_pathology
from featurecache.phantom.study import (
    ANATOMY_STREAM,
    FINDINGS_STREAM,
    Study,
    draw_study,
    stream,
)


@dataclass(frozen=True)
class Case:
    """Everything needed to render one patient.

    Parameters
    ----------
    seed, index : int
        What it was drawn from.
    anatomy : Anatomy
    pathology : Pathology
    study : Study
    """

    seed: int
    index: int
    anatomy: Anatomy
    pathology: Pathology
    study: Study

    @property
    def labels(self) -> dict[str, int]:
        """The nine findings, 1 or 0, in the order of `FINDINGS`."""
        return self.pathology.labels()


def draw_case(seed: int, index: int, size: int = 512) -> Case:
    """Draw patient `index` of a phantom, without pixels.

    The head, the scan and the findings come from three independent streams of random numbers;
    patient `index` is the same in a phantom of any number of patients.

    Parameters
    ----------
    seed : int
        0 or more.
    index : int
        0 or more.
    size : int
        Rows and columns of the images.

    Returns
    -------
    Case
    """
    return Case(
        seed=seed,
        index=index,
        anatomy=draw_anatomy(stream(seed, index, ANATOMY_STREAM)),
        pathology=draw_pathology(stream(seed, index, FINDINGS_STREAM)),
        study=draw_study(seed, index, size),
    )
