"""The site: `sphinx-build -W docs docs/_build`."""

import sys
from pathlib import Path

import fastlstm

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "fastlstm"
project_copyright = "The fastlstm developers, BSD-3-Clause"
release = version = fastlstm.__version__
html_title = f"fastlstm {release}"
exclude_patterns = ["_build"]

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "committed",
    "mathml",
    "names",
]

myst_enable_extensions = ["deflist", "dollarmath"]
myst_heading_anchors = 3

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {"navigation_with_keys": True}
html_math_renderer = "mathml"
html_copy_source = False

copybutton_exclude = ".linenos, .gp, .go"

autodoc_default_options = {
    "members": True,
    "inherited-members": "tuple, ValueError, Exception, BaseException",
    "special-members": "__call__",
}
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "none"  # the docstrings have them, with shapes
autodoc_mock_imports = ["onnx", "torch"]
numpydoc_show_class_members = False  # autodoc does
default_role = "name"

nitpicky = True
