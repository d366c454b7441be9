"""Which plugin decodes which compressed transfer syntax, in a fixed order.

The order is fixed so that a file gives the same values on every machine; the first plugin is the
one whose output was found bit-exact and fastest.
"""

import warnings as python_warnings
from typing import Any

import numpy as np

from featurecache.errors import ReadError
from featurecache.reasons import DECODER_FAILED, DECODER_MISSING, PIXEL_FORMAT

_JPEG = ("gdcm", "pylibjpeg")
_JPEG_INSTALL = "pip install python-gdcm"
_J2K_INSTALL = "pip install python-gdcm pylibjpeg pylibjpeg-openjpeg"
_HTJ2K_INSTALL = "pip install pylibjpeg pylibjpeg-openjpeg"

PLUGIN_ORDER: dict[str, tuple[tuple[str, ...], str]] = {
    "1.2.840.10008.1.2.4.50": (_JPEG, _JPEG_INSTALL),
    "1.2.840.10008.1.2.4.51": (
        ("pylibjpeg", "gdcm"),
        "pip install 'featurecache[gpl]'",
    ),
    "1.2.840.10008.1.2.4.57": (_JPEG, _JPEG_INSTALL),
    "1.2.840.10008.1.2.4.70": (_JPEG, _JPEG_INSTALL),
    "1.2.840.10008.1.2.4.80": (("pyjpegls", "gdcm"), "pip install pyjpegls"),
    "1.2.840.10008.1.2.4.81": (("pyjpegls", "gdcm"), "pip install pyjpegls"),
    "1.2.840.10008.1.2.4.90": (("gdcm", "pylibjpeg"), _J2K_INSTALL),
    "1.2.840.10008.1.2.4.91": (("gdcm", "pylibjpeg"), _J2K_INSTALL),
    "1.2.840.10008.1.2.4.201": (("pylibjpeg",), _HTJ2K_INSTALL),
    "1.2.840.10008.1.2.4.202": (("pylibjpeg",), _HTJ2K_INSTALL),
    "1.2.840.10008.1.2.4.203": (("pylibjpeg",), _HTJ2K_INSTALL),
    "1.2.840.10008.1.2.5": (("pylibjpeg", "pydicom"), "pip install pylibjpeg pylibjpeg-rle"),
}
"""Transfer syntax UID -> (plugins in order, line that installs the first)."""


def decode_frame(
    frame: bytes,
    syntax: str,
    *,
    rows: int,
    columns: int,
    bits_allocated: int,
    bits_stored: int,
    pixel_representation: int,
) -> tuple[np.ndarray, list[str]]:
    """Decompress one frame without touching unused bits.

    Parameters
    ----------
    frame : bytes
        One compressed frame.
    syntax : str
        Transfer syntax UID.
    rows, columns, bits_allocated, bits_stored, pixel_representation : int
        Image Pixel module.

    Returns
    -------
    cells : ndarray (H, W)
        The whole container, signed if PixelRepresentation is 1.
    warnings : list of str
        Told when the first plugin failed and another did the work.

    Raises
    ------
    ReadError
        "decoder not installed" with the line that installs it, or "decoder failed".
    """
    from pydicom.pixels import get_decoder

    if syntax not in PLUGIN_ORDER:
        raise ReadError(PIXEL_FORMAT, f"transfer syntax {syntax} is not one for CT images")
    order, install = PLUGIN_ORDER[syntax]
    decoder = get_decoder(syntax)
    installed = [plugin for plugin in order if plugin in decoder.available_plugins]
    if not installed:
        raise ReadError(DECODER_MISSING, f"transfer syntax {syntax}; {install}")
    options: dict[str, Any] = {
        "rows": rows,
        "columns": columns,
        "number_of_frames": 1,
        "samples_per_pixel": 1,
        "photometric_interpretation": "MONOCHROME2",
        "bits_allocated": bits_allocated,
        "bits_stored": bits_stored,
        "pixel_representation": pixel_representation,
        "pixel_keyword": "PixelData",
    }
    if not syntax.startswith(("1.2.840.10008.1.2.4.8", "1.2.840.10008.1.2.4.9")):
        options["correct_unused_bits"] = False
    failures = []
    for plugin in installed:
        try:
            cells = _decode(decoder, _encapsulated(frame), plugin, options)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # plugins raise anything, those in Rust no Exception
            failures.append(f"{plugin}: {error}"[:200])
            continue
        return cells, [f"decoded by {plugin}: the usual decoder failed"] if failures else []
    raise ReadError(DECODER_FAILED, "; ".join(failures))


def _decode(decoder: Any, data: bytes, plugin: str, options: dict[str, Any]) -> np.ndarray:
    with python_warnings.catch_warnings():
        python_warnings.simplefilter("ignore")
        cells, _ = decoder.as_array(data, index=0, raw=True, decoding_plugin=plugin, **options)
    expected = (options["rows"], options["columns"])
    if cells.shape != expected:
        raise ValueError(f"decoded shape {cells.shape}, expected {expected}")
    return np.asarray(cells).astype(cells.dtype.newbyteorder("="), copy=False)


def _encapsulated(frame: bytes) -> bytes:
    """Return a frame as the value of a pixel data element with an empty offset table."""
    frame += b"\x00" * (len(frame) % 2)
    item = b"\xfe\xff\x00\xe0"
    return b"".join(
        (
            item,
            bytes(4),
            item,
            len(frame).to_bytes(4, "little"),
            frame,
            b"\xfe\xff\xdd\xe0",
            bytes(4),
        )
    )
