"""CQ500 and RSNA 2019 as they are published, made of phantom pixels, through the commands."""

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pydicom
import pytest
from click.testing import CliRunner, Result
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from cli.featurecache import main as featurecache
from cli.seqhead import main as seqhead
from featurecache import FeatureStore
from featurecache.index import Index
from featurecache.phantom.case import draw_case
from featurecache.phantom.render import render_slice
from featurecache.pixels import decode_slice, job_for, to_hu
from featurecache.probes import WRAPPED
from seqhead.labels.cq500 import CQ500_LABELS
from seqhead.labels.rsna import RSNA_LABELS

SIZE = 64
EXTRACT = (
    "extract", "--backbone", "squeezenet1_1", "--weights", "random:0", "--size", "64",
    "--compile", "off", "--workers", "2",
)  # fmt: skip
FIT = ("fit", "--rnn", "gru", "--epochs", "2", "--json")


@pytest.fixture(scope="module")
def draw() -> Callable[[int, int], np.ndarray]:
    """Function from a patient's number and a count to int16 HU (S, H, W), low to high."""

    def drawn(patient: int, n_slices: int) -> np.ndarray:
        case = draw_case(7, patient, SIZE)
        series = case.study.only("thick")[0]
        places = np.linspace(3, series.n_slices - 4, n_slices).astype(int)
        return np.stack([render_slice(case, series, int(k)) for k in places])

    return drawn


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, and no settings from the environment."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for name in ("SOURCE", "STORE", "INDEX", "KEY", "KEEP_IDS", "LABELS", "SELECT"):
        monkeypatch.delenv(f"FEATURECACHE_{name}", raising=False)
    return folder


def run(program: str, *args: str | Path, expected: int = 0) -> Result:
    main = featurecache if program == "fc" else seqhead
    result = CliRunner().invoke(main, [str(arg) for arg in args])
    assert result.exit_code == expected, result.output
    return result


def document(program: str, *args: str | Path, expected: int = 0) -> dict:
    return json.loads(run(program, *args, expected=expected).stdout)


def image(sop: str, series: str, study: str, patient: str, z_mm: float) -> Dataset:
    """What the headers of both sets have."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = sop
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SeriesInstanceUID, ds.StudyInstanceUID, ds.PatientID = series, study, patient
    ds.Modality, ds.StudyID = "CT", ""
    ds.ImagePositionPatient = [-125.0, -125.0, z_mm]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows = ds.Columns = SIZE
    ds.PixelSpacing = [3.9, 3.9]
    ds.WindowCenter, ds.WindowWidth, ds.RescaleSlope = 40, 80, 1
    return ds


def store_pixels(ds: Dataset, hu: np.ndarray, *, bits: int, signed: bool, intercept: int) -> None:
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, bits, bits - 1
    ds.PixelRepresentation, ds.RescaleIntercept = int(signed), intercept
    stored = (hu.astype(int) - intercept) % (1 << bits)
    ds.PixelData = stored.astype("<u2").tobytes()


# --------------------------------------------------------------------------- CQ500

# Folder (what the exporter made of the description), SeriesDescription, kernel, used?
THIN = ("CT PLAIN THIN", "PLAIN THIN", "H30s", True)
PLAIN = ("CT Plain", "Plain", "H31s", True)
CQ500_SERIES = {
    0: [PLAIN, ("CT 4cc sec 150cc D3D on", "4cc/sec 150cc D3D on", "FC21", False),
        ("CT 4cc sec 150cc D3D on-2", "4cc/sec 150cc D3D on", "FC21", False)],
    1: [THIN, ("CT PLAIN THIN-2", "PLAIN THIN", "H30s", True),
        ("CT POST CONTRAST", "POST CONTRAST", "STANDARD", False)],
    2: [("CT PRE CONTRAST 5MM STD", "PRE CONTRAST 5MM STD", "STANDARD", True),
        ("CT PRE CONTRAST BONE", "PRE CONTRAST BONE", "BONE", True),
        ("CT 5mm POST CONTRAST", "5mm POST CONTRAST", "STANDARD", False)],
    3: [THIN, ("CT BONE", "BONE", "BONEPLUS", True), ("CT CECT THIN", "CECT THIN", "H30s", False)],
    4: [("CT 0.625mm", "0.625mm", "SOFT", True)],
    5: [("CT 55mm Plain", "5/5mm Plain", "H31s", True),
        ("CT 55mm Contrast", "5/5mm Contrast", "H31s", False)],
    6: [PLAIN, ("CT ORAL IV", "ORAL & IV", "STANDARD", False)],
    7: [THIN], 8: [PLAIN], 9: [("CT C", "C+", "H31s", False), THIN],
}  # fmt: skip
FINDINGS = (
    "ICH", "IPH", "IVH", "SDH", "EDH", "SAH", "BleedLocation-Left", "BleedLocation-Right",
    "ChronicBleed", "Fracture", "CalvarialFracture", "OtherFracture", "MassEffect", "MidlineShift",
)  # fmt: skip
N_CQ500 = 4


def has(patient: int, finding: str) -> int:
    """What the majority of the readers says: fixed, and different for each finding."""
    return int((patient + FINDINGS.index(finding)) % (2 + FINDINGS.index(finding) % 3) == 0)


def write_reads(path: Path) -> None:
    """All patients with images, 10 whose folder is empty, and 11 of whom there is no folder."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        reads = [f"R{reader}:{finding}" for reader in (1, 2, 3) for finding in FINDINGS]
        writer.writerow(["name", "Category", *reads])
        for patient in range(12):
            truth = [has(patient, finding) for finding in FINDINGS]
            odd_one_out = [1 - value if patient % 2 else value for value in truth]
            writer.writerow([f"CQ500-CT-{patient}", "B1", *truth, *odd_one_out, *truth])


