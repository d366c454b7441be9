"""`seqhead` as a user types it, on a store with hashed identifiers."""

import csv
import io
import json
import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

from cli.seqhead import main

D = 8
RECIPE = {"backbone": "toy", "windows": [[40, 80]], "size": 224, "precision": "fp32",
          "dtype": "float32"}  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread():
    """Small problems on a shared machine: threads that wait for each other cost tenfold."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def stacks(patients=30):
    """Series with the planted labels (ICH of the series, and of each slice)."""
    rng = np.random.default_rng(0)
    for patient in range(patients):
        n = int(rng.integers(5, 10))
        shown = np.zeros(n, int)
        if patient % 2:
            shown[rng.integers(0, n - 2) :][:2] = 1
        slices = [
            SimpleNamespace(sop_uid=f"3.{patient}.{k}", frame=0, source=f"{patient}.{k}",
                            z_mm=5.0 * k, gap_mm=5.0)
            for k in range(n)
        ]  # fmt: skip
        yield SimpleNamespace(
            key=f"2.{patient}", series_uid=f"2.{patient}", study_uid=f"1.{patient}",
            patient_id=f"{patient:03d}", slices=slices, shown=shown,
            features=(rng.normal(size=(n, D)) + 4 * shown[:, None]).astype(np.float32),
            z_extent_mm=5.0 * (n - 1), median_gap_mm=5.0, thickness_mm=5.0, fov_mm=250.0,
            tilt_deg=0.0, row_spacing_mm=0.5, column_spacing_mm=0.5, wrapped=False, assume_hu=False,
        )  # fmt: skip


def write_store(path, identifiers, all_stacks, recipe=RECIPE, failed=()):
    """A complete store of some stacks."""
    from featurecache import arrays
    from featurecache.feature_array import FeatureArray
    from featurecache.open_storage import open_storage
    from featurecache.tables import part_tables

    storage = open_storage(path)
    arrays.create_store(storage, identifiers.digest)
    n_slices = sum(len(stack.slices) for stack in all_stacks)
    tables = part_tables(
        all_stacks, identifiers, n_series=len(all_stacks), n_slices=n_slices
    )  # fmt: skip
    part = arrays.create_part(storage, tables)
    values = np.concatenate([stack.features for stack in all_stacks])
    status = np.concatenate(
        [np.full(len(s.slices), 2 if s.key in failed else 1) for s in all_stacks]
    )
    identity = {k: v for k, v in recipe.items() if k not in ("precision", "dtype")}
    arrays.create_features(
        storage, part, "toy", n_slices=len(values), dim=D, dtype=recipe["dtype"], unit_slices=64,
        attributes={
            "recipe": recipe, "plan": {}, "reason_codes": {"2": "pixel data is short"},
            "fingerprint": {"identity": str(identity), "numerics": recipe["dtype"]},
        },
    )  # fmt: skip
    array = FeatureArray(storage, part, "toy", writable=True)
    for unit in range(array.n_units):
        rows = array.rows(unit)
        array.write_unit(unit, values[rows.start : rows.stop], status[rows.start : rows.stop])


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A working folder as `featurecache init` and `extract` leave it."""
    from featurecache.identifiers import Identifiers, create_key
    from featurecache.project import write_project

    monkeypatch.chdir(tmp_path)
    create_key(tmp_path / "featurecache.key")
    identifiers = Identifiers.load(tmp_path / "featurecache.key")
    drawn = list(stacks())
    write_store(tmp_path / "cache.zarr", identifiers, drawn)
    (tmp_path / "labels.csv").write_text(
        "\n".join(["PatientID,ICH", *(f"{s.patient_id},{s.shown.max()}" for s in drawn)])
    )
    rows = [
        f"{one.sop_uid},{shown}"
        for s in drawn
        for one, shown in zip(s.slices, s.shown, strict=True)
    ]
    (tmp_path / "slices.csv").write_text("\n".join(["SOPInstanceUID,ICH", *rows]))
    write_project(
        tmp_path, store=tmp_path / "cache.zarr", labels=tmp_path / "labels.csv",
        slice_labels=tmp_path / "slices.csv", labels_format="table",
    )  # fmt: skip
    return SimpleNamespace(folder=tmp_path, identifiers=identifiers, stacks=drawn)


