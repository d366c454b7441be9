"""The doctor says what there is and what is missing, whatever is broken."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cli.doctor_text import report_text
from featurecache import decoders, doctor
from featurecache.doctor import examine, human_bytes, is_broken

SECTIONS = ("system", "packages", "devices", "decoders", "weights", "space", "compiler")


def fixes(document: dict[str, Any], word: str) -> list[str]:
    return [one["fix"] for one in document["problems"] if word in one["what"]]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Import few packages."""
    monkeypatch.setattr(doctor, "REQUIRED", ("torch", "pydicom"))


def test_it_finds_this_machine(tmp_path: Path) -> None:
    document = examine(tmp_path / "deep" / "below" / "cache.zarr")

    json.dumps(document, allow_nan=False)
    assert document["schema_version"] == 1
    assert not is_broken(document)
    version = torch.__version__.partition("+")[0]
    assert document["packages"][0] == {"name": "torch", "version": version, "error": None}
    cpu = document["devices"][0]
    assert cpu["device"] == "cpu"
    assert "fp32" in cpu["precisions"]
    assert document["space"][0]["path"] == str(tmp_path), "the nearest folder that exists"
    assert document["space"][0]["free_bytes"] > 0
    syntaxes = {one["transfer_syntax"]: one["plugins"] for one in document["decoders"]}
    assert syntaxes["1.2.840.10008.1.2.1"] == ["built in"]
    assert syntaxes["1.2.840.10008.1.2.4.70"], "JPEG lossless is what CT archives hold"


def test_a_bucket_has_no_free_space_to_speak_of() -> None:
    assert examine("s3://lab/cache.zarr")["space"] == []


def test_a_missing_package_is_named_with_its_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "REQUIRED", ("pydicom", "no_such_package"))

    document = examine()

    assert fixes(document, "import no_such_package fails") == ["pip install no_such_package"]
    assert is_broken(document)


@pytest.mark.parametrize("section", SECTIONS)
def test_one_broken_section_leaves_the_others(
    section: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ImportError("libtorch.so: cannot open shared object file")

    monkeypatch.setattr(doctor, f"_{section}", fail)

    document = examine()

    assert document[section] == []
    assert fixes(document, f"{section} could not be examined: ImportError: libtorch") == [
        "make setup"
    ]
    assert all(document[other] for other in SECTIONS if other not in (section, "weights"))
    assert section in report_text(document)


def test_something_called_dl_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dl").mkdir()
    monkeypatch.syspath_prepend(tmp_path)

    assert "rename" in fixes(examine(), "python-gdcm imports")[0]


def test_no_compiler_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    document = examine()

    assert document["compiler"] == []
    assert "g++" in fixes(document, "no C++ compiler")[0]


def test_little_space_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10**9))

    document = examine(tmp_path / "cache.zarr")

    assert "--store" in fixes(document, "only 1.0 GB free")[0]


def test_transfer_syntaxes_without_a_decoder_share_one_install_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lacking = dict.fromkeys(
        ("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"), (("absent",), "pip install absent")
    )
    monkeypatch.setattr(decoders, "PLUGIN_ORDER", lacking)

    document = examine()

    assert fixes(document, "no decoder for") == ["pip install absent"]
    assert "MISSING" in report_text(document)


def test_weights_on_disk_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    (tmp_path / "hub" / "checkpoints" / "vgg16-397923af.pth").write_bytes(b"0" * 1234)
    blobs = tmp_path / "hf" / "models--timm--xception41.tf_in1k" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / "abc").write_bytes(b"0" * 99)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))

    assert examine()["weights"] == [
        {"name": "vgg16-397923af.pth", "bytes": 1234, "where": "torch hub"},
        {"name": "timm/xception41.tf_in1k", "bytes": 99, "where": "Hugging Face hub"},
    ]


@pytest.mark.parametrize(("capability", "bf16"), [((7, 5), False), ((9, 0), True)])
def test_a_gpu_has_bf16_from_compute_capability_8(
    capability: tuple[int, int], bf16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    about = SimpleNamespace(
        name="A GPU", major=capability[0], minor=capability[1], total_memory=8 * 10**9
    )
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: about)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)

    gpu = examine()["devices"][1]

    assert (gpu["device"], gpu["name"]) == ("cuda:0", "A GPU")
    assert ("bf16" in gpu["precisions"]) is bf16


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1234, "1.2 kB"), (528 * 10**6, "528 MB"),
     (5 * 10**12, "5000 GB")],
)  # fmt: skip
def test_bytes_are_spelled_in_thousands(count: int, text: str) -> None:
    assert human_bytes(count) == text
