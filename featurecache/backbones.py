"""Name and weights to a frozen module: images (N, 3, H, W) in, features (N, D) out."""

import os
import warnings
from contextlib import redirect_stderr
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

from featurecache.errors import UsageError
from featurecache.registry import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    is_registered,
    register_backbone,
    registered,
)
from featurecache.weights import (
    WeightsSource,
    bounded_download,
    fit_state_dict,
    hub_without_waiting,
    read_state_dict,
    weights_digest,
)

__all__ = [
    "Backbone",
    "Pooled",
    "asked_layer",
    "check_backbone",
    "load_backbone",
    "register_backbone",
]

_TIMM_OUTPUT, _OWN_OUTPUT = "pre_logits", "output"  # layers that are no node of a graph
_BUILD_OPTIONS = {  # as their published weights were trained; torchvision sets it with them only
    "googlenet": {"transform_input": True},
    "inception_v3": {"transform_input": True},
}


@dataclass(frozen=True, slots=True)
class Backbone:
    """A frozen network that embeds images.

    Parameters
    ----------
    name : str
        As on the command line.
    module : nn.Module
        (N, 3, H, W) -> (N, D), in evaluation mode, without gradients.
    dim : int
        D, found by running it.
    layer : str
        The graph node whose output is pooled.
    pool : {"avg", "max", "none"}
        Pooling over the image.
    mean, std : tuple of float
        The normalisation that its weights were trained with.
    weights : str
        SHA-256 of the tensors that are run.
    weights_source : str
        Where they came from.
    """

    name: str
    module: nn.Module
    dim: int
    layer: str
    pool: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    weights: str
    weights_source: str


class Pooled(nn.Module):
    """The output of one layer, pooled over its spatial positions or tokens.

    Parameters
    ----------
    body : nn.Module
        Gives (N, D, H, W), (N, T, D) or (N, D).
    pool : {"avg", "max", "none"}
        Mean, maximum, or the flattened map.
    """

    def __init__(self, body: nn.Module, pool: str) -> None:
        super().__init__()
        self.body = body
        self.pool = pool

    def forward(self, images: Tensor) -> Tensor:
        """Embed images (N, 3, H, W) as (N, D)."""
        output = self.body(images)
        positions = {4: (2, 3), 3: (1,)}.get(output.ndim, ())
        if self.pool == "none" or not positions:
            return output.flatten(1)
        return output.mean(positions) if self.pool == "avg" else output.amax(positions)


def load_backbone(
    name: str, weights: str = "imagenet", *, layer: str | None = None, pool: str = "avg",
    size: int = 224,
) -> Backbone:  # fmt: skip
    """Build a frozen backbone.

    Parameters
    ----------
    name : str
        A classification model of torchvision, ``timm:NAME``, or a registered name.
    weights : str
        ``imagenet`` (torchvision's IMAGENET1K_V1), ``imagenet:NAME`` (another set of published
        weights), ``random:SEED``, or a ``.safetensors`` or ``.pth`` file.
    layer : str, optional
        A module or graph node. By default the last map before the network's own pooling: for
        VGG16 the 512 maps after the fifth max pooling.
    pool : {"avg", "max", "none"}
        Pooling of that map over the image; ``none`` flattens it.
    size : int
        Side in pixels of the images that will come.

    Returns
    -------
    Backbone

    Raises
    ------
    UsageError
        The name, layer or pooling is unknown, or the weights do not fit.
    MissingResourceError
        The weights are not on disk and could not be downloaded.
    """
    if pool not in ("avg", "max", "none"):
        raise UsageError(f"--pool {pool}: expected avg, max or none")
    check_backbone(name)
    source = WeightsSource.parse(weights)
    build = _build_timm if name.startswith("timm:") else _build_torchvision
    build = _build_registered if name in registered else build
    module, known, layer_name, mean, std = build(name, source, layer, pool)
    if source.kind == "file":
        used = fit_state_dict(
            read_state_dict(Path(source.tag)), module.state_dict(), known, source.label
        )
        module.load_state_dict(used)
    module = Pooled(module, pool).eval().requires_grad_(False)
    return Backbone(
        name, module, _output_dim(name, module, size), layer_name, pool, mean, std,
        weights_digest(module.body.state_dict(), source.label), source.label,
    )  # fmt: skip


