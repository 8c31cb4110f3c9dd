"""The page of a rig: what it does, how sure it is, and pictures that show it; one self-contained file."""

import functools
import json
import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from pipelines.align.config import AlignConfig
from pipelines.errors.escaping import printable
from pipelines.rigs.load import Viewed
from pipelines.rigs.pictures import as_jpeg, checkerboards, residuals
from pipelines.storage import objects as storage
from upfusion.registration.estimate import pooled_score
from upfusion.registration.rig import Rig
from upfusion.registration.rig_set import RigSet

_SHOWN = 3
_WORST = 3
_FOR_RESIDUALS = 16


def write_page(
    uri: str, config: AlignConfig, rigs: RigSet, shown: Mapping[str, Mapping[str, Any]], refused: Mapping[str, str]
) -> None:
    """Write the page of an archive's rigs; `shown` is what `describe_camera` gives of each, parsed."""
    cameras = [
        {"name": name, "rig": rig, "description": rig.describe(), **shown[name]} for name, rig in rigs.rigs.items()
    ]
    page = _template().render(
        source=config.source, arguments=config.shell_arguments, file=shlex.quote(config.out), cameras=cameras,
        refused=dict(refused), written=datetime.now(UTC),
    )  # fmt: skip
    storage.write_bytes(uri, page.encode("utf-8", "replace"))


def describe_camera(rig: Rig, pairs: Sequence[Viewed]) -> str:
    """Return what the page shows of one rig and the pairs it was estimated from, as JSON text."""
    scored = sorted(((pooled_score([one.views], rig.matrix, rig.field), one) for one in pairs), key=lambda s: s[0])
    best = [one for _, one in reversed(scored)][:_SHOWN]
    image, cells = residuals(rig, [one.views for one in pairs][:_FOR_RESIDUALS])
    lengths = np.hypot(cells.displacement[:, 0], cells.displacement[:, 1])
    described = {
        "pairs": [_shown(rig, one) for one in best],
        "worst": [(score, _shown(rig, one)) for score, one in scored[:_WORST]] if len(pairs) > _SHOWN else [],
        "residual": as_jpeg(image),
        "median": float(np.median(lengths)) if len(lengths) else None,
        "cells": len(lengths),
    }
    return json.dumps(described)


def _shown(rig: Rig, one: Viewed) -> dict[str, Any]:
    before, after = checkerboards(rig, one.views)
    return {"pair_id": one.pair_id, "before": as_jpeg(before), "after": as_jpeg(after)}


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, finalize=_finalize,
        trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    return environment.get_template("rig.html.jinja")


def _finalize(value: Any) -> Any:
    return printable(value) if isinstance(value, str) else value
