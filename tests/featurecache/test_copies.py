"""A NIfTI file under two names is one scan, and never two patients."""

import shutil

import numpy as np
import pytest

from featurecache.reasons import COPIES_OF_PATIENTS

AFFINE = np.diag([-0.5, -0.5, 5.0, 1.0])


def voxels(seed, n=3):
    data = np.random.default_rng(seed).normal(35, 9, (16, 16, n))
    data[:4] = -1000
    return data.astype(np.int16)


@pytest.fixture
def tree(tmp_path, write_nifti):
    """One scan under three names, compressed, as float and mirrored; and another one."""
    root = tmp_path / "root"
    write_nifti(root / "a.nii", voxels(1))
    write_nifti(root / "backup/b.nii.gz", voxels(1).astype(np.float32))
    write_nifti(root / "c.nii", voxels(1)[::-1], AFFINE @ np.diag([-1.0, 1, 1, 1]))
    write_nifti(root / "other.nii", voxels(2))
    return root


def used(result):
    return {stack.key: stack.patient_id for stack in result.stacks}


def test_one_of_several_copies_is_used(tree, scanned, content):
    result = scanned(tree)
    assert used(result) == {"a": "a", "other": "other"}
    assert result.account.reasons["skipped", "duplicate of another file"] == 2
    assert content(scanned(tree).path) == content(result.path)


def test_another_takes_its_place_when_it_is_gone(tree, scanned, content):
    scanned(tree)
    away = tree.parent / "a.nii"
    (tree / "a.nii").rename(away)
    assert used(scanned(tree)) == {"backup/b": "backup/b", "other": "other"}
    away.rename(tree / "a.nii")
    assert used(scanned(tree)) == {"a": "a", "other": "other"}
    (tree / "c.nii").unlink()
    shutil.rmtree(tree / "backup")
    result = scanned(tree)
    assert used(result) == {"a": "a", "other": "other"}
    assert (result.account.skipped, result.account.failed) == (0, 0)


def test_the_copy_that_has_a_patient_is_used_and_two_patients_are_refused(tree, scanned):
    (tree / "sub-7").mkdir()
    (tree / "c.nii").rename(tree / "sub-7/ct.nii")
    assert used(scanned(tree)) == {"sub-7/ct": "7", "other": "other"}
    shutil.copytree(tree / "sub-7", tree / "sub-8")
    refused = scanned(tree)
    assert used(refused) == {"other": "other"}
    assert refused.account.reasons["failed", COPIES_OF_PATIENTS] == 4
    shutil.rmtree(tree / "sub-8")
    assert used(scanned(tree)) == {"sub-7/ct": "7", "other": "other"}


def test_a_table_decides_whether_copies_are_one_patient(tree, tmp_path, scanned):
    table = tmp_path / "ids.csv"
    rows = "path,PatientID\na.nii,1\nb.nii.gz,2\nc.nii,1\nother.nii,3\n"
    table.write_text(rows)
    refused = scanned(tree, nifti_ids=table)
    assert used(refused) == {"other": "3"}
    assert refused.account.reasons["failed", COPIES_OF_PATIENTS] == 3
    table.write_text(rows.replace("gz,2", "gz,1"))
    assert used(scanned(tree, nifti_ids=table)) == {"a": "1", "other": "3"}
