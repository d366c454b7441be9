"""What a system does to a series, as blocks: each says what it is and what shape comes out."""

from dataclasses import dataclass

from seqhead.head_config import ATTENTION_POOLS, BranchConfig, HeadConfig
from seqhead.systems.schema import FeatureSpec, System

KINDS = {
    "data": "data",
    "frozen": "frozen network",
    "fixed": "nothing to learn",
    "learnt": "learnt",
    "output": "output",
}
"""Kinds of blocks, and what the legend says of them."""

_CELLS = {"gru": "GRU", "lstm": "LSTM", "tcn": "dilated convolutions", "transformer": "transformer"}
_POOLS = {"last": "last state", "mean": "mean over slices", "max": "largest over slices"}
_ACTIVATIONS = {"relu": "ReLU", "tanh": "tanh"}
_RULES = {
    "max": ("largest over slices", ""),
    "any": ("any slice", "the largest, called at a threshold"),
    "p95": ("95th percentile of slices", ""),
}


@dataclass(frozen=True, slots=True)
class Block:
    """One step.

    Parameters
    ----------
    title, note : str
        What it is, and details.
    shape : str
        Of its output; S slices.
    kind : str
        A key of `KINDS`.
    column : int
        Where it stands, from the left.
    inputs : tuple of int
        Numbers of the blocks that it reads.
    """

    title: str
    note: str
    shape: str
    kind: str
    column: int
    inputs: tuple[int, ...]


