"""The best candidate, fitted again and tested once on patients whom no trial saw."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqhead.errors import SweepError
from seqhead.fit import fit
from seqhead.run import Run
from seqhead.sources import Sources
from seqhead.splitting import Splitting
from seqhead.sweeps.asked import label_files_digest
from seqhead.sweeps.candidates import fit_command, fit_options
from seqhead.sweeps.folder import SweepFolder
from seqhead.sweeps.leaderboard import Standing
from seqhead.sweeps.locks import held
from seqhead.sweeps.settings import SweepSettings


@dataclass(frozen=True, slots=True)
class Winner:
    """The best candidate, tested.

    Parameters
    ----------
    standing : Standing
        Where it stands among the candidates.
    run : Run
        Its run folder.
    command : str
        The line of shell that fits the same.
    """

    standing: Standing
    run: Run
    command: str

    def document(self, metric: str) -> dict[str, Any]:
        """As JSON values.

        Parameters
        ----------
        metric : str
            What candidates were compared by.

        Returns
        -------
        dict
            ``inner`` is optimistic: the best of many; ``test`` is of patients whom no trial saw.
        """
        tested = json.loads((self.run.path / "metrics.json").read_text(encoding="utf-8"))
        outcome = self.standing.entry.outcome
        return {
            "trial": self.standing.entry.number + 1,
            "run": self.run.path.as_posix(),
            "command": self.command,
            "inner": {"score": outcome["score"], "score_ci": outcome["score_ci"]},
            "test": {
                "level": tested["level"],
                "n": tested["n"],
                "score": tested["macro"][metric],
                "score_ci": tested["macro"].get(f"{metric}_ci"),
                "labels": tested["macro"]["labels"],
                "covers": tested["macro"]["covers"][metric],
            },
        }


def tested_winner(
    standing: Standing,
    settings: SweepSettings,
    folder: SweepFolder,
    sources: Sources,
    label_files: str,
    *,
    device: str = "auto",
    memory: float | None = None,
    project: Path | None = None,
) -> Winner:
    """Fit the best candidate on the sweep's split and test it; of a finished sweep, read the run.

    Parameters
    ----------
    standing : Standing
        The best candidate.
    settings : SweepSettings
        What the sweep is told.
    folder : SweepFolder
        The sweep.
    sources : Sources
        Store and labels.
    label_files : str
        `seqhead.sweeps.asked.label_files_digest` of what candidates were compared on.
    device : str
        Where a head is trained.
    memory : float or None
        Memory that features may take, in 10^9 bytes.
    project : Path or None
        Folder that paths of the run are relative to.

    Returns
    -------
    Winner

    Raises
    ------
    SweepError
        There is no candidate, or the labels were changed since.
    """
    candidate = standing.entry.candidate
    if candidate is None:
        raise SweepError("a candidate that was scored is not in the journal")
    command = fit_command(candidate, settings, split=folder.split.as_posix())
    with held(folder.path / "winner.lock"):  # several machines may come here at once
        if not folder.winner.exists():
            if label_files_digest(sources) != label_files:
                raise SweepError(
                    f"{sources.labels} was changed while candidates were compared: the winner is "
                    "not tested. Put the labels back and give the same command again"
                )
            fit(
                sources,
                fit_options(
                    candidate,
                    level=settings.level,
                    seed=settings.seed,
                    device=device,
                    memory=memory,
                ),
                splitting=Splitting(
                    file=folder.split,
                    duplicate_scans=settings.duplicate_scans,
                    operating_point=settings.operating_point,
                ),
                out=folder.winner,
                project=project,
            )
    return Winner(standing, Run.open(folder.winner), command)