def seqhead(*arguments, code=0):
    """Run a command line in this process; returns what it wrote to stdout."""
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == code, f"{result.exit_code}\n{result.output}\n{result.exception}"
    return result


QUICK = ("--hidden", 8, "--epochs", 25, "--learning-rate", 0.01, "--device", "cpu")


def test_fit_and_evaluate_as_the_readme_has_them(project):
    text = seqhead("fit", "--rnn", "gru", *QUICK).stdout
    assert "30 patients" not in text
    assert "patients: 21 train (21 series), " in text
    assert text.splitlines()[-1] == "run: runs/toy-gru-1"
    shown = seqhead("evaluate").stdout
    assert "runs/toy-gru-1" in shown
    assert "baseline AUC" in shown
    document = json.loads(seqhead("evaluate", "--json").stdout)
    assert document["schema_version"] == 1
    assert set(document) >= {"level", "n", "labels", "macro", "micro", "rsna_loss", "baseline"}
    assert document["labels"]["ICH"]["auc"] == 1.0  # the signal is blatant


def test_run_folders_hold_the_users_ids_and_stores_do_not(project):
    seqhead("fit", *QUICK)
    with (project.folder / "runs/toy-gru-1/predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["user_patient"] for row in rows] == [s.patient_id for s in project.stacks]
    assert rows[0]["patient"] == project.identifiers.patient("000")


def test_labels_counts_what_the_files_say(project):
    assert "ICH" in seqhead("labels").stdout
    document = json.loads(seqhead("labels", "--json").stdout)
    assert document["labels"]["ICH"]["patients"] == {"positives": 15, "negatives": 15, "unknown": 0}
    assert document["labels"]["ICH"]["slices"]["positives"] == 30


def test_slice_level_is_asked_for_or_follows_from_the_labels(project):
    seqhead("fit", "--level", "slice", *QUICK)
    levels = [
        json.loads(seqhead("evaluate", "--level", level, "--json").stdout)["n"]
        for level in ("slice", "series", "patient")
    ]
    assert levels[0] > levels[1] == levels[2]
    document = json.loads(seqhead("fit", "--labels", "slices.csv", "--json", *QUICK).stdout)
    assert document["level"] == "slice"
    assert document["run"] == "runs/toy-gru-2"


def test_predictions_are_csv_on_stdout_or_in_a_file(project):
    seqhead("fit", "--head", "svm", "--out", "runs/mine")
    rows = list(csv.DictReader(io.StringIO(seqhead("predict", "runs/mine").stdout)))
    assert [row["series"] for row in rows] == [
        project.identifiers.series(s.key) for s in project.stacks
    ]
    assert all(0 <= float(row["ICH"]) <= 1 for row in rows)
    seqhead("predict", "runs/mine", "--out", "p.csv")
    with (project.folder / "p.csv").open() as file:
        assert list(csv.DictReader(file)) == rows


def test_predicting_series_without_features_is_exit_code_3(project):
    seqhead("fit", *QUICK)
    some = project.stacks[:4]
    write_store(project.folder / "new.zarr", project.identifiers, some, failed=[some[0].key])
    result = seqhead("predict", "runs/toy-gru-1", "new.zarr", code=3)
    assert project.identifiers.series(some[0].key) in result.stderr


def test_other_features_are_exit_code_5_and_name_the_field(project):
    seqhead("fit", *QUICK)
    recipe = {**RECIPE, "size": 256}
    write_store(project.folder / "new.zarr", project.identifiers, project.stacks[:4], recipe)
    result = seqhead("predict", "runs/toy-gru-1", "new.zarr", code=5)
    assert "size is 256, not 224" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("fit", "--labels", "nowhere.csv"), 2, "cannot read the label file nowhere.csv"),
        (("fit", "--features", "vgg16"), 2, "it has: toy"),
        (("fit", "--rnn", "gur"), 2, "gur"),
        (("fit", "--labels-format", "cq500"), 2, "needs the column 'name'"),
        (("fit", "nowhere.zarr"), 5, "nowhere.zarr"),
        (("fit", "--key", "nowhere.key"), 2, "the key file nowhere.key is missing"),
        (("evaluate",), 2, "seqhead fit"),
        (("evaluate", "nowhere"), 2, "is not a run folder"),
        (("evaluate", "labels.csv"), 2, "a model is a run folder"),
    ],
)
def test_errors_name_the_thing_and_the_remedy(project, arguments, code, message):
    result = seqhead(*arguments, code=code)
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_a_store_of_another_key_is_refused(project):
    from featurecache.identifiers import create_key

    create_key(project.folder / "other.key")
    assert "another key" in seqhead("fit", "--key", "other.key", code=5).stderr
    assert not (project.folder / "runs").exists()


