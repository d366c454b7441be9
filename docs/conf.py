"""Sphinx configuration: MyST pages, no remote assets."""

import sys
from importlib.metadata import version as _version
from pathlib import Path as _Path

sys.path.insert(0, str(_Path(__file__).parent))

import generate_systems

generate_systems.write(_Path(__file__).parent / "systems")

project = "featurecache"
author = "the featurecache authors"
copyright = author
release = _version("featurecache")

extensions = ["myst_parser"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]

html_theme = "alabaster"
html_theme_options = {
    "description": "Frozen CNN features of head CT, cached once",
    "fixed_sidebar": True,
    "page_width": "1000px",
}
html_copy_source = False
