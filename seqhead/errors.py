"""The errors that seqhead raises on purpose, and the exit code each one means.

::

    FeatureCacheError
    └── SeqHeadError         1
        ├── LabelError       2   a label file is wrong, or does not fit the store
        ├── SplitError       2   patients cannot be split as asked
        │   └── LeakError    2   one patient is in two splits
        ├── FitError         2   nothing can be learnt as asked
        ├── RunError         2   a run folder is missing, damaged or not a run
        ├── SweepError       2   a sweep folder is damaged, or of other settings
        └── FeaturesError    5   a model is offered features it was not fitted on
"""

from featurecache.errors import FeatureCacheError, StoreMismatchError


class SeqHeadError(FeatureCacheError):
    """Base of the errors of stage 2; the message says what to do."""


class LabelError(SeqHeadError):
    """A label file is wrong, or does not fit the store; the message names the line."""

    exit_code = 2


class SplitError(SeqHeadError):
    """Patients cannot be split as asked."""

    exit_code = 2


class LeakError(SplitError):
    """One patient is in two splits; the message names the rows."""


class FitError(SeqHeadError):
    """Nothing can be learnt as asked."""

    exit_code = 2


class RunError(SeqHeadError):
    """A run folder is missing, damaged or not a run."""

    exit_code = 2


class SweepError(SeqHeadError):
    """A sweep folder is damaged, or of other settings; the message names the fields."""

    exit_code = 2


class FeaturesError(SeqHeadError, StoreMismatchError):
    """A model is offered features it was not fitted on; the message names the fields."""

    exit_code = 5