def test_without_labels_the_command_says_how_to_give_them(tmp_path, monkeypatch, make_store):
    monkeypatch.chdir(tmp_path)
    make_store(tmp_path / "cache.zarr", {"s": np.ones((2, 3), np.float32)})
    assert "featurecache init" in seqhead("fit", code=2).stderr


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from cli.seqhead import main\n"
        "for command in [[], *([name] for name in main.commands)]:\n"
        "    main([*command, '--help'], standalone_mode=False)\n"
        "heavy = {'torch', 'torchvision', 'timm', 'zarr', 'pydicom', 'sklearn', 'pandas', 'scipy',"
        " 'numpy', 'pydantic'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_python_m_seqhead_is_the_same_program():
    done = subprocess.run(
        [sys.executable, "-m", "seqhead", "--help"], capture_output=True, text=True, check=True
    )
    assert "evaluate" in done.stdout


def test_fit_leaves_series_without_features_out_with_exit_code_3(project):
    gone = project.stacks[3].key
    write_store(project.folder / "holed.zarr", project.identifiers, project.stacks, failed=[gone])
    result = seqhead("fit", "holed.zarr", *QUICK, code=3)
    assert project.identifiers.series(gone) in result.stdout
    assert result.stdout.splitlines()[-1] == "run: runs/toy-gru-1"


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (("--head", "svm", "--rnn", "lstm"), "--rnn"),
        (("--head", "svm", "--epochs", 100), "--epochs"),
        (("--rnn", "none", "--hidden", 12), "--hidden"),
        (("--svm-input", "pooled"), "--svm-input"),
        (("--head", "svm", "--tensorboard"), "--tensorboard"),
        (("--system", "svm", "--tensorboard"), "--tensorboard"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused_by_name(project, arguments, name):
    assert f"{name} has no effect" in seqhead("fit", *arguments, code=2).stderr
    assert not (project.folder / "runs").exists()


def test_without_tensorboard_the_line_that_installs_it_is_exit_code_4(project, monkeypatch):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec",
        lambda name, *more: None if name == "tensorboard" else find(name, *more),
    )  # fmt: skip
    stderr = seqhead("fit", "--tensorboard", *QUICK, code=4).stderr
    assert "pip install 'featurecache[tensorboard]'" in stderr
    assert not (project.folder / "runs").exists()


def test_defaults_of_the_other_head_are_no_choice(project):
    assert "run: runs/toy-svm-1" in seqhead("fit", "--head", "svm").stdout


def test_predict_writes_over_nothing(project):
    seqhead("fit", *QUICK)
    (project.folder / "p.csv").write_text("mine")
    assert "exists already" in seqhead("predict", "runs/toy-gru-1", "--out", "p.csv", code=2).stderr
    assert (project.folder / "p.csv").read_text() == "mine"


def test_predict_that_fails_leaves_no_file(project, monkeypatch):
    seqhead("fit", *QUICK)
    before = sorted(project.folder.iterdir())
    monkeypatch.setattr("cli.heads.write_predictions", lambda *_: 1 / 0)
    seqhead("predict", "runs/toy-gru-1", "--out", "p.csv", code=1)
    assert sorted(project.folder.iterdir()) == before


@pytest.mark.parametrize("command", ["fit", "predict"])
def test_an_unwritable_out_is_found_before_any_work(project, command, monkeypatch):
    seqhead("fit", *QUICK)

    def work(*_, **__):
        raise AssertionError("work was begun")

    monkeypatch.setattr("seqhead.fit.open_for_fit", work)
    monkeypatch.setattr("seqhead.predict.predict_store", work)
    run = ("runs/toy-gru-1",) if command == "predict" else ()
    result = seqhead(command, *run, "--out", "labels.csv/x", code=2)
    assert "cannot write" in result.stderr


