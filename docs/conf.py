"""How the documentation is built: `make docs`, with warnings as errors and without a network."""

import importlib.metadata
import os
import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS))

project = "tensortrain"
author = "The tensortrain developers"
copyright = "2026, the tensortrain developers"
release = version = importlib.metadata.version("tensortrain")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.extlinks",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    "command_pages",
    "docstrings",
    "model_pages",
    "result_tables",
]
exclude_patterns = ["_build", "gallery/*.ipynb", "gallery/*.py", "gallery/*.md5"]
default_role = "code"  # docstrings put names in single backticks

html_theme = "furo"
html_title = f"tensortrain {version}"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autosummary_generate = True
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
napoleon_google_docstring = True

# No inventory of PyTorch can be downloaded where the site is built, so links to it are spelled out.
extlinks = {"torch": ("https://docs.pytorch.org/docs/stable/generated/torch.%s.html", "torch.%s")}

# A notebook that is opened where nothing is installed, such as Colab, begins with this cell.
address = os.environ.get("REPOSITORY")
package = f"'tensortrain[zoo] @ git+{address or 'ADDRESS_OF_THE_REPOSITORY'}'"
installation = f"%pip install -q {package}" if address else f"# In Colab, first: %pip install -q {package}"

sphinx_gallery_conf = {
    "examples_dirs": [str(DOCS.parent / "examples")],
    "gallery_dirs": ["gallery"],
    "filename_pattern": r"/plot_",
    "remove_config_comments": True,
    "abort_on_example_error": True,
    "show_memory": False,
    "download_all_examples": False,
    "first_notebook_cell": f"{installation}\n%matplotlib inline",
}

# examples run on one thread: the machines that build the site are small
os.environ.setdefault("OMP_NUM_THREADS", "1")
