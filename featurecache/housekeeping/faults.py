"""What can be wrong with a store, in words: what `verify` finds and what is to be done."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

from featurecache.words import plural

Kind = Literal["damaged", "unfinished", "stray"]
"""Bytes are not what was written; work is left to do; a file does not belong to the store."""

_LISTED = 40

EXTRACT = "run the same `featurecache extract` again: it continues where it stopped"
REPAIR = "`featurecache verify --repair` writes it again where the index and the weights are here"
DISK = "check the disk and the permissions, then verify again"
GC = "`featurecache gc` removes it"
STRANGER = "see what it is, and move it elsewhere"
COPY = "restore it from a copy, or extract into another --store"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong.

    Parameters
    ----------
    kind : {"damaged", "unfinished", "stray"}
        See `Kind`.
    file : str
        File or folder, relative to the store.
    what : str
        What was expected and what came.
    remedy : str
        What to do.
    """

    kind: Kind
    file: str
    what: str
    remedy: str


@dataclass(slots=True)
class VerifyReport:
    """What `verify` found.

    Parameters
    ----------
    store : str
        The store, as it was named.
    faults : list of Fault
        In the order of the store's files.
    files, parts, units : int
        What was read.
    repaired : list of str
        Files that `--repair` wrote again, relative to the store.
    kept : list of str
        Why other faults could not be repaired, in words.
    """

    store: str
    faults: list[Fault] = field(default_factory=list)
    files: int = 0
    parts: int = 0
    units: int = 0
    repaired: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)

    @property
    def state(self) -> str:
        """``sound``, or the worst kind of fault: damaged, unfinished, stray."""
        kinds = {fault.kind for fault in self.faults}
        return next((kind for kind in ("damaged", "unfinished", "stray") if kind in kinds), "sound")

    @property
    def exit_code(self) -> int:
        """0 where nothing is wrong, else 5."""
        return 5 if self.faults else 0

    def document(self) -> dict[str, Any]:
        """The document of ``verify --json``."""
        return {
            "schema_version": 1,
            "store": self.store,
            "state": self.state,
            "files": self.files,
            "parts": self.parts,
            "units": self.units,
            "faults": [
                {"kind": one.kind, "file": one.file, "what": one.what, "remedy": one.remedy}
                for one in self.faults
            ],
            "repaired": self.repaired,
            "not_repaired": self.kept,
        }

    def text(self) -> str:
        """The same for people: one line a fault, then the remedies, each once."""
        lines = [f"{one.kind:<10} {one.file}: {one.what}" for one in self.faults[:_LISTED]]
        if len(self.faults) > _LISTED:
            lines.append(f"and {len(self.faults) - _LISTED:,} more: --json lists them all")
        remedies = Counter(one.remedy for one in self.faults)
        lines += [f"what to do ({count:,}): {remedy}" for remedy, count in remedies.items()]
        lines += [f"repaired   {file}" for file in self.repaired[:_LISTED]]
        if len(self.repaired) > _LISTED:
            lines.append(f"and {len(self.repaired) - _LISTED:,} more repaired")
        lines += [f"not repaired: {why}" for why in self.kept]
        return "\n".join([*lines, self._summary()])

    def _summary(self) -> str:
        counted = {"file": self.files, "part": self.parts, "unit": self.units}
        read = ", ".join(plural(count, noun) for noun, count in counted.items()) + " read"
        counts = Counter(fault.kind for fault in self.faults)
        found = ", ".join(f"{count:,} {kind}" for kind, count in counts.items())
        return f"{self.store}: {self.state} ({read}{f'; {found}' if found else ''})"