class Composition:
    """Blocks of a system in the order of computation; every column goes on where it stopped."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []

    def add(
        self, title: str, shape: str, kind: str = "learnt", *, note: str = "", column: int = 0,
        inputs: tuple[int, ...] | None = None,
    ) -> int:  # fmt: skip
        """Add a block below the last one of its column, or below `inputs`; gives its number."""
        if inputs is None:
            above = [k for k, block in enumerate(self.blocks) if block.column == column]
            inputs = tuple(above[-1:])
        self.blocks.append(Block(title, note, shape, kind, column, inputs))
        return len(self.blocks) - 1


def composition(system: System) -> Composition:
    """Lay out a system.

    Parameters
    ----------
    system : System
        The system.

    Returns
    -------
    Composition
    """
    made = Composition()
    K = str(len(system.labels))
    if system.rule is not None:
        made.add("slice predictions", f"S × {K}", "data", note="of any run at slice level")
        title, note = _rule(system.rule)
        made.add(title, K, "output", note=note)
        return made
    head = system.head
    if head is None:
        _of_slices(made, system.features[0], 0)
        _svm(made, system, K)
    elif head.zoom is not None:
        _zoomed(made, system, head)
    else:
        _plain(made, system, head)
    return made


def _rule(rule: str) -> tuple[str, str]:
    """Title and note of a rule."""
    if rule in _RULES:
        return _RULES[rule]
    count = rule.partition("-")[0]
    return (
        f"{count} slices in a row",
        f"of every {count} neighbours the least, of these the largest",
    )


def _of_slices(made: Composition, spec: FeatureSpec, column: int) -> int:
    """Stage 1: what is cached."""
    windows = spec.windows.replace(",", ", ")
    several = "," in spec.windows
    zoom = f", enlarged to {spec.zoom}" if spec.zoom else ""
    pixels = spec.zoom or spec.size
    made.add(
        f"{windows} window{'s' if several else ''}", f"S × 3 × {pixels} × {pixels}", "data",
        note=f"{spec.size} pixels a side{zoom}{', a channel each' if several else ''}",
        column=column, inputs=(),
    )  # fmt: skip
    pooled = {"avg": "mean", "max": "largest", "none": "no pooling"}[spec.pool]
    image = "" if spec.layer else f", {pooled} over the image"
    return made.add(
        spec.backbone.removeprefix("timm:"), f"S × {spec.width}, cached", "frozen",
        note=f"{spec.weights}; {spec.node}{image}", column=column,
    )  # fmt: skip


def _plain(made: Composition, system: System, head: HeadConfig) -> None:
    """One composition, of one or two feature sets."""
    K, S = len(system.labels), str(head.sample_to or "S")
    sets = tuple(_of_slices(made, spec, k) for k, spec in enumerate(system.features))
    read = _sample(made, head, sets)
    if head.replace is not None:
        low, high = head.replace
        made.add(
            f"slices {low} to {high} enlarged", f"{S} × {head.features}", "fixed",
            note="those of the second set in place of the first", inputs=read,
        )  # fmt: skip
    _branch(made, head, head.features, S, 0)
    each = "S" if head.pool == "none" else ""
    if not head.separate:
        _dense(made, head.mlp, head.dropout, K, 0, slices=each)
        return
    _dense(made, head.mlp, head.dropout, 1, 0, last=False)
    made.add(f"{K} such heads side by side", str(K), "output",
             note="one for each label; they share nothing but the features")  # fmt: skip


def _zoomed(made: Composition, system: System, head: HeadConfig) -> None:
    """DrCT2: two branches, and their fusion in the middle."""
    zoom, K = head.zoom, len(system.labels)
    if zoom is None:
        raise ValueError("a head without zoom")
    first = _of_slices(made, system.features[0], 0)
    close = _of_slices(made, system.features[1], 2)
    _sample(made, head, (first,))
    weights = _branch(made, head, head.features, str(head.sample_to or "S"), 0)
    overview = len(made.blocks) - 1
    chosen = (close, weights) if zoom.choose == "attention" else (close,)
    how = "of the highest attention" if zoom.choose == "attention" else "at random"
    made.add(
        f"{zoom.slices} key slices", f"{zoom.slices} × {zoom.features}", "fixed", note=how,
        column=2, inputs=chosen,
    )  # fmt: skip
    _branch(made, zoom.branch, zoom.features, str(zoom.slices), 2)
    closer = len(made.blocks) - 1
    made.add("sum of both vectors", made.blocks[closer].shape, "fixed", column=1,
             inputs=(overview, closer))  # fmt: skip
    _dense(made, zoom.mlp, zoom.dropout, K, 1)
    _dense(made, head.mlp, head.dropout, K, 0, last=False, after=overview)
    _dense(made, zoom.branch.mlp, zoom.branch.dropout, K, 2, last=False, after=closer)


def _sample(made: Composition, head: HeadConfig, sets: tuple[int, ...]) -> tuple[int, ...]:
    """Reduce long series; gives the numbers of the blocks that the next one reads."""
    if head.sample_to is None:
        return sets
    note, columns = "shorter series keep all", f"{head.features}"
    if len(sets) > 1:
        note, columns = f"of both sets; {note}", f"({columns} + {columns})"
    title = f"{head.sample_to} slices, evenly spaced"
    return (made.add(title, f"{head.sample_to} × {columns}", "fixed", note=note, inputs=sets),)


def _branch(made: Composition, config: BranchConfig, D: int, S: str, column: int) -> int:
    """Steps on slices and the pool; gives the number of the block that weighs slices."""
    width = D

    def step(title: str, out: int, kind: str = "learnt", note: str = "") -> int:
        return made.add(title, f"{S} × {out}", kind, note=note, column=column)

    if config.normalise != "none":
        batch = config.normalise == "batch"
        step(
            "batch normalisation" if batch else "standardise", width, "learnt" if batch else "fixed"
        )
    if config.input_dense:
        width = config.input_dense
        step(f"dense {width} on each slice", width, note=_ACTIVATIONS[config.activation])
    if config.feature_attention:
        step("feature attention", width, "fixed", "softmax over the values of a slice, times them")
    if config.differences:
        width *= 2
        step("differences of neighbours beside", width, "fixed")
    if config.rnn != "none":
        states = config.hidden * (2 if config.bidirectional else 1)
        step(_cell(config), states, note=_cell_note(config))
        if config.product == "none":
            width = states
        else:
            of_states = config.product == "project-states"
            width = width if of_states else states
            brought = "states" if of_states else "features"
            step("times the features", width, note=f"a dense layer brings the {brought} to {width}")
    if config.step_dense:
        width = config.step_dense
        step(f"dense {width} on each slice", width, note=_ACTIVATIONS[config.activation])
    return _pool(made, config, width, S, column)


def _pool(made: Composition, config: BranchConfig, width: int, S: str, column: int) -> int:
    if config.pool == "none":
        return len(made.blocks) - 1
    if config.pool not in ATTENTION_POOLS:
        return made.add(_POOLS[config.pool], str(width), "fixed", column=column)
    gated = "gated " if config.pool == "gated-attention" else ""
    weights = made.add(f"{gated}slice attention", S, note="softmax over slices", column=column)
    made.add("weighted sum of slices", str(width), "fixed", column=column)
    return weights


def _cell(config: BranchConfig) -> str:
    direction = "bidirectional " if config.bidirectional else ""
    layers = f", {config.layers} layers" if config.layers > 1 else ""
    units = f"2 × {config.hidden}" if config.bidirectional else f"{config.hidden}"
    return f"{direction}{_CELLS[config.rnn]}, {units} units{layers}"


def _cell_note(config: BranchConfig) -> str:
    notes = []
    if config.rnn == "gru":
        notes.append(f"reset gate {'after' if config.reset_after else 'before'} the product")
    if config.input_dropout:
        notes.append(f"{config.input_dropout:g} of its inputs dropped")
    return "; ".join(notes)


def _dense(
    made: Composition, mlp: tuple[int, ...], dropout: float | tuple[float, ...], K: int,
    column: int, *, slices: str = "", last: bool = True, after: int | None = None,
) -> None:  # fmt: skip
    """Dense layers and the outputs of a column."""
    sizes = [*mlp, K]
    rates = dropout if isinstance(dropout, tuple) else (dropout,) * len(sizes)
    each = f"{slices} × " if slices else ""
    on = " on each slice" if slices else ""
    for k, (size, rate) in enumerate(zip(sizes, rates, strict=True)):
        final = k == len(mlp)
        kind = "output" if final and last else "learnt"
        notes = ["sigmoid" if final else "ReLU", *([f"after dropout {rate:g}"] if rate else [])]
        if final and not last and after is not None:
            notes.append("a loss of its own")
        made.add(
            f"dense {size}{on}", f"{each}{size}", kind, note=", ".join(notes), column=column,
            inputs=(after,) if after is not None and k == 0 else None,
        )  # fmt: skip


def _svm(made: Composition, system: System, K: str) -> None:
    padded = system.svm is not None and system.svm.input == "padded"
    width = system.features[0].width
    made.add("standardise", f"S × {width}", "fixed")
    if padded:
        made.add("pad with zeros at both ends", f"longest S · {width}", "fixed",
                 note="one row a series")  # fmt: skip
    of = K if padded else f"S × {K}"
    made.add("linear SVM", of, note="one for each label")
    made.add("Platt scaling", of, "output", note="on held-out patients")
