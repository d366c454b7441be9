"""Write a page and a figure of every published system, and an index of them; conf.py calls it.

python docs/generate_systems.py FOLDER          write them into FOLDER
"""

import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from composition import composition
from figure import draw

from seqhead.reported import not_compared, reported_numbers
from seqhead.systems import System, load_system, system_names
from seqhead.systems.describe import Description, describe, systems_document
from seqhead.systems.recipes import extract_command

_PAPERS = {
    "sdlm": "SDLM: features of 2-D networks, a recurrent network over the slices",
    "xception-rnn": "Xception with LSTM or GRU over the slices of RSNA 2019",
    "drct2": "DrCT1 and DrCT2: attention over features and slices, key slices looked at closely",
    "radnet": "RADnet: attention by lesion masks, three slices in a row",
    "cnn-lstm-and-alexnet-svm": "CNN-LSTM, AlexNet and AlexNet-SVM",
}
_METRICS = {
    "auc": "AUC", "f1": "F1", "accuracy": "accuracy", "precision": "precision",
    "recall": "recall", "specificity": "specificity", "log_loss": "log loss",
}  # fmt: skip
_LABELS = {
    "CQ500": "--labels reads.csv --labels-format cq500",
    "RSNA 2019": "--labels stage_2_train.csv --labels-format rsna",
}
_OF = {"micro": "all labels, micro average", "macro": "all labels, macro average"}
_HEAD = """\
# Published systems

Every system of the five papers that works on cached features, as a named configuration; those that
train on pixels are not among them. `seqhead systems` lists them too. [How to fit
one](../howto/systems.md), [how to repeat its paper](../howto/reproduce.md), [how they do on
synthetic patients](../reference/systems-on-phantom.md).
"""


def pages() -> dict[str, str]:
    """Render everything.

    Returns
    -------
    dict of str to str
        File name -> text: ``index.md``, and ``NAME.md`` and ``NAME.svg`` of each system.
    """
    found = {"index.md": _index()}
    for name in system_names():
        description = describe(name)
        found[f"{name}.md"] = _page(description)
        found[f"{name}.svg"] = draw(composition(description.system), f"Composition of {name}")
    return found


def write(folder: Path) -> None:
    """Bring the files of a folder up to date; what is not of a system any more goes.

    Parameters
    ----------
    folder : Path
        Made if it is not there.
    """
    folder.mkdir(exist_ok=True)
    texts = pages()
    for old in folder.iterdir():
        if old.name not in texts:
            old.unlink()
    for name, text in texts.items():
        file = folder / name
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")


def _index() -> str:
    lines = [_HEAD]
    entries = systems_document()["systems"]
    for paper, words in _PAPERS.items():
        rows = [
            [f"[{one['name']}]({one['name']}.md)", one["title"], one["level"],
             _count(one["parameters_paper"]), _main(load_system(one["name"]))]
            for one in entries if one["paper"] == paper
        ]  # fmt: skip
        header = ["system", "what it is", "level", "parameters", "reported"]
        lines += [f"## {words}", "", *_table(header, rows), ""]
    lines.append("Parameters are counted as the papers do: one bias vector for each recurrent "
                 "gate, running statistics of batch normalisations included.\n")  # fmt: skip
    return "\n".join([*lines, "```{toctree}", ":hidden:", "", *system_names(), "```", ""])


def _page(description: Description) -> str:
    system = description.system
    aliases = f" Also called {_code(system.aliases)}." if system.aliases else ""
    lines = [
        f"# {system.name}", "",
        f"{system.title}.{aliases}", "",
        f"Paper: {system.paper}. Data: {system.dataset} ({system.amount}). Outputs: {system.level} "
        f"level, {', '.join(system.labels)}.", "",
        "## Run it", "", *_commands(system), "",
        "## Composition", "", f"![Composition of {system.name}]({system.name}.svg)", "",
        *_layers(description), *_settings(system),
        "## Reported", "", *_reported(system), "",
        f"Split in the paper: {system.split.paper}.", "",
        "## Where the paper leaves something open", "",
    ]  # fmt: skip
    for choice in system.choices:
        lines += [f"### {choice.about[0].upper()}{choice.about[1:]}", "",
                  f"Paper: {choice.paper}", "", f"Here: {choice.chosen}", ""]  # fmt: skip
        if choice.instead:
            lines += [f"Otherwise: {' or '.join(_option(one) for one in choice.instead)}", ""]
    return "\n".join(lines)


