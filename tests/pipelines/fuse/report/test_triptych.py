import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from pipelines.fuse.destination import Destination
from pipelines.fuse.report import triptych
from pipelines.fuse.report.triptych import draw_triptychs
from pipelines.fuse.schemas import output_schema
from pipelines.storage import objects as storage
from upfusion import panels as joined

RED, GREY, GREEN = (200, 0, 0), (90, 90, 90), (0, 200, 0)


def encoded(color: object, size: tuple[int, int] = (40, 24), mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size, color).save(buffer, "PNG")
    return buffer.getvalue()


def row(place: str, pair_id: str, **changed: Any) -> dict[str, Any]:
    """A fused pair of a red A and a grey B that came out green."""
    size = changed.pop("size", (40, 24))
    a, b = f"{place}/vi/{pair_id}.png", f"{place}/ir/{pair_id}.png"
    storage.write_bytes(a, encoded(RED, size))
    storage.write_bytes(b, encoded(GREY[0], size, "L"))
    fused = {"bytes": encoded(GREEN, size), "path": "x"}
    return {"pair_id": pair_id, "a_uri": a, "b_uri": b, "task": "ct_mri", "status": "ok", "fused": fused} | changed


def write(destination: Destination, *rows: dict[str, Any]) -> None:
    destination.write_pairs(pa.Table.from_pylist(list(rows), output_schema(())))


def panels(image: Image.Image) -> list[tuple[int, ...]]:
    """The colours in the middle of the three panels, which must fill them."""
    pixels = np.asarray(image)
    thirds = np.split(pixels, 3, axis=1)
    assert all((third == third[0, 0]).all() for third in thirds)
    return [tuple(third[0, 0].tolist()) for third in thirds]


def test_a_the_other_and_the_fused_image_stand_side_by_side(place):
    destination = Destination(f"{place}/out")
    write(destination, row(place, "x"))
    (image,) = draw_triptychs(destination, 3)
    assert image.size == (3 * 40, 24)
    assert panels(image) == [RED, GREY, GREEN]


def test_the_fused_image_may_lie_in_a_file(tmp_path):
    uri = f"{tmp_path}/x.png"
    storage.write_bytes(uri, encoded(GREEN))
    destination = Destination(str(tmp_path))
    write(destination, row(str(tmp_path), "x", fused={"bytes": None, "path": uri}, fused_uri=uri))
    assert panels(draw_triptychs(destination, 1)[0])[2] == GREEN


def test_as_many_as_asked_for_are_drawn_spread_over_the_files(tmp_path, monkeypatch):
    destination = Destination(str(tmp_path))
    for name in "abcdefghi":
        write(destination, row(str(tmp_path), name))
    files = destination.pair_files()
    read = []
    read_as = triptych.read_as
    monkeypatch.setattr(triptych, "read_as", lambda uri, schema: (read.append(uri), read_as(uri, schema))[1])
    assert len(draw_triptychs(destination, 3)) == 3
    assert read == [files[0], files[3], files[6]]
    assert len(draw_triptychs(destination, 20)) == 9


def test_failed_pairs_are_not_drawn_and_none_of_an_empty_destination(tmp_path):
    destination = Destination(str(tmp_path))
    assert draw_triptychs(destination, 3) == []
    write(destination, row(str(tmp_path), "a", status="failed", fused=None))
    assert draw_triptychs(destination, 3) == []
    write(destination, row(str(tmp_path), "b", status="failed", fused=None), row(str(tmp_path), "c"))
    assert len(draw_triptychs(destination, 3)) == 1


def test_a_pair_whose_sources_have_gone_or_changed_is_left_out(tmp_path):
    destination = Destination(str(tmp_path))
    for name in ("kept", "gone", "damaged"):
        write(destination, row(str(tmp_path), name))
    (tmp_path / "vi" / "gone.png").unlink()
    Path(tmp_path, "ir", "damaged.png").write_bytes(b"<html>")
    assert [panels(image) for image in draw_triptychs(destination, 3)] == [[RED, GREY, GREEN]]


def test_large_pictures_are_made_smaller(tmp_path, monkeypatch):
    monkeypatch.setattr(joined, "LONG_SIDE", 50)
    destination = Destination(str(tmp_path))
    write(destination, row(str(tmp_path), "x", size=(100, 60)))
    (image,) = draw_triptychs(destination, 1)
    assert image.size == (150, 30)
    assert panels(image) == [RED, GREY, GREEN]


def test_sixteen_bits_are_drawn_as_they_look(tmp_path):
    destination = Destination(str(tmp_path))
    pair = row(str(tmp_path), "x")
    storage.write_bytes(pair["b_uri"], encoded(90 * 257, mode="I;16"))
    write(destination, pair)
    assert panels(draw_triptychs(destination, 1)[0]) == [RED, GREY, GREEN]


def test_images_that_may_not_be_read_are_not_drawn(tmp_path):
    destination = Destination(str(tmp_path))
    uri = f"{tmp_path}/out.png"
    storage.write_bytes(uri, encoded(GREEN))
    write(destination, row(str(tmp_path), "x", fused={"bytes": None, "path": uri}, fused_uri=uri))
    for secret in (uri, f"{tmp_path}/vi/x.png", f"{tmp_path}/ir/x.png"):
        assert draw_triptychs(destination, 1, lambda one, secret=secret: one != secret) == []
    assert len(draw_triptychs(destination, 1, {uri, f"{tmp_path}/vi/x.png", f"{tmp_path}/ir/x.png"}.__contains__)) == 1


def test_a_row_without_its_image_is_left_out(tmp_path):
    destination = Destination(str(tmp_path))
    write(destination, row(str(tmp_path), "x", fused=None))
    assert draw_triptychs(destination, 1) == []
