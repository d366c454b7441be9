"""What a sweep searches: values of the options of ``seqhead fit``, and which go together."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from seqhead.errors import FitError
from seqhead.head_config import RECURRENT
from seqhead.options import idle_options
from seqhead.sweeps.names import field_name
from seqhead.sweeps.values import Choice, Values, parse_values

if TYPE_CHECKING:
    from seqhead.cohort import Level

MODEL = "model"
"""The table of a search file that holds a table for each kind of model."""

FEATURES = ("system", "features", "second_features", "any_recipe")
"""Fields that decide which feature sets are read."""

_STRUCTURE = (*FEATURES, "head", "rnn")  # chosen first: other fields may have no effect beside them

Pick = Callable[[str, Values], Any]
"""Chooses one of the values of a named field."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One point of a search space.

    Parameters
    ----------
    model : str
        Name of its table in the search file; empty where there are none.
    values : dict
        Field -> value. Fields are those of `FitOptions`, and ``PART.FIELD`` as ``--set`` has them.
    """

    model: str
    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Space:
    """What is searched.

    Parameters
    ----------
    shared : dict of str to Values
        Fields of every model that has a use for them.
    models : dict of str to dict
        Fields of each model's own.
    level : str
        ``"series"`` or ``"slice"``.
    """

    shared: Mapping[str, Values]
    models: Mapping[str, Mapping[str, Values]]
    level: "Level"

    def candidate(self, pick: Pick) -> Candidate:
        """Choose a candidate.

        What decides which other fields have an effect is picked first; fields without effect are
        left out, and fields of one value are not picked.

        Parameters
        ----------
        pick : callable
            Takes the name of a field, ``MODEL/FIELD`` where it is a model's own, and its values.

        Returns
        -------
        Candidate
        """
        model = next(iter(self.models), "")
        if len(self.models) > 1:
            model = pick(MODEL, Choice(tuple(self.models)))
        own = self.models.get(model, {})
        chosen: dict[str, Any] = {}
        for field, values in self._fields(model).items():
            if _has_effect(field, chosen, self.level):
                name = f"{model}/{field}" if field in own and len(self.models) > 1 else field
                chosen[field] = values.single if values.fixed else pick(name, values)
        return Candidate(model, chosen)

    def at(self, picked: Mapping[str, Any]) -> Candidate:
        """Give the candidate for which this is picked.

        Parameters
        ----------
        picked : mapping
            What `candidate` asks for -> value.

        Returns
        -------
        Candidate
        """
        return self.candidate(lambda name, _: picked[name])

    def grid(self) -> Iterator[dict[str, Any]]:
        """Every candidate, each once, as what is picked for it.

        Yields
        ------
        dict
            What `candidate` asks for -> value.

        Raises
        ------
        FitError
            A field has a range.
        """

        def offered(name: str, values: Values) -> Sequence[Any]:
            if not isinstance(values, Choice):
                raise FitError(f"{name}: a grid needs a list of values, not a range")
            return values.values

        for _, picked in self._walk(offered):
            yield picked

    def examples(self) -> Iterator[Candidate]:
        """Candidates that together have every value, and both ends of every range.

        Yields
        ------
        Candidate
        """
        others: dict[str, Values] = {}

        def offered(name: str, values: Values) -> Sequence[Any]:
            if name == MODEL or _plain(name) in _STRUCTURE:
                return values.ends
            others[name] = values
            return values.ends[:1]

        for candidate, picked in self._walk(offered):
            yield candidate
            for name in picked.keys() & others.keys():
                for value in others[name].ends[1:]:
                    yield self.at({**picked, name: value})

    def document(self) -> dict[str, Any]:
        """The space as the tables of a search file."""
        found: dict[str, Any] = {name: values.document() for name, values in self.shared.items()}
        if self.models:
            found[MODEL] = {
                model: {name: values.document() for name, values in own.items()}
                for model, own in self.models.items()
            }
        return found

    def _walk(
        self, offered: Callable[[str, Values], Sequence[Any]]
    ) -> Iterator[tuple[Candidate, dict[str, Any]]]:
        """Every way to pick among what is offered, with what was picked."""
        path: list[list[int]] = []  # of each pick: which value, of how many
        while True:
            picked: dict[str, Any] = {}

            def pick(name: str, values: Values, picked: dict[str, Any] = picked) -> Any:
                among = offered(name, values)
                if len(picked) == len(path):
                    path.append([0, len(among)])
                picked[name] = among[path[len(picked)][0]]
                return picked[name]

            yield self.candidate(pick), picked
            while path and path[-1][0] + 1 == path[-1][1]:
                path.pop()
            if not path:
                return
            path[-1][0] += 1

    def _fields(self, model: str) -> dict[str, Values]:
        """Fields of one model, those first that others depend on."""
        own = self.models.get(model, {})
        fields = dict(own) if "system" in own else {**self.shared, **own}
        ordered = [name for name in _STRUCTURE if name in fields]
        return {name: fields[name] for name in [*ordered, *(f for f in fields if f not in ordered)]}


def parse_space(document: Mapping[str, Any], level: "Level") -> Space:
    """Check a search space.

    Parameters
    ----------
    document : mapping
        Tables of a search file: fields named as the options of ``seqhead fit``, or ``PART.FIELD``
        as ``--set`` has them, each a value, a list of values or a range; and ``[model.NAME]``
        tables of the same.
    level : str
        ``"series"`` or ``"slice"``.

    Returns
    -------
    Space

    Raises
    ------
    FitError
        A field is unknown, or has no effect on any model.
    """
    tables = document.get(MODEL, {})
    if not isinstance(tables, Mapping) or not all(isinstance(t, Mapping) for t in tables.values()):
        raise FitError(f"{MODEL}: expected a table for each model, for example [{MODEL}.gru]")
    shared = _parsed({k: v for k, v in document.items() if k != MODEL}, "")
    models = {str(name): _parsed(own, f"{MODEL}.{name}: ") for name, own in tables.items()}
    space = Space(shared, models, level)
    if not shared and not any(models.values()):
        raise FitError("there is nothing to search: no field has a value")
    _refuse_idle(space)
    return space


def _parsed(table: Mapping[str, Any], where: str) -> dict[str, Values]:
    found: dict[str, Values] = {}
    for key, value in _flat(table):
        try:
            name = field_name(key)
            values = parse_values(value)
        except FitError as error:
            raise FitError(f"{where}{key}: {error}") from None
        if name in found:
            raise FitError(f"{where}{key}: given twice")
        found[name] = values
    return found


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Fields of tables in tables as ``PART.FIELD``; a table with an end is a range."""
    for key, value in table.items():
        if isinstance(value, Mapping) and value and not {"low", "high"} & set(value):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _refuse_idle(space: Space) -> None:
    used: set[tuple[str, str]] = set()
    for candidate in space.examples():
        used |= {(candidate.model, field) for field in candidate.values}
    for field in space.shared:
        if not any(field == name for _, name in used):
            raise FitError(f"{field} has no effect on any model of this search. Leave it out")
    for model, own in space.models.items():
        for field in own:
            if (model, field) not in used:
                raise FitError(f"{MODEL}.{model}: {field} has no effect on it. Leave it out")


def _has_effect(field: str, chosen: Mapping[str, Any], level: "Level") -> bool:
    """Whether a field does anything beside what is chosen."""
    if chosen.get("system") is not None:
        return True
    head, rnn = chosen.get("head", "sequence"), chosen.get("rnn", "gru")
    part, dot, _ = field.partition(".")
    if dot:
        return (part == "svm") == (head == "svm")
    if level == "slice" and field in ("pool", "svm_input"):
        return False
    if field == "bidirectional" and rnn not in RECURRENT:
        return False
    return field not in idle_options(head, rnn)


def _plain(name: str) -> str:
    return name.rpartition("/")[2]
