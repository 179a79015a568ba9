"""How the documentation site is built: `make docs`, where every warning is an error.

The pages are Markdown that GitHub shows too. Their links leave `docs/`, so the source is
the whole repository, and `include_patterns` says what of it are pages.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib import metadata
from typing import Any

from celery import Task
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.ext import napoleon
from sphinx.util import logging

import celery_ranch

project = "celery-ranch"
copyright = "celery-ranch contributors"
release = version = metadata.version("celery-ranch")

extensions = ["myst_parser", "sphinx.ext.autodoc"]
root_doc = "docs/index"
include_patterns = ["docs/*.md", "docs/*/*.md", "examples/*/README.md", "*.md"]
exclude_patterns = ["README.md", "docs/README.md", "docs/plan.md", "build", "dist", "**/.*"]

#: Headings that a link may end at, named as GitHub names them.
myst_heading_anchors = 3

nitpicky = True
nitpick_ignore_regex = [
    ("py:exc", r"kombu\..*"),
    # Annotations also name what stands behind a public name, and is not told of.
    ("py:class", r".*"),
]
default_role = "code"
smartquotes_action = "D"
toc_object_entries_show_parents = "hide"
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
python_maximum_signature_line_length = 100
python_use_unqualified_type_names = True

html_theme = "furo"
html_title = "celery-ranch"
html_extra_path = ["site"]
html_copy_source = False
html_show_sphinx = False

logger = logging.getLogger(__name__)


def setup(app: Sphinx) -> None:
    """Register what is done beyond the settings; Sphinx calls this."""
    app.connect("autodoc-process-docstring", read_sections)
    app.connect("autodoc-skip-member", leave_out_options)
    app.connect("env-check-consistency", warn_of_untold_names)


def read_sections(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Turn a docstring's sections into fields.

    Napoleon's own extension takes what stands before a colon in an attribute's
    docstring for its type, so attributes are left as they are.
    """
    if what not in {"attribute", "property"}:
        parsed = napoleon.GoogleDocstring(lines, napoleon.Config(), app, what, name, obj, options)
        lines[:] = parsed.lines()


def leave_out_options(
    app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any
) -> bool | None:
    """Leave a task's options to Celery's documentation: binding a task writes them into bases."""
    is_option = isinstance(obj, (bool, int, float, str, type(None))) and hasattr(Task, name)
    return True if is_option else None


def warn_of_untold_names(app: Sphinx, env: BuildEnvironment) -> None:
    """Warn of each public name that no page of the reference documents."""
    told = env.domains.python_domain.objects
    for name in public_names():
        if name not in told:
            logger.warning("%s is public and not in the API reference", name)


def public_names() -> Iterator[str]:
    """Yield what users may import, and the methods and properties of the classes among it."""
    for name in celery_ranch.__all__:
        yield f"celery_ranch.{name}"
        public = getattr(celery_ranch, name)
        if inspect.isclass(public):
            for cls in public.__mro__:
                if cls.__module__.startswith("celery_ranch."):
                    yield from (f"celery_ranch.{name}.{method}" for method in methods_of(cls))


def methods_of(cls: type) -> Iterator[str]:
    """Yield the names of the public methods and properties that a class itself defines."""
    for name, value in vars(cls).items():
        is_method = inspect.isroutine(value) or isinstance(value, property)
        if is_method and not name.startswith("_"):
            yield name
