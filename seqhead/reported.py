"""The numbers of a paper's tables, and which of a run's figures stands beside each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seqhead.metrics import METRICS
from seqhead.systems.schema import System

_OURS = {**{name: name for name in METRICS}, "loss": "log_loss"}
_RSNA_NAMES = {
    "ICH": "any",
    "IPH": "intraparenchymal",
    "IVH": "intraventricular",
    "SDH": "subdural",
    "EDH": "epidural",
    "SAH": "subarachnoid",
}
_SAME_FINDING = {**_RSNA_NAMES, **{rsna: name for name, rsna in _RSNA_NAMES.items()}}


@dataclass(frozen=True, slots=True)
class Reported:
    """One number of a paper.

    Parameters
    ----------
    of : str
        ``"micro"``, ``"macro"``, ``"mean"``, ``"model"``, or a label.
    metric : str
        One of `seqhead.metrics.METRICS`, or ``"parameters"``.
    value : float
        The number.
    interval : tuple of float or None
        Its 95 % interval, where the paper has one.
    labels : tuple of str
        The labels that a mean is over.
    """

    of: str
    metric: str
    value: float
    interval: tuple[float, float] | None = None
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ours:
    """What stands beside a reported number.

    Parameters
    ----------
    value : float or None
        None where it cannot be had: no such label, or one class only.
    interval : sequence of float or None
        Its 95 % interval.
    label : str or None
        Where the finding has another name here, that name.
    """

    value: float | None
    interval: Sequence[float] | None = None
    label: str | None = None


def reported_numbers(system: System) -> tuple[Reported, ...]:
    """List the numbers of a paper that can be compared.

    Parameters
    ----------
    system : System
        The system.

    Returns
    -------
    tuple of Reported
        Those of all labels together first.
    """
    found, reported = [], system.reported
    single = reported.get("auc_of_label", {})
    for name, value in reported.items():
        if name in _OURS:
            ends = reported.get(f"{name}_interval")
            of, labels = _averaged(system, tuple(single))
            found.append(Reported(of, _OURS[name], value, ends and (ends[0], ends[1]), labels))
    found += [
        Reported(label, _OURS[name], value)
        for label, metrics in reported.get("labels", {}).items()
        for name, value in metrics.items()
    ]
    found += [Reported(label, "auc", value) for label, value in single.items()]
    if "parameters" in reported:
        found.append(Reported("model", "parameters", reported["parameters"]))
    return tuple(found)


def not_compared(system: System) -> tuple[str, ...]:
    """Name what a paper reports too.

    Parameters
    ----------
    system : System
        The system.

    Returns
    -------
    tuple of str
        Keys of ``reported`` that `reported_numbers` leaves out.
    """
    known = {*_OURS, *(f"{name}_interval" for name in _OURS), "labels", "auc_of_label"}
    return tuple(name for name in system.reported if name not in {*known, "parameters"})


def ours_beside(number: Reported, figures: Mapping[str, Any], parameters: int | None) -> Ours:
    """Find our figure for a reported number.

    Parameters
    ----------
    number : Reported
        The paper's.
    figures : mapping
        ``labels``, ``macro`` and ``micro`` of an evaluation.
    parameters : int or None
        Of our head, by the papers' count.

    Returns
    -------
    Ours
    """
    if number.of == "model":
        return Ours(parameters)
    if number.of == "mean":
        return _mean(number, figures["labels"])
    if number.of in ("micro", "macro"):
        return _figure(figures[number.of], number.metric)
    label = label_here(number.of, figures["labels"])
    if label is None:
        return Ours(None)
    found = _figure(figures["labels"][label], number.metric)
    return Ours(found.value, found.interval, None if label == number.of else label)


def label_here(label: str, here: Mapping[str, Any]) -> str | None:
    """Find a finding among labels that may have the names of CQ500 or of RSNA 2019.

    Parameters
    ----------
    label : str
        The paper's name.
    here : mapping
        Labels at hand.

    Returns
    -------
    str or None
        The name it has here.
    """
    names = (label, _SAME_FINDING.get(label, label))
    return next((name for name in names if name in here), None)


def _averaged(system: System, single: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """What a number without a label is of: an average, a mean of labels, or the one label."""
    if system.metrics.average != "none":
        return system.metrics.average, ()
    return ("mean", single) if single else (system.labels[0], ())


def _figure(metrics: Mapping[str, Any], name: str) -> Ours:
    return Ours(metrics[name], metrics.get(f"{name}_ci"))


def _mean(number: Reported, labels: Mapping[str, Any]) -> Ours:
    """Mean over the paper's labels; none where one of them is missing or undefined."""
    names = [label_here(label, labels) for label in number.labels]
    values = [None if name is None else labels[name][number.metric] for name in names]
    known = [value for value in values if value is not None]
    return Ours(sum(known) / len(known) if len(known) == len(values) else None)
