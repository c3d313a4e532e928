"""The documentation site: Sphinx, with Markdown and notebooks by MyST, formulas as MathML: no script, no network."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import chainrule

project = "chainrule"
version = release = chainrule.__version__
project_copyright = "chainrule's authors, MIT licence"
extensions = ["myst_nb", "sphinx.ext.autodoc", "house_style", "mathml"]
exclude_patterns = ["LICENSE"]
html_theme = "furo"
html_title = "chainrule"
html_static_path = [str(Path(__file__).parent / "static")]
html_css_files = ["site.css"]
html_show_sourcelink = html_copy_source = False
html_theme_options = {"navigation_with_keys": True, "top_of_page_buttons": []}
html_math_renderer = "mathml"
pygments_style, pygments_dark_style = "friendly", "github-dark"

default_role = "code"
nitpicky = False  # types of the standard library and of NumPy are named in signatures, and linked nowhere: no network
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
suppress_warnings = ["myst.header"]  # the changelog's sections
nb_execution_mode = "off"  # notebooks are shown with the outputs that they are kept with

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": False}
python_use_unqualified_type_names = True
add_module_names = False
