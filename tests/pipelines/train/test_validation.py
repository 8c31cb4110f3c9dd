import hashlib
import io

import numpy as np
import pytest
import torch
from PIL import Image

from pipelines.checkpoints.read import read_model
from pipelines.train.disk_cache import ImageCache
from pipelines.train.prepared import PairReader
from pipelines.train.validation import METRICS, Validator, mean_of
from tests.archives import make_archive
from upfusion.color import luma8
from upfusion.images import read_image
from upfusion.metrics import measure
from upfusion.model import FusionModel


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("val")
    rows = []
    for name in make_archive(folder, 2):
        row = {"pair_id": name, "task": "ir_visible", "prompt": None}
        for side, sensor in (("a", "visible"), ("b", "infrared")):
            path = folder / sensor / f"{name}.png"
            row |= {f"{side}_uri": str(path), f"{side}_sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        rows.append(row)
    return rows


def test_pairs_are_measured_as_the_fuse_job_measures_them_and_drawn(rows):
    checkpoint, _ = read_model("tiny")
    texts = {("ir_visible", None): checkpoint.prompts["ir_visible"].embedding}
    validator = Validator(rows, texts, PairReader(ImageCache(0)), "fp32")
    measured, pictures = validator.validate(checkpoint, torch.device("cpu"), frozenset({"street_001"}))

    assert list(measured) == ["street_000", "street_001"]
    a, b = (read_image(rows[1][f"{side}_uri"]) for side in ("a", "b"))
    fused = FusionModel(checkpoint, "cpu").fuse(a, b)
    lumas = [torch.from_numpy(luma8(image))[None, None] for image in (a, b, fused)]
    expected = {name: values[0] for name, values in measure(*lumas, METRICS).items()}
    assert measured["street_001"] == pytest.approx(expected)

    assert list(pictures) == ["street_001"]
    sheet = np.asarray(Image.open(io.BytesIO(pictures["street_001"])))
    assert sheet.shape == (48, 3 * 64, 3)
    assert (sheet[:, :64] == a).all()
    assert (sheet[:, 64:128] == fused).all()
    assert (sheet[:, 128:] == b[..., None]).all()


def test_means_leave_out_what_has_no_value():
    empty = dict.fromkeys(METRICS)
    assert mean_of({"x": empty | {"vif": 0.25, "qp": 0.5}, "y": empty | {"vif": 0.75}}) == {"vif": 0.5, "qp": 0.5}
    assert mean_of({"x": empty}) == {}
