"""Rendering a page: one HTML file in which all text is escaped."""

import functools
import json
import secrets
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from pipelines.errors.escaping import printable
from upfusion.counted import counted


def render(template: Path, **values: Any) -> bytes:
    """Fill a template, which may extend `page.html.jinja` of this package, and return the page as UTF-8."""
    page = _environment(template.parent).get_template(template.name)
    return page.render(**values, nonce=secrets.token_urlsafe(16)).encode("utf-8", "replace")


@functools.cache
def _environment(folder: Path) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, Path(__file__).parent]),
        autoescape=True,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"setting": _setting, "seconds": _seconds, "counted": counted}
    return environment


def _shown(value: Any) -> Any:
    """Escape text for the page; only the template's own markup is markup."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _setting(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _seconds(value: float) -> str:
    if value < 120:
        return f"{value:.3g} s"
    return f"{value / 60:.0f} min" if value < 7200 else f"{value / 3600:.1f} h"
