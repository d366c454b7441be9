"""What an extraction is told, apart from where things lie."""

from dataclasses import dataclass

from featurecache.errors import UsageError
from featurecache.framing import Framing, parse_framing


@dataclass(frozen=True, slots=True)
class ExtractOptions:
    """What ``featurecache extract`` is told.

    Parameters
    ----------
    backbone : str
        A torchvision classification model, or ``timm:NAME``.
    weights : str
        ``imagenet``, ``imagenet:NAME``, ``random:SEED`` or a file.
    name : str, optional
        Name of the feature set; by default the backbone's.
    windows : str
        See `parse_windows`.
    size : int
        Images become ``size`` x ``size`` pixels.
    fit : {"squash", "pad", "crop"}
        How an image that is not square does: aspect ratio not kept, air added, or sides cut.
    spacing_mm, fov_mm : float, optional
        Before that, the central field of view is resampled to this pixel spacing; see
        `parse_framing`.
    zoom : int, optional
        Then enlarged to ``zoom`` x ``zoom``.
    pool : {"avg", "max", "none"}
        Pooling over the image.
    layer : str, optional
        Layer to take; by default the last map before the network's own pooling.
    precision : {"auto", "fp32", "bf16", "fp16"}
        What the backbone computes in. ``auto`` takes bf16 where the device has it natively and
        a first batch proves it.
    dtype : {"float16", "float32"}
        What the store holds.
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    batch_size : int, optional
        Slices of a batch; by default 16 on CPU and 128 on a GPU.
    workers : int, optional
        Processes that decode.
    compile : {"auto", "on", "off"}
        Use of torch.compile.
    unit_slices : int, optional
        Rows of a unit; rounded up to a multiple of the batch.
    max_relative_error : float
        Above it ``precision="auto"`` takes float32.
    plan_only : bool
        Make the plan and stop.
    retry_failed : bool
        Compute units again in which a slice failed for a passing reason.
    strict : bool
        Readers leave out series in which any slice failed.
    accept_missing : bool
        Commit rows whose series is no longer in the index as failed. By default their units
        wait, since a disk may just be away.
    """

    backbone: str
    weights: str = "imagenet"
    name: str | None = None
    windows: str = "brain"
    size: int = 224
    fit: str = "squash"
    spacing_mm: float | None = None
    fov_mm: float | None = None
    zoom: int | None = None
    pool: str = "avg"
    layer: str | None = None
    precision: str = "auto"
    dtype: str = "float16"
    device: str = "auto"
    batch_size: int | None = None
    workers: int | None = None
    compile: str = "auto"
    unit_slices: int | None = None
    max_relative_error: float = 0.02
    plan_only: bool = False
    retry_failed: bool = False
    strict: bool = False
    accept_missing: bool = False

    @property
    def feature_name(self) -> str:
        """Name of the feature set."""
        return self.name or self.backbone.replace(":", "-")

    @property
    def framing(self) -> Framing:
        """How a slice comes to fill the input."""
        return parse_framing(self.size, self.fit, self.spacing_mm, self.fov_mm)


def check_options(options: ExtractOptions) -> None:
    """Refuse what no later step would refuse in words.

    Parameters
    ----------
    options : ExtractOptions
        What was asked for.

    Raises
    ------
    UsageError
        A choice is unknown, or a number is not positive.
    """
    choices = {
        "precision": ("auto", "fp32", "bf16", "fp16"),
        "dtype": ("float16", "float32"),
        "compile": ("auto", "on", "off"),
    }
    for option, allowed in choices.items():
        if getattr(options, option) not in allowed:
            raise UsageError(
                f"--{option} {getattr(options, option)}: expected one of {', '.join(allowed)}"
            )
    for option in ("size", "zoom", "batch_size", "workers", "unit_slices"):
        value = getattr(options, option)
        if value is not None and value < 1:
            raise UsageError(f"--{option.replace('_', '-')} {value}: expected a positive number")
    parse_framing(options.size, options.fit, options.spacing_mm, options.fov_mm)
