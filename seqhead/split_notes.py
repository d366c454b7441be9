"""What a user should know of the patients of a split."""

import numpy as np

from featurecache.words import plural
from seqhead.assignment import Assignment
from seqhead.cohort import Cohort
from seqhead.splits import SPLITS


def notes_of(cohort: Cohort, split: Assignment | None = None) -> list[str]:
    """What the patients of a split, or a whole label, lack.

    Parameters
    ----------
    cohort : Cohort
        Series.
    split : Assignment or None
        Which of them learn, stop and test; None: speak of the cohort alone.

    Returns
    -------
    list of str
    """
    unlabelled = cohort.left_out.unlabelled_slices
    notes = [f"{plural(unlabelled, 'slice')} without a known label, not learnt from"] * (
        unlabelled > 0
    )
    if cohort.views:
        notes.append(
            f"each epoch draws each training series as it is or from {len(cohort.views)} augmented "
            "views; validation and test are as they are"
        )
    spelt, patients = cohort.series["patient"].nunique(), len(np.unique(cohort.groups))
    if spelt > patients:
        notes.append(
            f"{spelt} PatientIDs count as {plural(patients, 'patient')}: studies or labels connect "
            "them"
        )
    known = ~np.isnan(cohort.series_y)
    notes += [
        f"no known {name} in any series"
        for k, name in enumerate(cohort.names)
        if not known[:, k].any()
    ]
    for name in SPLITS if split is not None else ():
        part = cohort.series_y[split.series_on(cohort, name)]  # type: ignore[union-attr]
        for answer, word in ((1, "positive"), (0, "negative")):
            missing = [
                label
                for k, label in enumerate(cohort.names)
                if known[:, k].any() and not (part[:, k] == answer).any()
            ]
            if missing:
                notes.append(f"no {word} {name} series for {', '.join(missing)}")
    return notes