def _commands(system: System) -> list[str]:
    """What to type."""
    name = system.name
    of_slices = system.level == "slice" or system.slices is not None
    more = " --slice-labels slices.csv" if of_slices else ""
    labels = _LABELS.get(system.dataset, f"--labels labels.csv{more}")
    reproduce = f"seqhead reproduce {name} DICOM_FOLDER {labels}"
    if system.rule is not None:
        return ["```bash", f"seqhead evaluate RUN --level series --combine {system.rule}",
                f"{reproduce}   # on the slices of {system.slices}", "```"]  # fmt: skip
    return [
        "```bash",
        f"featurecache extract --system {name}",
        f"seqhead fit --system {name}",
        f"seqhead fit --system {name} --protocol paper   # its split and threshold",
        f"{reproduce}   # all of it",
        "```", "",
        "The features, spelled out:", "",
        "```bash",
        *dict.fromkeys(extract_command(spec) for spec in system.features),
        "```",
    ]  # fmt: skip


def _layers(description: Description) -> list[str]:
    if not description.layers:
        return []
    rows = [
        [f"`{layer.name}`", layer.kind, " × ".join(map(str, layer.shape[1:])),
         _count(layer.parameters), _count(layer.parameters_paper)]
        for layer in description.layers
    ]  # fmt: skip
    shown = [row for row in rows if not _repeats(row[0])]
    hidden = len(rows) - len(shown)
    shown.append(["", "total", "", _count(description.parameters),
                  _count(description.parameters_paper)])  # fmt: skip
    lines = _table(["layer", "", "output", "parameters", "paper's count"], shown)
    if hidden:
        lines.append(
            f"\n{hidden} layers of the other heads, which are the same, are left out here."
        )
    return [*lines, ""]


def _repeats(name: str) -> bool:
    """A layer of another one of several equal heads."""
    return name.startswith("`heads.") and not name.startswith("`heads.0.")


def _settings(system: System) -> list[str]:
    """What differs from the defaults of `seqhead fit`."""
    parts = {"training": system.training, "svm": system.svm}
    rows = [
        [f"`{part}.{name}`", f"`{_toml(value)}`"]
        for part, config in parts.items() if config is not None
        for name, value in config.model_dump(exclude_defaults=True).items()
    ]  # fmt: skip
    if not rows:
        return []
    return ["## Training", "", "What is not as `seqhead fit` has it by itself:", "",
            *_table(["setting", "value"], rows), ""]  # fmt: skip


def _reported(system: System) -> list[str]:
    numbers = reported_numbers(system)
    if not numbers:
        return ["No number for this one."]
    single = [one for one in numbers if one.of not in system.labels or len(system.labels) == 1]
    rows = []
    for one in single:
        of = f"mean of {', '.join(one.labels)}" if one.of == "mean" else _OF.get(one.of, one.of)
        ends = f" ({one.interval[0]:g} to {one.interval[1]:g})" if one.interval else ""
        rows.append([_METRICS.get(one.metric, one.metric), "the head" if of == "model" else of,
                     f"{one.value:,}" if of == "model" else f"{one.value:g}{ends}"])  # fmt: skip
    lines = _table(["", "of", "paper"], rows) if rows else []
    of_labels = {(one.of, one.metric): one.value for one in numbers if one not in single}
    if of_labels:
        metrics = list(dict.fromkeys(metric for _, metric in of_labels))
        names = [label for label in system.labels if any(of == label for of, _ in of_labels)]
        rows = [
            [
                label,
                *(f"{of_labels[label, m]:g}" if (label, m) in of_labels else "" for m in metrics),
            ]
            for label in names
        ]
        lines += ["", *_table(["label", *(_METRICS[metric] for metric in metrics)], rows)]
    return [*lines, *_more(system)]


def _more(system: System) -> Iterator[str]:
    """What the paper reports and `reproduce` does not compare."""
    for name in not_compared(system):
        value = system.reported[name]
        yield ""
        if isinstance(value, Mapping):
            rows = [[key, _listed(one)] for key, one in value.items()]
            yield from _table([name.replace("_", " "), "paper"], rows)
        else:
            yield f"{name.replace('_', ' ').capitalize()}: {value:g}."


def _listed(value: Any) -> str:
    return ", ".join(f"{one:g}" for one in value) if isinstance(value, list) else f"{value:g}"


def _main(system: System) -> str:
    """The number that a paper compares with."""
    wanted = [one for one in reported_numbers(system) if one.metric == system.metrics.main]
    return f"{_METRICS[wanted[0].metric]} {wanted[0].value:g}" if wanted else ""


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    cells = [header, ["---"] * len(header), *rows]
    return [f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |" for row in cells]


def _option(instead: str) -> str:
    flag = instead if instead.startswith("--") else f"--set {shlex.quote(instead)}"
    return f"`{'extract ' if instead.startswith('--') else ''}{flag}`"


def _code(words: Sequence[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml(one)}" for key, one in value.items()) + " }"
    return str(value)


def _count(number: int | None) -> str:
    return "" if number is None else f"{number:,}"


if __name__ == "__main__":
    write(Path(sys.argv[1]))
