"""Rows read straight from chunk files are what zarr reads, and damage does not pass."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from zarr.codecs import Crc32cCodec, ZstdCodec

from featurecache.plain_array import PlainArray, is_plain

FLAT: Any = {"name": "default", "separator": "."}


def make(
    folder: Path, values: np.ndarray, rows: int, *, compressors: Any = None, **how: Any
) -> dict[str, Any]:
    """Write an array as the store does, or otherwise; its metadata."""
    array = zarr.create_array(
        str(folder), shape=values.shape, chunks=(rows, *values.shape[1:]), dtype=values.dtype,
        fill_value=how.pop("fill_value", 0), filters=None,
        compressors=compressors or [Crc32cCodec()],
        **{"chunk_key_encoding": FLAT, "overwrite": True, **how},
    )  # fmt: skip
    array[:] = values
    return json.loads((folder / "zarr.json").read_bytes())


@given(data=st.data())
def test_any_rows_are_what_zarr_reads(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    n, d = data.draw(st.integers(1, 40)), data.draw(st.sampled_from([None, 1, 3]))
    dtype = data.draw(st.sampled_from(["float16", "float32", "uint8"]))
    rows = data.draw(st.integers(1, 45))
    shape = (n,) if d is None else (n, d)
    values = np.arange(1, np.prod(shape) + 1).reshape(shape).astype(dtype)
    folder = tmp_path_factory.mktemp("array") / "a"
    metadata = make(folder, values, rows)
    assert is_plain(metadata)
    array = PlainArray(folder, metadata)
    oracle = zarr.open_array(str(folder), mode="r")
    assert (array.shape, array.chunks, array.dtype) == (oracle.shape, oracle.chunks, oracle.dtype)
    start = data.draw(st.integers(0, n))
    stop = data.draw(st.none() | st.integers(start, n + 5))
    np.testing.assert_array_equal(array[start:stop], values[start:stop])
    np.testing.assert_array_equal(array[start:stop], np.asarray(oracle[start:stop]))
    first = data.draw(st.integers(0, n))  # of chunks that were compared with their checksums
    last = data.draw(st.integers(first, n))
    np.testing.assert_array_equal(array[first:last], values[first:last])


def test_rows_of_a_file_that_changed_are_compared_with_the_checksum_again(tmp_path: Path) -> None:
    values = np.arange(20, dtype=np.float32).reshape(10, 2)
    array = PlainArray(tmp_path / "a", make(tmp_path / "a", values, 4))
    np.testing.assert_array_equal(array[1:3], values[1:3])
    np.testing.assert_array_equal(array[2:4], values[2:4])
    path = tmp_path / "a/c.0.0"
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.unlink()
    path.write_bytes(data)
    with pytest.raises(ValueError, match="checksum"):
        array[0:1]  # though the damage is in another row


@pytest.mark.parametrize(("dtype", "fill_value"), [("float16", float("nan")), ("uint8", 0)])
def test_a_chunk_that_is_not_there_is_fill_values(
    tmp_path: Path, dtype: str, fill_value: float
) -> None:
    metadata = make(tmp_path / "a", np.ones((10, 2), dtype), 4, fill_value=fill_value)
    (tmp_path / "a/c.1.0").unlink()
    found = PlainArray(tmp_path / "a", metadata)[:]
    np.testing.assert_array_equal(found, np.asarray(zarr.open_array(str(tmp_path / "a"))[:]))
    np.testing.assert_array_equal(found[4:8], np.full((4, 2), fill_value, dtype))


@pytest.mark.parametrize("chunk", [0, 2])
@pytest.mark.parametrize("damage", ["flip", "flip checksum", "cut", "cut checksum", "longer"])
def test_a_damaged_chunk_is_refused_and_the_others_are_read(
    tmp_path: Path, damage: str, chunk: int
) -> None:
    values = np.arange(20, dtype=np.float32).reshape(10, 2)
    array = PlainArray(tmp_path / "a", make(tmp_path / "a", values, 4))
    path = tmp_path / f"a/c.{chunk}.0"
    data = path.read_bytes()
    flipped = {"flip": 5, "flip checksum": len(data) - 1}.get(damage, 0)
    path.write_bytes({
        "cut": data[:9], "cut checksum": data[:-1], "longer": data + b"\0",
    }.get(damage, data[:flipped] + bytes([data[flipped] ^ 1]) + data[flipped + 1 :]))  # fmt: skip
    with pytest.raises(ValueError, match=r"checksum|bytes"):
        array[4 * chunk : 4 * chunk + 1]
    np.testing.assert_array_equal(array[4:8], values[4:8])


def test_what_is_laid_out_otherwise_is_left_to_zarr(tmp_path: Path) -> None:
    values = np.ones((8, 4), np.float32)
    other = {
        "compressed": {"compressors": [ZstdCodec(), Crc32cCodec()]},
        "folders": {"chunk_key_encoding": {"name": "default", "separator": "/"}},
        "shards": {"shards": (8, 4)},
        "big-endian": {"serializer": zarr.codecs.BytesCodec(endian="big")},
    }
    for name, how in other.items():
        assert not is_plain(make(tmp_path / name, values, 4, **how)), name
    assert not is_plain(make(tmp_path / "type", values.astype(np.float64), 4))
    metadata = make(tmp_path / "plain", values, 4)
    assert is_plain(metadata)
    metadata["chunk_grid"]["configuration"]["chunk_shape"] = [4, 2]
    assert not is_plain(metadata)