def test_a_missing_key_is_not_answered_with_another_kind_of_store(project):
    assert "--keep-ids" not in seqhead("labels", "--key", "nowhere.key", code=2).stderr


def test_settings_that_cannot_be_changed_do_not_hide_a_fit(project, monkeypatch):
    def denied(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("cli.heads.remember_run", denied)
    result = seqhead("fit", *QUICK)
    assert "run: runs/toy-gru-1" in result.stdout
    assert "Permission denied" in result.stderr


def test_labels_list_series_that_nothing_is_known_of(project):
    lines = (project.folder / "labels.csv").read_text().splitlines()
    lines[1] = lines[1].rpartition(",")[0] + ","
    (project.folder / "labels.csv").write_text("\n".join(lines[:-1]))
    text = seqhead("labels").stdout
    assert f"1 series without patient labels: {project.identifiers.series('2.29')}" in text
    unknown = project.identifiers.series("2.0")
    assert f"1 series whose patient labels are all unknown: {unknown}" in text


def test_one_is_one_epoch_and_a_validation_auc_says_of_how_many_patients(project):
    text = seqhead("fit", "--epochs", 1, "--device", "cpu").stdout
    assert re.search(r"1 epoch in (fp32|bf16), best 1", text)
    assert " on 5 patients (mean of 1 of 1 label;" in text


SVM = ("--head", "svm")


def test_folds_are_fitted_judged_and_predicted_with(project):
    text = seqhead("fit", "--folds", 3, *SVM).stdout
    assert "3 folds of 30 patients (30 series)" in text
    assert text.splitlines()[-1] == "run: runs/toy-svm-3-fold-1"
    document = json.loads(seqhead("evaluate", "--json").stdout)
    assert (document["split"], document["n"], len(document["folds"])) == ("out of fold", 30, 3)
    assert "never saw it (3 folds)" in seqhead("evaluate").stdout
    rows = list(csv.DictReader(io.StringIO(
        seqhead("predict", "runs/toy-svm-3-fold-1", "--calibrate", "temperature").stdout
    )))  # fmt: skip
    assert len(rows) == 30
    fitted = json.loads(seqhead("fit", "--folds", 2, *SVM, "--json").stdout)
    assert (fitted["folds"], fitted["repeats"], len(fitted["members"])) == (2, 1, 2)


def test_folds_of_a_run_are_taken_again_and_compared(project):
    seqhead("fit", "--folds", 3, *SVM)
    folds = "runs/toy-svm-3-fold-1/folds.csv"
    seqhead("fit", "--folds-file", folds, *QUICK)
    text = seqhead("compare", "runs/toy-svm-3-fold-1", "runs/toy-gru-3-fold-1").stdout
    assert "toy-svm-3-fold-1 − toy-gru-3-fold-1" in text
    latex = seqhead("compare", "runs/toy-svm-3-fold-1", "runs/toy-gru-3-fold-1", "--table", "latex")
    assert latex.stdout.count(r"\begin{tabular}") == 3
    document = json.loads(
        seqhead("compare", "runs/toy-svm-3-fold-1", "runs/toy-gru-3-fold-1", "--json").stdout
    )
    assert document["schema_version"] == 1
    assert document["pairs"][0]["folds"]["folds"] == 3
    seqhead("fit", *SVM)
    refused = seqhead("compare", "runs/toy-svm-3-fold-1", "runs/toy-svm-1", code=2)
    assert "the test rows differ" in refused.stderr


def test_a_leaking_protocol_is_loud(project):
    text = seqhead("fit", "--level", "slice", "--protocol", "xception-rnn", *QUICK).stdout
    assert "WARNING: this split LEAKS" in text
    assert "WARNING: this split LEAKS" in seqhead("evaluate").stdout
    assert json.loads(seqhead("evaluate", "--json").stdout)["leak"]["protocol"] == "xception-rnn"


def test_two_ways_to_split_are_one_too_many(project):
    refused = seqhead("fit", "--folds", 3, "--protocol", "sdlm", code=2)
    assert "--protocol says how to split, and so does --folds" in refused.stderr
    assert "--repeats has no effect" in seqhead("fit", "--repeats", 2, code=2).stderr


def test_operating_points_are_chosen_at_the_fit_and_for_an_evaluation(project):
    seqhead("fit", *SVM, "--operating-point", "max-sensitivity")
    assert "thresholds: maximal sensitivity on validation" in seqhead("evaluate").stdout
    text = seqhead("evaluate", "--operating-point", "specificity=0.9", "--details").stdout
    assert "thresholds: specificity=0.9 on validation" in text
    assert "operating points, chosen on validation" in text


def test_curves_go_into_the_run_folder(project):
    seqhead("fit", *QUICK)
    text = seqhead("evaluate", "--curves").stdout
    assert text.splitlines()[-1] == "8 files in runs/toy-gru-1/curves"
    assert (project.folder / "runs/toy-gru-1/curves/roc-series.svg").is_file()
    document = json.loads(seqhead("evaluate", "--curves", "--json").stdout)
    assert "runs/toy-gru-1/curves/learning.png" in document["curves"]


def test_readers_stand_beside_the_model(project):
    rows = [f"{s.patient_id},{s.shown.max()},{1 - s.shown.max()}" for s in project.stacks]
    (project.folder / "reads.csv").write_text("\n".join(["PatientID,Good:ICH,Bad:ICH", *rows]))
    seqhead("fit", "--folds", 3, *SVM)
    text = seqhead("evaluate", "--readers", "reads.csv").stdout
    assert "readers, each beside the model" in text
    document = json.loads(seqhead("evaluate", "--readers", "reads.csv", "--json").stdout)
    found = document["readers"]["ICH"]
    assert found["readers"]["Good"]["recall"] == 1.0
    assert found["readers"]["Bad"]["kappa"] == -1.0
    assert found["agreement"]["readers"]["Good and Bad"] == -1.0
    seqhead("fit", "--level", "slice", *QUICK)
    refused = seqhead("evaluate", "--readers", "reads.csv", code=2)
    assert "--level series or patient" in refused.stderr


def another_store(project, key):
    """Other patients in a folder of their own, with a key of their own."""
    from featurecache.identifiers import Identifiers, create_key

    folder = project.folder / "other"
    folder.mkdir()
    create_key(folder / key)
    rng = np.random.default_rng(9)
    drawn = list(stacks(12))
    for number, stack in enumerate(drawn):
        stack.key = stack.series_uid = f"7.{number}"
        stack.study_uid, stack.patient_id = f"6.{number}", f"other {number}"
        stack.features = (stack.features + rng.normal(size=stack.features.shape)).astype(np.float32)
        for k, one in enumerate(stack.slices):
            one.sop_uid = f"8.{number}.{k}"
    write_store(folder / "o.zarr", Identifiers.load(folder / key), drawn)
    rows = [f"{s.patient_id},{s.shown.max()}" for s in drawn]
    (folder / "labels.csv").write_text("\n".join(["PatientID,Bleed", *rows]))
    return folder


def test_a_run_is_judged_on_another_data_set(project):
    folder = another_store(project, "featurecache.key")
    seqhead("fit", *SVM)
    given = ("--store", folder / "o.zarr", "--labels", folder / "labels.csv", "--device", "cpu")
    text = seqhead("evaluate", "runs/toy-svm-1", *given, "--map", "ICH=Bleed").stdout
    assert "external test: 12 patients (12 series)" in text
    document = json.loads(
        seqhead("evaluate", *given, "--map", "ICH=Bleed", "--curves", "--json").stdout
    )
    assert document["split"] == "external"
    assert document["curves"][0] == "runs/toy-svm-1/curves/o/roc-series.svg"
    assert "none in common" in seqhead("evaluate", *given, code=2).stderr
    refused = seqhead("evaluate", "--store", folder / "o.zarr", code=2)
    assert "--store needs the labels" in refused.stderr
    refused = seqhead("evaluate", "--labels", folder / "labels.csv", code=2)
    assert "--labels is of another data set" in refused.stderr
    assert "--map has no effect" in seqhead("evaluate", "--map", "ICH=Bleed", code=2).stderr


def test_the_key_of_another_data_set_can_be_named(project):
    folder = another_store(project, "secret.key")
    seqhead("fit", *SVM)
    given = ("--store", folder / "o.zarr", "--labels", folder / "labels.csv", "--map", "ICH=Bleed")
    assert "another key" in seqhead("evaluate", *given, code=5).stderr
    seqhead("evaluate", *given, "--key", folder / "secret.key")


def test_subgroups_of_the_index_need_the_index(project):
    seqhead("fit", *SVM)
    assert "thickness" in seqhead("evaluate", "--by", "thickness").stdout
    result = seqhead("evaluate", "--by", "kernel", code=2)
    assert "featurecache.sqlite" in result.stderr


ATTENTIVE = (*QUICK, "--pool", "attention")


def test_key_slices_are_judged_by_the_slice_labels_of_the_fit(project):
    seqhead("fit", *ATTENTIVE)
    text = seqhead("evaluate", "--key-slices").stdout
    assert "key slices by attention, lesions from slices.csv: " in text
    assert text.splitlines()[-1] == "2 files in runs/toy-gru-1/curves"
    document = json.loads(seqhead("evaluate", "--key-slices", "--json").stdout)
    assert document["schema_version"] == 1
    found = document["key_slices"]
    assert found["lesion"]["comprehensive"]["attention"] > 0.9
    assert found["series"]["tested"] == document["series"]
    assert document["curves"] == [
        f"runs/toy-gru-1/curves/key-slices.{form}" for form in ("svg", "png")
    ]
    assert (project.folder / document["curves"][0]).is_file()
    plain = json.loads(seqhead("evaluate", "--json").stdout)
    assert {k: v for k, v in document.items() if k not in ("key_slices", "curves")} == plain


def test_other_slice_labels_of_the_same_store_can_be_named(project):
    seqhead("fit", *ATTENTIVE)
    rows = [
        line
        for s in project.stacks
        for one, shown in zip(s.slices, s.shown, strict=True)
        for line in (f"{one.sop_uid}_any,{shown}", f"{one.sop_uid}_epidural,0")
    ]
    (project.folder / "rsna.csv").write_text("\n".join(["ID,Label", *rows]))
    given = ("--slice-labels", "rsna.csv", "--map", "ICH=any", "--json")
    other = json.loads(seqhead("evaluate", "--key-slices", *given).stdout)["key_slices"]
    fits = json.loads(seqhead("evaluate", "--key-slices", "--json").stdout)["key_slices"]
    assert other["labels_of"] == "rsna.csv"
    assert other["lesion"] == fits["lesion"]
    refused = seqhead("evaluate", "--slice-labels", "rsna.csv", code=2)
    assert "--slice-labels is of another data set" in refused.stderr


def test_key_slices_need_attention_labels_of_slices_and_the_key(project):
    seqhead("fit", *QUICK)
    assert "gives slices no attention" in seqhead("evaluate", "--key-slices", code=2).stderr
    settings = project.folder / "featurecache.toml"
    kept = settings.read_text()
    lines = [line for line in kept.splitlines() if not line.startswith("slice_labels")]
    settings.write_text("\n".join(lines))
    seqhead("fit", *ATTENTIVE)
    refused = seqhead("evaluate", "--key-slices", code=2)
    assert "give --slice-labels FILE" in refused.stderr
    seqhead("evaluate", "--key-slices", "--slice-labels", "slices.csv")
    settings.write_text(kept)
    (project.folder / "featurecache.key").rename(project.folder / "elsewhere.key")
    refused = seqhead("evaluate", "runs/toy-gru-2", "--key-slices", code=2)
    assert "name the key with --key FILE" in refused.stderr
    seqhead("evaluate", "runs/toy-gru-2", "--key-slices", "--key", "elsewhere.key")


def test_a_fit_on_slice_labels_alone_has_them_for_its_key_slices(project):
    (project.folder / "featurecache.toml").unlink()
    given = ("cache.zarr", "--slice-labels", "slices.csv", "--level", "series")
    seqhead("fit", *given, *ATTENTIVE, "--out", "run")
    document = json.loads(seqhead("evaluate", "run", "--key-slices", "--json").stdout)
    assert document["key_slices"]["labels_of"] == "slices.csv"


def test_key_slices_of_another_data_set(project):
    folder = another_store(project, "featurecache.key")
    drawn = list(stacks(12))
    rows = [f"8.{n}.{k},{shown}" for n, s in enumerate(drawn) for k, shown in enumerate(s.shown)]
    (folder / "slices.csv").write_text("\n".join(["SOPInstanceUID,Bleed", *rows]))
    seqhead("fit", *ATTENTIVE)
    given = ("--store", folder / "o.zarr", "--map", "ICH=Bleed", "--device", "cpu", "--key-slices")
    refused = seqhead("evaluate", *given, "--labels", folder / "labels.csv", code=2)
    assert "labels each patient, not each slice" in refused.stderr
    for labels in (("--labels", folder / "labels.csv"), ()):
        of_slices = ("--slice-labels", folder / "slices.csv")
        shown = seqhead("evaluate", *given, *labels, *of_slices, "--json").stdout
        document = json.loads(shown)
        assert document["key_slices"]["series"]["tested"] == 12
        assert document["key_slices"]["lesion"]["comprehensive"]["attention"] > 0.8
        assert document["curves"][0] == "runs/toy-gru-1/curves/o/key-slices.svg"


def add_views(project, count=2, **changes):
    """Views of the features, as `extract --views` leaves them."""
    from featurecache import arrays
    from featurecache.feature_array import FeatureArray
    from featurecache.open_storage import open_storage

    storage = open_storage(project.folder / "cache.zarr")
    base = FeatureArray(storage, 0, "toy")
    values = np.concatenate([stack.features for stack in project.stacks])
    rng = np.random.default_rng(3)
    for number in range(1, count + 1):
        name = f"toy.view{number}"
        recipe = {**RECIPE, "view_number": number, "view_seed": 0, **changes}
        attributes = {"recipe": recipe, "plan": {}, "reason_codes": {},
                      "fingerprint": {"identity": name, "numerics": "float32"}}  # fmt: skip
        arrays.create_features(
            storage, 0, name, n_slices=len(values), dim=D, dtype="float32", unit_slices=64,
            attributes=attributes,
        )  # fmt: skip
        array = FeatureArray(storage, 0, name, writable=True)
        noisy = (values + rng.normal(size=values.shape)).astype(np.float32)
        for unit in range(base.n_units):
            rows = array.rows(unit)
            array.write_unit(unit, noisy[rows.start : rows.stop], np.ones(len(rows), dtype=int))


def test_views_are_learnt_from_and_averaged_over(project):
    add_views(project)
    text = seqhead("fit", "--features", "toy", "--views", *QUICK).stdout
    assert "from 2 augmented views; validation and test are as they are" in text
    shown = seqhead("evaluate", "--views").stdout
    assert "mean over the images as they are and 2 augmented views" in shown
    document = json.loads(seqhead("evaluate", "--views", "--json").stdout)
    assert document["views"] == 2
    result = seqhead("predict", "runs/toy-gru-1", "cache.zarr", "--views")
    assert "Note: mean over the images as they are and 2 augmented views" in result.stderr
    refused = seqhead("evaluate", "--views", "--store", "cache.zarr", "--labels", "labels.csv",
                      code=2)  # fmt: skip
    assert "this is no external test" in refused.stderr
    (project.folder / "cache.zarr").rename(project.folder / "moved.zarr")
    refused = seqhead("evaluate", "--views", code=2)
    assert "run this in the project folder" in refused.stderr
    (project.folder / "moved.zarr").rename(project.folder / "cache.zarr")
    assert "--views has no effect" in seqhead("fit", *SVM, "--views", code=2).stderr


def test_without_views_or_with_others_the_fit_says_what_is_wrong(project):
    assert "has no augmented views of toy" in seqhead("fit", "--views", *QUICK, code=5).stderr
    add_views(project, size=112)
    refused = seqhead("fit", "--features", "toy", "--views", *QUICK, code=5)
    assert "size is 112, not 224" in refused.stderr
