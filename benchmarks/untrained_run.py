"""A run folder of a published system whose weights are random: what it costs, not what it says."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch

from featurecache.devices import native_bf16
from featurecache.options import FeatureOptions
from featurecache.plan import make_recipe
from featurecache.runner import open_backbone
from seqhead.config import FeaturesConfig, RunConfig, SourcesConfig, SplitConfig, SystemUse
from seqhead.head_config import HeadConfig
from seqhead.heads import make_head
from seqhead.run import Run
from seqhead.run_folder import RunDraft, run_folder
from seqhead.splits import KEPT_TOGETHER
from seqhead.systems import extraction, load_system


def feature_options(system: str, precision: str, **changes: object) -> list[FeatureOptions]:
    """What a system reads, with weights of seed 0.

    Parameters
    ----------
    system : str
        Its name.
    precision : str
        Of the network.
    **changes
        Other fields of `FeatureOptions`; a zoom only changes sets that are enlarged.

    Returns
    -------
    list of FeatureOptions
    """
    given = {name: value for name, value in changes.items() if value is not None}
    found = []
    for one in extraction(system).sets:
        mine = {k: v for k, v in given.items() if k != "zoom" or one.zoom is not None}
        found.append(replace(one, weights="random:0", precision=precision, **mine))
    return found


def best_precision(device: torch.device) -> str:
    """bf16 where the device has it natively, else fp32."""
    return "bf16" if native_bf16(device) else "fp32"


def write_untrained(folder: Path, system: str, options: list[FeatureOptions]) -> Run:
    """Write a run of a system as a fit would, with the weights that its head begins with.

    Parameters
    ----------
    folder : Path
        The run folder; must not exist.
    system : str
        Name of the system.
    options : list of FeatureOptions
        Its feature sets.

    Returns
    -------
    Run
    """
    of_system = load_system(system)
    if of_system.head is None or of_system.training is None:
        raise SystemExit(f"{system} has no sequence head")
    sets = [_features(one) for one in options]
    head = _head(of_system.head, [one.dim for one in sets])
    torch.manual_seed(0)
    state = {name: value.numpy() for name, value in make_head(head).state_dict().items()}
    config = RunConfig(
        level=of_system.level, labels=of_system.labels, thresholds=(0.5,) * len(of_system.labels),
        features=sets[0], second_features=sets[1] if len(sets) > 1 else None,
        system=SystemUse(name=of_system.name),
        sources=SourcesConfig(store="none", labels="none", labels_format="table"),
        split=SplitConfig(), head=head, training=of_system.training,
    )  # fmt: skip
    nobody = pd.DataFrame(columns=[*KEPT_TOGETHER, "split", "rows"])
    draft = RunDraft(config, state, {}, nobody, pd.DataFrame(), None, [], {})
    with run_folder(folder, folder.parent) as draft_folder:
        return draft_folder.publish(draft, of_system.name)


def _features(options: FeatureOptions) -> FeaturesConfig:
    backbone = open_backbone(options)
    recipe = make_recipe(options, backbone, options.precision)
    return FeaturesConfig(
        name=options.feature_name, dim=backbone.dim, dtype=recipe.dtype,
        fingerprint=recipe.fingerprint(), recipe=recipe.document(),
    )  # fmt: skip


def _head(head: HeadConfig, dims: list[int]) -> HeadConfig:
    """The system's head, as wide as the features."""
    changes: dict[str, object] = {"features": dims[0]}
    if head.zoom is not None:
        changes["zoom"] = head.zoom.model_copy(update={"features": dims[1]})
    return head.model_copy(update=changes)
