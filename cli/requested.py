"""What `featurecache extract` is asked for: feature sets by option or by system, and a run."""

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import click

from cli.common import echo_note
from cli.options import ENVIRONMENT
from featurecache.errors import UsageError
from featurecache.project import load_project

if TYPE_CHECKING:
    from featurecache.options import FeatureOptions, RunOptions
    from featurecache.select import Selection

_OF_A_SYSTEM = (
    "backbone", "name", "layer", "pool", "windows", "size", "fit", "spacing_mm", "fov_mm", "zoom",
)  # fmt: skip
_VARIABLE = ENVIRONMENT["select"]
_COMMON = ("precision", "max_relative_error", "dtype", "batch_size", "compile", "strict")


@dataclass(frozen=True, slots=True)
class Requested:
    """Feature sets, how to run, and which series.

    Parameters
    ----------
    features : tuple of FeatureOptions
        One a feature set.
    run : RunOptions
        How.
    selection : Selection
        Which series are used.
    """

    features: "tuple[FeatureOptions, ...]"
    run: "RunOptions"
    selection: "Selection"


def requested(context: click.Context, options: dict[str, Any], rules: tuple[str, ...]) -> Requested:
    """Read the options of the command.

    Parameters
    ----------
    context : click.Context
        Tells what was given and what is a default.
    options : dict
        Of `cli.extract_options.extract_options`.
    rules : tuple of str
        What ``--select`` said, else ``featurecache.toml``.

    Returns
    -------
    Requested

    Raises
    ------
    UsageError
        Neither or both of ``--backbone`` and ``--system``, or an option that the system sets.
    """
    from cli.tasks import selection
    from featurecache.options import RunOptions, Shard, feature_sets

    names = {field.name for field in fields(RunOptions)}
    run = {name: value for name, value in options.items() if name in names}
    run["shard"] = None if run["shard"] is None else Shard.parse(run["shard"])
    sets = {name: value for name, value in options.items() if name not in names}
    system = sets.pop("system")
    if system is None:
        if sets["backbone"] is None:
            raise UsageError("name a --backbone (or a --system: `seqhead systems` lists them)")
        return Requested(feature_sets(**sets), RunOptions(**run), selection(rules))
    _check_left_open(context, system)
    features = _features_of(system, sets, context)
    return Requested(features, RunOptions(**run), selection_of(context, system, rules))


def _check_left_open(context: click.Context, system: str) -> None:
    default = click.core.ParameterSource.DEFAULT
    given = [name for name in _OF_A_SYSTEM if context.get_parameter_source(name) is not default]
    if given:
        spelled = {"spacing_mm": "spacing", "fov_mm": "fov"}
        flags = ", ".join(f"--{spelled.get(name, name)}" for name in given)
        raise UsageError(
            f"--system {system} says this itself: leave out {flags}. `seqhead describe {system}` "
            "prints the line that extracts its features, to be changed as you like"
        )


def _features_of(
    system: str, sets: dict[str, Any], context: click.Context
) -> "tuple[FeatureOptions, ...]":
    from featurecache.options import with_views
    from seqhead.systems import extraction

    common = {name: sets[name] for name in _COMMON}
    if context.get_parameter_source("weights") is not click.core.ParameterSource.DEFAULT:
        common["weights"] = sets["weights"]
    features = tuple(replace(one, **common) for one in extraction(system).sets)
    return with_views(features, sets["views"], sets["view_seed"])


def selection_of(context: click.Context, system: str, rules: tuple[str, ...]) -> "Selection":
    """Which series an extraction for a system uses; says so where somebody asked for others.

    Parameters
    ----------
    context : click.Context
        Tells whether the rules were given or are a default.
    system : str
        Its name.
    rules : tuple of str
        Of ``--select``. Where they were given, they hold, with ``+`` beside the system's. Rules
        of ``featurecache.toml`` do not.

    Returns
    -------
    Selection
    """
    from featurecache.select import Selection, add_rules
    from featurecache.words import plural
    from seqhead.systems import extraction

    of_system, settings = extraction(system).select, load_project().select
    wanted, source = Selection.parse(of_system), context.get_parameter_source("select")
    given = source is not click.core.ParameterSource.DEFAULT
    chosen = Selection.parse(add_rules(of_system, rules)) if given else wanted
    if given and chosen != wanted:
        by = "--select" if source is click.core.ParameterSource.COMMANDLINE else _VARIABLE
        echo_note(
            f"Note: series are chosen by {by} ({_spelled(chosen)}), not as {system} says "
            f"({_spelled(wanted)})"
        )
    elif not given and settings and Selection.parse(settings) != wanted:
        echo_note(
            f"Note: series are chosen as {system} says ({_spelled(wanted)}), not by the "
            f"{plural(len(settings), 'rule')} of featurecache.toml; --select says otherwise"
        )
    return chosen


def _spelled(selection: "Selection") -> str:
    return "; ".join(selection.texts)
