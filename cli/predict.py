"""`seqhead predict`: a run on a store, or on a folder of scans."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.common import Command, echo, echo_json, progress_bar, wait_without_spinning
from cli.extract_options import scan_options
from cli.options import (
    json_option,
    select_option,
    store_or_folder_argument,
    workers_option,
)
from featurecache.errors import UsageError
from featurecache.location import Location
from featurecache.words import plural

if TYPE_CHECKING:
    from seqhead.predicted import Predictions
    from seqhead.run import Run

_OF_A_STORE = ("features", "second_features", "views")
_OF_A_FOLDER = ("weights", "assume_hu", "min_slices", "nifti_ids", "select", "workers")


@click.command(
    cls=Command,
    example="seqhead predict runs/vgg16-gru-1 /data/new-scans\n"
    "seqhead predict runs/drct2-1 scan/ --json\n"
    "seqhead predict runs/vgg16-gru-1 other.zarr --out predictions.csv",
)
@click.argument("run", type=click.Path(path_type=Path))
@store_or_folder_argument
@click.option("--features", show_default="that of the fit", help="Which feature set of a store.")
@click.option(
    "--second-features",
    show_default="that of the fit",
    help="Which feature set of the enlarged slices of a store, of a run that reads two.",
)
@click.option(
    "--allow-numerics",
    is_flag=True,
    help="Accept features of another precision or storage type, and say so; of a folder, compute "
    "in fp32 what this device cannot compute as the fit did.",
)
@click.option(
    "--calibrate",
    type=click.Choice(["temperature", "isotonic"]),
    help="Put probabilities right by what the validation patients said of them.",
)
@click.option(
    "--views",
    is_flag=True,
    help="Take the mean over the images as they are and the augmented views that a store has.",
)
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Weights of the network of the fit, where they came from a file that is not in this "
    "folder.",
)
@scan_options
@click.option(
    "--nifti-ids",
    type=click.Path(path_type=Path),
    help="CSV that says whose scan each NIfTI file of the folder is.",
)
@select_option
@workers_option
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="CSV file, which must not exist; stdout by default.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
@json_option
@click.pass_context
def predict(
    context: click.Context, run: Path, store: Location, out: Path | None, as_json: bool,
    **options: Any,
) -> None:  # fmt: skip
    """Write the probabilities that a run gives the series of a store, or of a folder, as CSV.

    A cross-validation gives the mean of what its models say.

    Of a folder of DICOM files, the features are made as the fit's were, scan by scan; nothing is
    kept. Every file ends as used, skipped or failed, and ids are your own. For an archive, extract
    a store first: that resumes, and another run can read it.

    Of a store, features of another recipe than the fit's are refused. Ids are the store's;
    `featurecache info --series` lists them beside your own.

    Exit code 3 if a file failed or a series has no prediction; they are listed.
    """
    from cli.heads import is_folder_of_scans, new_file, write_predictions
    from seqhead.run import Run

    wait_without_spinning()
    opened = Run.open(run)
    given = context.get_parameter_source("store") is click.core.ParameterSource.COMMANDLINE
    if given:
        _check_folder(store)
    of_folder = given and is_folder_of_scans(store)
    _refuse_idle(context, _OF_A_STORE if of_folder else _OF_A_FOLDER, of_folder=of_folder)
    common = {name: options[name] for name in ("allow_numerics", "calibrate", "device")}
    with new_file(out) as write:
        if of_folder:
            of_this = {name: options[name] for name in _OF_A_FOLDER}
            predictions = _of_folder(opened, Path(store), of_this, common)
        else:
            predictions = _of_store(opened, store, {name: options[name] for name in _OF_A_STORE},
                                    common)  # fmt: skip
        write_predictions(predictions, None if as_json and out is None else write)
    if as_json:
        echo_json(predictions.document())
    elif out is not None:
        echo(f"{plural(len(predictions.table), 'row')} in {out}")
    context.exit(predictions.exit_code)


def _check_folder(path: Location) -> None:
    if isinstance(path, Path) and not path.is_dir():
        came = "is a file" if path.exists() else "does not exist"
        raise UsageError(f"{path} {came}: expected a folder of DICOM files, or a feature store")


def _refuse_idle(context: click.Context, names: tuple[str, ...], *, of_folder: bool) -> None:
    """An option that was given and does nothing is a misunderstanding."""
    typed = click.core.ParameterSource.COMMANDLINE
    idle = [name for name in names if context.get_parameter_source(name) is typed]
    if idle:
        option = idle[0].replace("_", "-")
        because = (
            "the features of a folder of scans are made as the run's were" if of_folder
            else "it says how a folder of scans is read, and this is a store"
        )  # fmt: skip
        raise UsageError(f"--{option} has no effect: {because}. Leave it out")


def _of_store(
    run: "Run", store: Location, options: dict[str, Any], common: dict[str, Any]
) -> "Predictions":
    from featurecache.store import FeatureStore
    from seqhead.predict import predict_store

    return predict_store(run, FeatureStore.open(store), **options, **common)


def _of_folder(
    run: "Run", folder: Path, options: dict[str, Any], common: dict[str, Any]
) -> "Predictions":
    from cli.tasks import selection
    from seqhead.predictor import Predictor

    rules = selection(options.pop("select"))
    loading = {name: options.pop(name) for name in ("weights", "workers")}
    with Predictor(run, **loading, **common) as predictor, progress_bar("predict", "slices") as bar:
        return predictor.predict(folder, rules, progress=bar, **options)
