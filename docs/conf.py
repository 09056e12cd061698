"""Configuration of the documentation: `sphinx-build -W -b html docs docs/_build`."""

import os
import re
import shutil
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras_inception

HERE = Path(__file__).parent

project = "keras-inception"
author = "The keras-inception authors"
release = version = keras_inception.__version__
copyright = author  # noqa: A001, the name that Sphinx reads

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["_build", "jupyter_execute"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
suppress_warnings = ["misc.highlighting_failure"]

# Files that a page of the site includes or copies: on GitHub links lead to them, in the site to that page.
PAGES_OF = {
    "../saved_models/README.md": "tensorflow-serving.md",
    "../tuning/README.md": "tuning.md",
    "../examples/three_softmaxes.ipynb": "lesson.ipynb",
}

# The notebook lives with the examples; the build runs it, and shows what it prints.
shutil.copy(HERE.parent / "examples" / "three_softmaxes.ipynb", HERE / "lesson.ipynb")
nb_execution_mode = "force"
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_merge_streams = True
nb_execution_in_temp = True
nb_output_stderr = "remove"

# Docstrings are in Google's style, with single backticks for code.
default_role = "code"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False  # Keras documents its own methods
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_default_options = {"members": True}
maximum_signature_line_length = 88
python_use_unqualified_type_names = True

html_theme = "furo"
html_title = f"keras-inception {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]


def code_as_rest(app, what, name, obj, options, lines):
    """Turns fenced and indented blocks of docstrings into blocks of reStructuredText.

    A colon in the first line of a property, or of what is returned, is a dash: napoleon would read a type before it.
    """
    text = re.sub(
        r"^```\w*\n(.*?)^```$",
        lambda block: "::\n\n" + re.sub("^", "    ", block[1], flags=re.MULTILINE),
        "\n".join(lines),
        flags=re.MULTILINE | re.DOTALL,
    )
    if what == "module":
        text = re.sub(r"(?<=\n\n)(?= {4})(?<!::\n\n)", "::\n\n", text)
    if what == "property":
        text = text.replace(": ", " – ", 1) if ": " in lines[0] else text
    text = re.sub(r"^((?:Returns|Yields):\n[^\n]*?): ", r"\1 – ", text, flags=re.MULTILINE)
    lines[:] = text.split("\n")


def links_of_the_site(app, docname, source):
    """Lets links to the files of `PAGES_OF` lead to their pages."""
    for file, page in PAGES_OF.items():
        source[0] = source[0].replace(f"]({file}", f"]({page}")


def setup(app):
    """Connects what the build changes."""
    app.connect("source-read", links_of_the_site)
    app.connect("autodoc-process-docstring", code_as_rest, priority=100)
