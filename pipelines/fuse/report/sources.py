"""Pictures of the pairs of a fuse job as they were fused: in their ranges, B warped, A cropped to what both see."""

import base64
import io
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Literal

from PIL import Image

from pipelines.archive.allowlist import MayRead
from pipelines.archive.load import SourceError, read_sources
from pipelines.errors.exceptions import UsageError
from pipelines.rigs.pictures import as_jpeg, checkerboards
from pipelines.sources.preparation import Preparation
from pipelines.sources.settings import settings_of_run
from pipelines.storage import objects as storage
from upfusion.cameras.ranges import Values
from upfusion.color import Pixels
from upfusion.image_guard import PILLOWS_LIMIT
from upfusion.images import decode_image, to_8_bits
from upfusion.registration.rig_set import RigSet
from upfusion.registration.views import view

LONG_SIDE = 960  # pixels
Picture = dict[str, Any]
"""`src`, `size` and `uri` of a picture, or `error` and `uri` where there is none."""
Boards = dict[str, str]
"""`before` and `after`, as data URIs, and the `name` of the pair."""


class FusedSources:
    """Reads the sources of rows as the job of a DEST fused them; they may have changed or gone since."""

    def __init__(self, dest: str, run: Mapping[str, Any], may_read: MayRead) -> None:
        self.may_read = may_read
        self.preparation: Preparation | None = None
        self.rigs: RigSet | None = None
        with suppress(UsageError, ValueError):  # rig.json is gone, or the settings are those of another version
            settings = settings_of_run(dest, run)
            self.preparation, self.rigs = settings.preparation, settings.rigs

    def pair(self, row: Mapping[str, Any]) -> tuple[Pixels, Pixels] | None:
        """Return A and B of a row as they were fused, None where that is no longer possible; raises OSError."""
        if self.preparation is None or not all(self.may_read(row[side]) for side in ("a_uri", "b_uri")):
            return None
        files = [storage.read_bytes(row[side]) for side in ("a_uri", "b_uri")]
        return self.preparation.pair(_with_files(row, *files), PILLOWS_LIMIT)

    def frames(self, name: str, a: Pixels | None, b: Pixels | None) -> tuple[Pixels | None, Pixels | None]:
        """Return frames of a recording as they were fused; as they are stored where one is gone."""
        if a is None or b is None or self.preparation is None:
            return a, b
        row = {"pair_id": name, "task": None, "a_uri": name, "b_uri": name, "error_code": None, "error": None}
        return self.preparation.frames(row, a, b) or (a, b)

    def boards(self, name: str, a: Values, b: Values) -> Boards | None:
        """Return A and B `(H, W)` or `(H, W, 3)` as checkerboards before and after their rig; None without one."""
        rig = None if self.rigs is None else self.rigs.of(name)[1]
        if rig is None:
            return None
        before, after = (as_jpeg(board) for board in checkerboards(rig, (view(a), view(b))))
        return {"name": name, "before": before, "after": after}

    def boards_of(self, row: Mapping[str, Any]) -> Boards | None:
        """Return the same of a row; None where a source is gone, too."""
        files = [_read(row[side], self.may_read) for side in ("a_uri", "b_uri")]
        if self.rigs is None or not all(isinstance(file, bytes) for file in files):
            return None
        try:
            a, b = read_sources(_with_files(row, *files), PILLOWS_LIMIT)  # type: ignore[arg-type]
            return self.boards(row["pair_id"], a.values, b.values)
        except (SourceError, ValueError):
            return None

    def pictures(self, row: Mapping[str, Any]) -> tuple[Picture, Picture]:
        """Return pictures of A and B of a row; of one whose partner is gone, without the rig."""
        sides: tuple[Literal["a"], Literal["b"]] = ("a", "b")
        read = {side: _read(row[f"{side}_uri"], self.may_read) for side in sides}
        a_file, b_file = read["a"], read["b"]
        if isinstance(a_file, bytes) and isinstance(b_file, bytes) and self.preparation is not None:
            pair = self.preparation.pair(_with_files(row, a_file, b_file), PILLOWS_LIMIT)
            if pair is not None:
                return to_picture(pair[0], row["a_uri"]), to_picture(pair[1], row["b_uri"])
        a, b = (self._alone(side, row[f"{side}_uri"], read[side]) for side in sides)
        return a, b

    def _alone(self, side: Literal["a", "b"], uri: str, data: bytes | Picture) -> Picture:
        if not isinstance(data, bytes):
            return data
        if self.preparation is None:
            return {"error": "cannot be shown as it was fused: rig.json or run.json is gone or damaged", "uri": uri}
        try:
            return to_picture(self.preparation.alone(side, data, PILLOWS_LIMIT), uri)
        except Exception as error:  # noqa: BLE001 - whatever a decoder raises, the page shows its name
            return _gone(error, uri)


def fused_picture(row: Mapping[str, Any], may_read: MayRead) -> Picture:
    """Return a picture of the fused image of a row."""
    uri = row["fused_uri"]
    data = (row["fused"] or {}).get("bytes") or _read(uri, may_read)
    if not isinstance(data, bytes):
        return data
    try:
        # A job may allow more pixels than decode_image does by default.
        return to_picture(decode_image(data, PILLOWS_LIMIT).pixels, uri)
    except Exception as error:  # noqa: BLE001 - as above
        return _gone(error, uri)


def to_picture(pixels: Pixels, uri: str | None) -> Picture:
    """Return an image as a JPEG of at most 960 pixels, inside the page."""
    image = Image.fromarray(to_8_bits(pixels))
    image.thumbnail((LONG_SIDE, LONG_SIDE), Image.Resampling.LANCZOS)
    jpeg = io.BytesIO()
    image.save(jpeg, "JPEG", quality=85, subsampling=0, optimize=True)
    encoded = base64.b64encode(jpeg.getvalue()).decode()
    return {"src": f"data:image/jpeg;base64,{encoded}", "size": image.size, "uri": uri}


def _read(uri: str | None, may_read: MayRead) -> bytes | Picture:
    """Read a file, or say why there is no picture of it."""
    if uri is None:
        return {"error": "is not stored", "uri": None}
    if not may_read(uri):
        return {"error": "is outside the locations this job may read", "uri": uri}
    try:
        return storage.read_bytes(uri)
    except Exception as error:  # noqa: BLE001 - whatever a store raises, the page shows its name
        return _gone(error, uri)


def _gone(error: Exception, uri: str | None) -> Picture:
    return {"error": f"can no longer be read ({type(error).__name__})", "uri": uri}


def _with_files(row: Mapping[str, Any], a_file: bytes, b_file: bytes) -> dict[str, Any]:
    wanted = {name: row[name] for name in ("pair_id", "task", "a_uri", "b_uri")}
    return wanted | {"a_file": a_file, "b_file": b_file, "error_code": None, "error": None}