def asked_layer(name: str, node: str) -> str | None:
    """What to ask `load_backbone` for, to have the layer that a `Backbone` names.

    Parameters
    ----------
    name : str
        The backbone.
    node : str
        ``Backbone.layer``.

    Returns
    -------
    str or None
        None where the default layer is no node of the network's graph, or cannot be named.
    """
    by_default = {_TIMM_OUTPUT} if name.startswith("timm:") else {_OWN_OUTPUT}
    return None if node in by_default or "swin" in name.lower() else node


_Built = tuple[nn.Module, set[str], str, Any, Any]


def check_backbone(name: str) -> None:
    """Refuse a name that is no backbone, without building anything.

    Parameters
    ----------
    name : str
        As on the command line.

    Raises
    ------
    UsageError
        Neither torchvision nor timm knows it, and it is not registered; close names are suggested.
    """
    if name in registered:
        return
    if name.startswith("timm:"):
        import timm

        short = name.removeprefix("timm:")
        if not timm.is_model(short):
            raise UsageError(_unknown(short, timm.list_models(), "a timm model"))
        return
    import torchvision.models as zoo

    known = zoo.list_models(module=zoo)
    if name not in known and not is_registered(name):
        raise UsageError(_unknown(name, [*registered, *known], "a torchvision model"))


def _build_registered(name: str, source: WeightsSource, layer: str | None, pool: str) -> _Built:
    if source.kind == "imagenet":
        raise UsageError(
            f"--weights {source.label}: {name} is registered and has no published weights. Name a "
            "file, or random:SEED"
        )
    factory, mean, std = registered[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(source.tag) if source.kind == "random" else 0)
        model = factory()
    body, node = model.eval(), _OWN_OUTPUT
    if layer is not None:
        body, node = _truncate(body, layer)
    return body, set(model.state_dict()), node, mean, std


def _build_torchvision(name: str, source: WeightsSource, layer: str | None, pool: str) -> _Built:
    import torchvision.models as zoo

    published = _published_weights(name, source.tag if source.kind == "imagenet" else "")
    with _quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(source.tag) if source.kind == "random" else 0)
        model = zoo.get_model(name, weights=None, **_BUILD_OPTIONS.get(name, {}))
    if source.kind == "imagenet":
        file = Path(torch.hub.get_dir()) / "checkpoints" / Path(published.url).name
        with bounded_download(name, f"{file}, then {published.url}"), _quiet():
            state = published.get_state_dict(progress=True, check_hash=True, weights_only=True)
    body, node = _truncate(model.eval(), layer)
    if source.kind == "imagenet":
        body.load_state_dict(fit_state_dict(state, body.state_dict(), set(state), source.label))
    preset = published.transforms()
    return body, set(model.state_dict()), node, tuple(preset.mean), tuple(preset.std)


def _build_timm(name: str, source: WeightsSource, layer: str | None, pool: str) -> _Built:
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DOWNLOAD_TIMEOUT", "10")
    os.environ.setdefault("HF_HUB_ETAG_TIMEOUT", "10")
    import timm

    short = name.removeprefix("timm:")
    tagged = f"{short}.{source.tag}" if source.kind == "imagenet" and source.tag else short
    global_pool = {"avg": "avg", "max": "max", "none": ""}[pool] if layer is None else ""
    options: dict[str, Any] = {"num_classes": 0, "global_pool": global_pool}
    with _quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(source.tag) if source.kind == "random" else 0)
        try:
            model = timm.create_model(tagged, pretrained=False, **options)
        except (TypeError, AssertionError, RuntimeError) as error:
            raise UsageError(f"{name} cannot be built with --pool {pool}: {error}") from error
    config: Any = model.pretrained_cfg
    if source.kind == "imagenet":
        where = config.get("hf_hub_id") or config.get("url") or "no published weights"
        cached_as = f"the caches of torch hub and of the HF hub, then {where}"
        with bounded_download(name, cached_as), hub_without_waiting():
            model = timm.create_model(tagged, pretrained=True, **options)
    body, node = model.eval(), _TIMM_OUTPUT
    if layer is not None:
        body, node = _truncate(model, layer)
    mean, std = config.get("mean", IMAGENET_MEAN), config.get("std", IMAGENET_STD)
    return body, set(model.state_dict()), node, tuple(mean), tuple(std)


