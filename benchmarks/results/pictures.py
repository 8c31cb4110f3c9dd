"""The contact sheet of docs/results.md: night, smoke, day, medical, radar and near infrared pairs, to be looked at."""

import io
from pathlib import Path

import pyarrow.compute as pc
from PIL import Image

import upfusion
from benchmarks.results.page import write_sections
from benchmarks.results.sets import DATA, MODELS, PICTURES
from pipelines.archive.config import ArchiveConfig
from pipelines.archive.discover import discover
from pipelines.evaluate.figures.contact_sheet import SheetRow, draw_contact_sheet
from pipelines.evaluate.figures.figure_files import render_png
from upfusion.baselines import BASELINES
from upfusion.color import luma8
from upfusion.images import read_image

SHEET = PICTURES / "pictures.jpg"
SHOWN = (
    # what it shows, set, task, end of the pair's id; without one, the first pair
    ("night", "msrs", "ir_visible", "00028N"),
    ("smoke", "m3fd", "ir_visible", "00388"),
    ("day", "roadscene", "ir_visible", ""),
    ("CT + MRI", "harvard/ct_mri", "ct_mri", ""),
    ("PET + MRI", "harvard/pet_mri", "pet_mri", ""),
    ("optical + SAR", "sar_optical", "sar_optical", ""),
    ("near infrared", "nir_country", "nir_visible", ""),
)


def write(folder: Path) -> None:  # noqa: ARG001  # every part has it
    """Fuse the pairs, draw the sheet, and put it into its section; what is seen on it is written by hand."""
    models = {name: upfusion.load(name) for name in MODELS}
    rows = []
    for what, name, task, ending in SHOWN:
        source = DATA / name / "test" if (DATA / name / "test").is_dir() else DATA / name
        pairs = discover(ArchiveConfig(source=str(source), task=task)).pairs
        pair = pairs.filter(pc.ends_with(pairs["pair_id"], ending)).to_pylist()[0]
        a, b = (read_image(pair[side]) for side in ("a_uri", "b_uri"))
        images = {"A": a, "B": b} | {model: models[model].fuse(a, b, task=task) for model in MODELS}
        images["laplacian, luma"] = BASELINES["laplacian"](luma8(a), luma8(b)).round().clip(0, 255).astype("uint8")
        rows.append(SheetRow(f"{what}: {name} {pair['pair_id']}", images))
    figure = draw_contact_sheet("Test pairs, as they come out of a job", rows)
    with Image.open(io.BytesIO(render_png(figure))) as sheet:
        sheet.convert("RGB").save(SHEET, quality=85)
    write_sections({"## Pictures": f"![Test pairs: A, B, fused](results/{SHEET.name})\n\n{SEEN.strip()}"})


SEEN = """
What was looked for: amplified noise, halos, a grey veil over colour, people that fade into smoke or sky, seams. What
was seen:

- Night: cyclist and pedestrians come from the infrared image, signs and lamps keep their colour; the noise of the
  road is not stronger than in A.
- Smoke: people, car and towers stand out of it, the traffic light stays red. The smoke's own tint remains on what
  the infrared image adds.
- Day: trees and sky keep their colour. The infrared image's dark sky leaves clouds in it that are greyer than A's, and
  the shaded side of cars turns lighter.
- CT and PET: bone stays white where the pyramid greys it; gyri are drawn through the PET colours and keep
  their hue.
- SAR: banks and fields have the radar's structure in the optical colours; its speckle comes along where it is bright.
- Near infrared: leaves become lighter; the clouds of both are there.
- No seams, blocks or halos were found on these pairs.
"""