def write_cq500(root: Path, draw: Callable, tree: dict = CQ500_SERIES, n: int = N_CQ500) -> Path:
    """``reads.csv`` and the tree as CQ500's archives unpack."""
    write_reads(root / "reads.csv")
    (root / "scans/CQ500CT10 CQ500CT10/Unknown Study").mkdir(parents=True)
    for patient, every_series in tree.items():
        hu = draw(patient, n)
        study = f"1.2.276.{patient + 1}"
        spelled = f"CQ500-CT-{patient}" if patient % 2 else f"CQ500CT{patient}"
        name = f"CQ500CT{patient}"
        for number, (folder, description, kernel, _) in enumerate(every_series, start=1):
            target = root / "scans" / f"{name} {name}" / "Unknown Study" / folder
            target.mkdir(parents=True)
            for k in range(n):
                series = f"{study}.{number}"
                ds = image(f"{series}.{k + 1}", series, study, spelled, 5.0 * k)
                ds.SOPClassUID, ds.ImageType = CTImageStorage, ["ORIGINAL", "PRIMARY", "AXIAL"]
                ds.PatientName, ds.InstanceNumber = spelled, n - k
                ds.SeriesDescription, ds.ConvolutionKernel = description, kernel
                thin = "THIN" in description or description == "0.625mm"
                ds.SliceThickness = 0.625 if thin else 5
                store_pixels(ds, hu[k], bits=16, signed=True, intercept=-1024)
                ds.save_as(target / f"CT{k:06d}.dcm", enforce_file_format=True)
    return root


@pytest.fixture(scope="module")
def cq500(tmp_path_factory: pytest.TempPathFactory, draw) -> Path:
    """Folder with ``reads.csv`` and the tree."""
    return write_cq500(tmp_path_factory.mktemp("cq500"), draw)


def cq500_keys(used: bool) -> set[str]:
    return {
        f"1.2.276.{patient + 1}.{number}"
        for patient, every_series in CQ500_SERIES.items()
        for number, (_, _, _, is_used) in enumerate(every_series, start=1)
        if is_used == used
    }