def _published_weights(name: str, tag: str) -> Any:
    """Member of the model's weights enumeration: IMAGENET1K_V1 unless a tag names another."""
    import torchvision.models as zoo

    members = zoo.get_model_weights(name)
    if tag and tag not in members.__members__:
        raise UsageError(_unknown(tag, list(members.__members__), f"weights of {name}"))
    return members[tag] if tag else members.__members__.get("IMAGENET1K_V1", members.DEFAULT)


def _truncate(model: nn.Module, layer: str | None) -> tuple[nn.Module, str]:
    """The network up to a layer, and the name of the graph node where it ends."""
    from torchvision.models.feature_extraction import NodePathTracer

    tracer = NodePathTracer()
    try:
        with _quiet():
            graph = tracer.trace(model)
    except Exception as error:
        raise UsageError(
            f"--layer: this network cannot be traced ({error}); leave it out"
        ) from None
    qualified = tracer.node_to_qualname  # lacks nodes that come of packing and unpacking
    names = {n: qualified.get(n, n.name) for n in graph.nodes if n.op != "output"}
    if layer is not None and "swin" in type(model).__name__.lower():
        raise UsageError("--layer: maps inside a Swin network are channels-last; leave it out")
    end = _find_layer(names, layer) if layer else _last_map(model, names)
    for output in [node for node in graph.nodes if node.op == "output"]:
        graph.erase_node(output)
    graph.output(end)
    for node in reversed(list(graph.nodes)):  # what comes after `end` has no user any more
        if not node.users and node.op not in ("output", "placeholder") and node is not end:
            graph.erase_node(node)
    return fx.GraphModule(tracer.root, graph).eval(), names[end]


def _find_layer(names: dict[fx.Node, str], layer: str) -> fx.Node:
    matches = [node for node, n in names.items() if n == layer or n.startswith(f"{layer}.")]
    if not matches:
        raise UsageError(_unknown(layer, list(names.values()), "a layer of this network"))
    return matches[-1]


def _last_map(model: nn.Module, names: dict[fx.Node, str]) -> fx.Node:
    """What the network's own pooling takes, or its last dense layer where it has no pooling."""
    if type(model).__name__ == "SqueezeNet":  # its pooling comes after the classifier
        return _find_layer(names, "features")
    for is_end in (_is_pooling, _is_linear):
        ends = [node for node in names if is_end(model, node)]
        if ends and isinstance(ends[-1].args[0], fx.Node):
            return ends[-1].args[0]
    raise UsageError("no pooling was found in this network: name a --layer")


def _is_pooling(model: nn.Module, node: fx.Node) -> bool:
    if node.op == "call_module":
        return isinstance(model.get_submodule(str(node.target)), nn.AdaptiveAvgPool2d)
    if node.op == "call_method":
        return bool(node.target == "mean")
    return node.op == "call_function" and "adaptive_avg_pool2d" in str(node.target)


def _is_linear(model: nn.Module, node: fx.Node) -> bool:
    return node.op == "call_module" and isinstance(model.get_submodule(str(node.target)), nn.Linear)


def _output_dim(name: str, module: nn.Module, size: int) -> int:
    try:
        with torch.inference_mode(), redirect_stderr(StringIO()):  # torch.fx prints its own code
            output = module(torch.zeros(1, 3, size, size))
    except (RuntimeError, AssertionError) as error:
        raise UsageError(
            f"{name} does not take images of {size} x {size} pixels, choose another --size "
            f"({str(error).splitlines()[0]})"
        ) from error
    return int(output.shape[1])


def _unknown(name: str, known: list[str], kind: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, known, n=3)
    hint = (
        f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(known[:12])}, ..."
    )
    return f"{name!r} is not {kind}: {hint}"


class _quiet(warnings.catch_warnings):  # noqa: N801 (used as a verb)
    """Silences the libraries' warnings about their own default arguments."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.simplefilter("ignore")
