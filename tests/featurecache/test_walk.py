"""What a tree may contain besides files (cases 10, 11, 12, 15)."""

import os
import socket

import pytest

from featurecache.walk import walk_tree


def found(root, **options):
    return {entry.path: entry.reason for entry in walk_tree(os.fsencode(root), **options)}


def test_pipes_and_sockets_are_named_and_never_opened(tmp_path, monkeypatch):
    """Case 10."""
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("sock")
        assert found(tmp_path) == {b"pipe": "special file: pipe", b"sock": "special file: socket"}


def test_links_are_not_followed_and_say_why(tmp_path):
    """Case 11."""
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "file").write_text("x")
    (tmp_path / "outside").write_text("x")
    (root / "sub" / "loop").symlink_to(root)
    (root / "self").symlink_to("self")
    (root / "inside").symlink_to("file")
    (root / "out").symlink_to(tmp_path / "outside")
    (root / "up").symlink_to("..")
    (root / "broken").symlink_to("nowhere")
    assert found(root) == {
        b"file": None,
        b"sub/loop": "symbolic link loop",
        b"self": "symbolic link loop",
        b"inside": "symbolic link: its target is read where it lies",
        b"out": "symbolic link out of the root",
        b"up": "symbolic link out of the root",
        b"broken": "broken symbolic link",
    }


def test_an_unreadable_folder_is_named(tmp_path, monkeypatch):
    """Case 12."""
    (tmp_path / "closed").mkdir()
    (tmp_path / "closed" / "a").write_text("x")
    (tmp_path / "b").write_text("x")
    real = os.scandir

    def scandir(path):
        if os.fsencode(path).endswith(b"closed"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)  # root may open everything
    assert found(tmp_path) == {b"closed": "unreadable folder", b"b": None}


def test_names_may_be_any_bytes(tmp_path):
    """Case 15."""
    names = [b"\xff\xfe.dcm", b"new\nline", b"n" * 255, b" leading", b"\xe2\x82\xac"]
    for name in names:
        with open(os.path.join(os.fsencode(tmp_path), name), "wb") as file:
            file.write(b"x")
    assert set(found(tmp_path)) == set(names)


def test_depth_is_no_matter(tmp_path):
    folder = tmp_path
    for _ in range(300):
        folder = folder / "d"
    os.makedirs(folder)
    (folder / "f").write_text("x")
    assert list(found(tmp_path).values()) == [None]


def test_a_zarr_store_in_the_tree_counts_once(tmp_path):
    (tmp_path / "cache.zarr" / "part-0000").mkdir(parents=True)
    (tmp_path / "cache.zarr" / "zarr.json").write_text("{}")
    (tmp_path / "cache.zarr" / "part-0000" / "c").write_text("x")
    assert found(tmp_path) == {b"cache.zarr": "Zarr store, not DICOM"}


@pytest.mark.parametrize("name", [b"index.sqlite", b"index.sqlite-journal"])
def test_excluded_files_are_no_entries(tmp_path, name):
    (tmp_path / os.fsdecode(name)).write_text("x")
    assert found(tmp_path, excluded=frozenset({name})) == {}