def test_cq500_runs_from_init_to_fit_with_nothing_but_its_preset(cq500: Path, work: Path) -> None:
    said = run("fc", "init", cq500 / "scans", "--preset", "cq500", "--labels", cq500 / "reads.csv")
    assert "*CONTRAST* unless *PRE*" in said.stdout
    assert "*CECT*" in (work / "featurecache.toml").read_text()

    account = document("fc", *EXTRACT, "--json")
    chosen = {one["series"] for one in account["series"] if one["selected"]}
    assert chosen == cq500_keys(used=True)
    left_out = {one["series"]: one["reason"] for one in account["series"] if not one["selected"]}
    assert left_out.keys() == cq500_keys(used=False)
    assert left_out["1.2.276.2.3"] == "not selected: description matches *CONTRAST*"
    n_out = N_CQ500 * len(left_out)
    n_all = N_CQ500 * sum(map(len, CQ500_SERIES.values()))
    assert account["files"] == {"seen": n_all, "used": n_all - n_out, "skipped": n_out, "failed": 0}
    skipped = [one for one in account["reasons"] if one["kind"] == "skipped"]
    assert sum(one["count"] for one in skipped) == n_out
    assert all(one["reason"].startswith("not selected: ") for one in skipped)
    assert set(FeatureStore.open(work / "cache.zarr")["squeezenet1_1"]) == chosen

    labels = document("seqhead", "labels", "--json")
    assert labels["patients"] == len(CQ500_SERIES)
    assert set(labels["labels"]) == set(CQ500_LABELS)
    for label, counts in labels["labels"].items():
        ill = [patient for patient in CQ500_SERIES if has(patient, label)]
        assert counts["patients"]["positives"] == len(ill), label
        series = sum(used for patient in ill for *_, used in CQ500_SERIES[patient])
        assert counts["series"]["positives"] == series, label
        assert counts["series"]["unknown"] == 0
    assert labels["files"][0]["unmatched_labels"] == ["CQ500-CT-10", "CQ500-CT-11"]
    assert labels["files"][0]["unmatched_series"] == []

    fitted = document("seqhead", *FIT)
    assert fitted["level"] == "series"
    assert sum(fitted["series"].values()) == len(chosen)
    assert sum(fitted["patients"].values()) == len(CQ500_SERIES)


def test_scan_shows_what_is_left_out_and_more_rules_add_to_the_preset(
    cq500: Path, work: Path
) -> None:
    run("fc", "init", cq500 / "scans", "--preset", "cq500", "--labels", cq500 / "reads.csv")

    text = run("fc", "scan").stdout
    assert "not selected: description matches *CONTRAST*" in text
    assert "4cc/sec 150cc D3D on" in text, "rules can be written only by who sees the texts"
    assert "leave out" in text
    added = document("fc", "scan", "--json", "--select", "+kernel!=*BONE*",
                     "--select", "+one per study")  # fmt: skip
    chosen = {one["series"] for one in added["series"] if one["selected"]}
    assert chosen == {f"1.2.276.{patient + 1}.{2 if patient == 9 else 1}" for patient in range(10)}
    everything = document("fc", "scan", "--json", "--select", "all")
    assert all(one["selected"] for one in everything["series"])

    path = cq500 / "scans/CQ500CT1 CQ500CT1/Unknown Study/CT POST CONTRAST"
    assert "skipped: not selected" in run("fc", "scan", "--explain", path / "CT000000.dcm").stdout
    of_folder = run("fc", "scan", "--explain", path).stdout
    assert f"{N_CQ500}  skipped: not selected: description matches *CONTRAST*" in of_folder
    assert "  used" not in of_folder


@pytest.fixture
def few(tmp_path: Path, draw) -> Path:
    """Two slices a series, two series of most patients."""
    tree = {patient: [PLAIN, THIN] if patient < 6 else [THIN] for patient in range(10)}
    return write_cq500(tmp_path, draw, tree, n=2)


@pytest.mark.slow
def test_sdlm_is_reproduced_from_dicom_to_its_table(few: Path, work: Path) -> None:
    command = ("reproduce", "sdlm", few / "scans", "--labels", few / "reads.csv",
               "--labels-format", "cq500", "--weights", "random:0")  # fmt: skip

    text = run("seqhead", *command).stdout

    table = {line[:15].strip(): line.split() for line in text.splitlines()}
    assert table["micro F1"][2] == "0.6412"
    assert table["parameters"][1:] == ["5,382,153"] * 3
    assert "32 files seen = 32 used + 0 skipped + 0 failed" in text
    assert "16 series of 10 patients (32 slices), labels of reads.csv" in text
    assert "random:0, untrained" in text
    assert "LEAKS: " in text
    assert "no patient is on two sides" in text
    assert "size of the GRU: 1,024 units" in text
    assert "settings" not in text


def test_a_reproduction_goes_on_where_it_was_stopped(few: Path, work: Path) -> None:
    command = ("reproduce", "sdlm-densenet121-gru", few / "scans", "--labels", few / "reads.csv",
               "--labels-format", "cq500", "--weights", "random:0", "--set", "training.epochs=1",
               "--set", "head.hidden=8")  # fmt: skip

    text = run("seqhead", *command).stdout

    assert "micro F1" in text
    assert "here:  training.epochs=1, head.hidden=8" in text
    runs = work / "reproduce/sdlm-densenet121-gru"
    written = {path: path.stat().st_mtime_ns for path in (runs / "paper").iterdir()}
    shutil.rmtree(runs / "patients")
    again = document("seqhead", *command, "--json")
    assert again["slices_this_run"] == 0, "features are there"
    assert [(one["split"], one["fitted_now"]) for one in again["runs"]] == [
        ("paper", False), ("patients", True)
    ]  # fmt: skip
    assert {path: path.stat().st_mtime_ns for path in (runs / "paper").iterdir()} == written
    assert json.loads((runs / "reproduction.json").read_text()) == again
    reads = (few / "reads.csv").read_text()
    (few / "reads.csv").write_text(reads.replace("CQ500-CT-9,B1,0", "CQ500-CT-9,B1,1"))
    refused = run("seqhead", *command, expected=2).output
    assert "was begun with other inputs (labels differ)" in refused


# --------------------------------------------------------------------------- RSNA 2019

N_RSNA = 5
SHORT = "ID_6431af929"  # the image of the real set whose pixel data is short


@dataclass
class Rsna:
    """The flat folder, its labels, and the truth."""

    folder: Path
    labels: Path
    hu: dict[str, np.ndarray] = field(default_factory=dict)
    shown: dict[str, list[int]] = field(default_factory=dict)
    wrapped: set[str] = field(default_factory=set)
    patient_of: dict[str, str] = field(default_factory=dict)


def write_rsna_image(
    made: Rsna, name: str, series: str, study: str, z_mm: float, stored: dict
) -> None:
    with pydicom.config.disable_value_validation():  # "ID_..." is no UID, and pydicom says so
        ds = image(name, series, study, made.patient_of[series], z_mm)
        store_pixels(ds, made.hu[name], **stored)
        if name == SHORT:
            ds.PixelData = ds.PixelData[:4000]
        ds.save_as(made.folder / f"{name}.dcm", enforce_file_format=True)


@pytest.fixture(scope="module")
def rsna(tmp_path_factory: pytest.TempPathFactory, draw) -> Rsna:
    """Twelve studies of nine patients, one series each, files in one folder."""
    root = tmp_path_factory.mktemp("rsna")
    made = Rsna(root / "stage_2_train", root / "stage_2_train.csv")
    made.folder.mkdir()
    rng = np.random.default_rng(1)
    names = [f"ID_{value:09x}" for value in rng.choice(16**9, 12 * N_RSNA, replace=False)]
    names[7] = SHORT
    for number in range(12):
        hu = draw(number, N_RSNA)
        hu[:, 0, :6] = [-1024, -1023, -1001, -1000, -999, 3071]
        series, study = f"ID_{number:010x}", f"ID_{number + 100:010x}"
        made.patient_of[series] = f"ID_{number % 9:08x}"
        # Stored as the set does: signed; 12 bits from -1024 on; 12 bits, wrapped.
        bits, signed, intercept = [(16, True, -1024), (12, False, -1024), (12, False, 0)][
            number % 3
        ]
        made.wrapped |= {series} if intercept == 0 else set()
        for k in rng.permutation(N_RSNA):
            name = names[number * N_RSNA + k]
            made.hu[name] = hu[k]
            subtypes = [int(rng.random() < 0.3) for _ in RSNA_LABELS[1:]]
            made.shown[name] = [max(subtypes), *subtypes]
            stored = {"bits": bits, "signed": signed, "intercept": intercept}
            write_rsna_image(made, name, series, study, 5.0 * k, stored)
    write_rsna_labels(made)
    return made


def write_rsna_labels(made: Rsna) -> None:
    """Six lines an image, two images twice, one without a file."""
    order = [*RSNA_LABELS[1:], "any"]
    lines = ["ID,Label"]
    shown = {**made.shown, "ID_ffffffff0": [0] * 6}
    for name in [*shown, *list(shown)[3:5]]:
        values = dict(zip(RSNA_LABELS, shown[name], strict=True))
        lines += [f"{name}_{finding},{values[finding]}" for finding in order]
    made.labels.write_text("\n".join(lines) + "\n")


def test_rsna_runs_from_init_to_a_slice_level_fit_with_nothing_but_its_preset(
    rsna: Rsna, work: Path
) -> None:
    run("fc", "init", rsna.folder, "--preset", "rsna", "--labels", rsna.labels)
    account = document("fc", *EXTRACT, "--json", expected=3)
    n_files = len(rsna.hu)
    assert account["files"] == {"seen": n_files, "used": n_files - 1, "skipped": 0, "failed": 1}
    assert len(account["series"]) == 12
    assert all(one["selected"] for one in account["series"])
    warned = {one["reason"]: one["count"] for one in account["reasons"] if one["kind"] == "warning"}
    assert warned[WRAPPED] == len(rsna.wrapped)

    features = FeatureStore.open(work / "cache.zarr")["squeezenet1_1"]
    assert features.series["patient"].to_dict() == rsna.patient_of
    assert features.failed["slice"].tolist() == [SHORT]

    labels = document("seqhead", "labels", "--json")
    assert (labels["patients"], labels["series"]) == (9, 12)
    for k, label in enumerate(RSNA_LABELS):
        counts = labels["labels"][label]["slices"]
        positives = sum(values[k] for values in rsna.shown.values())
        assert counts == {"positives": positives, "negatives": n_files - positives, "unknown": 0}
    assert labels["files"][0]["unmatched_labels"] == ["ID_ffffffff0"]

    fitted = document("seqhead", *FIT)
    assert fitted["level"] == "slice"
    assert set(fitted["labels"]) == set(RSNA_LABELS)
    assert sum(fitted["series"].values()) == 12
    assert sum(fitted["patients"].values()) == 9, "a patient of two studies is on one side"


def test_rsna_values_are_exact_hounsfield_units_wrapped_or_not(rsna: Rsna, work: Path) -> None:
    run("fc", "scan", rsna.folder)

    with Index.open("featurecache.sqlite", readonly=True) as index:
        stacks = list(index.stacks())
        jobs = [(one.sop_uid, job_for(index.root, stack, one))
                for stack in stacks for one in stack.slices]  # fmt: skip

    assert {stack.key for stack in stacks if stack.wrapped} == rsna.wrapped
    assert {len(stack.slices) for stack in stacks} == {N_RSNA}
    compared = 0
    for sop_uid, job in jobs:
        if sop_uid != SHORT:
            np.testing.assert_array_equal(to_hu(decode_slice(job)), rsna.hu[sop_uid])
            compared += 1
    assert compared == len(rsna.hu) - 1


@pytest.mark.slow
def test_a_rule_over_slices_is_reproduced_from_dicom_with_its_failed_slice(
    rsna: Rsna, work: Path
) -> None:
    found = document(
        "seqhead", "reproduce", "any", rsna.folder, "--labels", rsna.labels, "--labels-format",
        "rsna", "--weights", "random:0", "--set", "training.epochs=2", "--json", expected=3,
    )  # fmt: skip
    assert (found["files"]["failed"], found["slices_failed"]) == (1, 1)
    (only,) = found["runs"]
    assert (only["split"], only["leak"], only["run"]) == (
        "patients",
        None,
        "reproduce/any/patients",
    )
    rows = {(row["of"], row["metric"]): row["paper"] for row in found["rows"]}
    assert rows == {("macro", "precision"): 0.9359, ("macro", "recall"): 0.9303,
                    ("macro", "f1"): 0.9265}  # fmt: skip
    assert found["left_out"]["partial_series"]


def test_labels_that_will_not_do_are_refused_before_anything_is_read(
    cq500: Path, work: Path
) -> None:
    command = ("reproduce", "xception", cq500 / "scans", "--labels", cq500 / "reads.csv",
               "--labels-format", "cq500", "--weights", "random:0")  # fmt: skip
    refused = run("seqhead", *command, expected=2).output
    assert "xception learns slices, and reads.csv labels each patient" in refused
    assert list(work.iterdir()) == []
    assert "is not a system" in run("seqhead", "reproduce", "sdlm2", cq500, expected=2).output
    assert "no labels" in run("seqhead", "reproduce", "sdlm", cq500, expected=2).output
