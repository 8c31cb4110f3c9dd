"""What a person sees of a fuse job."""

import io
import re
from dataclasses import replace
from typing import Any

import pyarrow as pa
from rich.console import Console

from jobs.console.fuse import NAMES_SHOWN, print_outcome, print_unpaired, warn_of_idle_prompt
from pipelines.archive.schema import Discovery
from pipelines.checkpoints.fusion_method import CheckpointMethod
from pipelines.fuse.counts import Counts, RecordingCounts
from pipelines.fuse.destination import Destination
from pipelines.fuse.job import Outcome
from pipelines.fuse.price import price_of
from pipelines.measure.summary import Undefined
from tests.values_in_text import numbers_in
from upfusion.checkpoint import EMBEDDED, parse_checkpoint
from upfusion.metrics import METRICS


def terminal(width: int = 120) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)


def unpaired(*uris: str) -> Discovery:
    return Discovery(pa.table({}), list(uris))


def test_images_without_a_partner_are_named_as_they_are():
    console = Console(file=io.StringIO(), width=120)
    print_unpaired(console, unpaired("/data/vi/[red]1[/].png", "s3://b/ir/2.png"))
    title, *names = console.file.getvalue().splitlines()
    assert numbers_in(title) == ["2"]
    assert names == ["  /data/vi/[red]1[/].png", "  s3://b/ir/2.png"]


def test_of_many_images_without_a_partner_some_are_named():
    console = Console(file=io.StringIO(), width=120)
    print_unpaired(console, unpaired(*map(str, range(NAMES_SHOWN + 3))))
    output = console.file.getvalue().splitlines()
    assert numbers_in(output[0]) == [str(NAMES_SHOWN + 3)]
    assert output[1 : NAMES_SHOWN + 1] == [f"  {number}" for number in range(NAMES_SHOWN)]
    assert numbers_in(output[-1]) == ["3"]


def test_nothing_is_said_where_every_image_has_a_partner():
    console = Console(file=io.StringIO())
    print_unpaired(console, unpaired())
    assert console.file.getvalue() == ""


def test_a_long_name_stays_on_its_line():
    console = Console(file=io.StringIO(), width=40)
    print_unpaired(console, unpaired("/data/" + "n" * 100 + " 1.png"))
    assert console.file.getvalue().splitlines()[-1] == "  /data/" + "n" * 100 + " 1.png"


def test_a_prompt_that_does_nothing_is_warned_of():
    shipped = parse_checkpoint((EMBEDDED / "tiny.safetensors").read_bytes(), "tiny")
    older = replace(shipped, name="[older]", config=replace(shipped.config, text_gate=False))
    for checkpoint, prompt, expected in (
        (older, "less noise", "[older]"),
        (older, None, ""),
        (shipped, "less noise", ""),
    ):
        console = Console(file=io.StringIO(), width=120)
        warn_of_idle_prompt(console, prompt, CheckpointMethod(checkpoint, b""))
        assert ("--prompt" in console.file.getvalue()) == bool(expected)
        assert expected in console.file.getvalue()


def outcome(**changed: Any) -> Outcome:
    settings = {"destination": Destination("/out"), "pairs": 10, "ok": 10, "failed": 0, "fused_now": 10, "seconds": 4.0}
    settings |= changed
    settings.setdefault("counts", Counts(*(settings[name] for name in ("pairs", "ok", "failed"))))
    return Outcome(**settings)


def table(**changed: Any) -> dict[str, str]:
    """The rows of the table as {heading: text}."""
    console = Console(file=io.StringIO(), width=120)
    print_outcome(console, outcome(**changed))
    rows = [line.split(maxsplit=1) for line in console.file.getvalue().splitlines()]
    return {row[0]: row[1].strip() for row in rows if len(row) == 2}


def test_an_outcome_says_what_came_out_and_where():
    rows = table()
    assert list(rows) == ["Result", "Speed", "Images", "Rows", "Report"]
    assert numbers_in(rows["Result"]) == ["10", "10"]
    assert rows["Speed"].startswith("2.50 pairs/s")
    assert "upfusion export /out --to " in rows["Images"]
    assert rows["Rows"] == "/out/pairs/*.parquet"
    assert rows["Report"] == "/out/report.html"


def test_an_outcome_says_what_failed_was_there_before_and_was_left_out():
    rows = table(ok=7, failed=3, fused_now=4, unpaired=["x", "y"], tracked="run 1 in http://mlflow")
    assert numbers_in(rows["Result"]) == ["7", "10", "6", "3"]
    assert numbers_in(rows["Skipped"]) == ["2"]
    assert rows["MLflow"] == "run 1 in http://mlflow"
    assert "Speed" not in table(fused_now=0)


def test_an_outcome_shows_the_first_image_and_the_first_failures():
    rows = table(failed=3, first_image="/out/images/FLIR_1.png", failures=("a (empty_file): [x] is empty", "b: bad"))
    assert rows["Images"].startswith("/out/images,")
    assert rows["Images"].endswith(" /out/images/FLIR_1.png")
    assert rows["Failures"] == "a (empty_file): [x] is empty"
    assert rows["b:"] == "bad"
    assert numbers_in(rows["and"]) == ["1"]


def test_an_outcome_has_its_price():
    assert re.match(r"3,600 pairs\b.*\b0\.00278\b", table(price=price_of(2.5, 4.0, 10, 0))["Cost"])
    assert price_of(1000.0, 3600.0, 1, 20).describe().startswith("0.02 frames ")
    assert price_of(None, 4.0, 10, 0) is price_of(2.5, 4.0, 0, 0) is None


def test_an_outcome_counts_recordings_not_segments():
    about = {"recording": "cam", "uri": "/out/recordings/cam.mp4", "missing": [], "note": None}
    gap = about | {"uri": None, "missing": [{"from": None, "to": None, "error_code": "not_synchronised"}]}
    counts = Counts(0, 0, 0, RecordingCounts(recordings=1, recordings_ok=1, segments=12))
    rows = table(pairs=12, ok=12, fused_now=11, frames_now=100, counts=counts, recordings=[about])
    assert numbers_in(rows["Result"]) == ["1", "1", "1"]
    assert rows["Speed"].startswith("25.00 frames/s")
    assert rows["Recordings"].endswith(" /out/recordings/cam.mp4")
    assert "Images" not in rows
    mixed = Counts(1, 1, 0, RecordingCounts(2, 0, 1, 1, 5, 2))
    rows = table(pairs=6, ok=4, failed=2, fused_now=6, counts=mixed, recordings=[about, gap])
    assert numbers_in(rows["Result"]) == ["1", "1", "0", "2", "1", "1"]
    assert "not_synchronised" in rows["cam:"]


def test_an_outcome_says_which_metrics_have_no_value_and_why():
    flat, both = Undefined(1, ("B is flat",)), Undefined(3, ("A is flat", "B is flat"))
    rows = table(undefined={"vif": flat, "ssim": flat, "qy": both})
    assert re.search(r"\bvif, ssim\b.*\b1\b.*B is flat$", rows["No"])
    assert re.search(r"\b3\b.*A is flat.*B is flat$", rows["qy"])


def test_an_outcome_shows_every_metric_with_its_name():
    numbers = {"mean": 0.5, "p5": 0.25, "p50": 0.5554, "p95": 1.0}
    assert table(aggregates={"vif": numbers})["vif"].split(maxsplit=4) == [
        "0.500", "0.250", "0.555", "1.000", METRICS["vif"].title,
    ]  # fmt: skip


def test_places_are_shown_as_they_are_on_one_line():
    long = "n" * 100
    rows = table(destination=Destination(f"/out/[bold]{long}[/bold]"), tracked="run 1 in sqlite:////[x]/mlflow.db")
    assert rows["Rows"] == f"/out/[bold]{long}[/bold]/pairs/*.parquet"
    assert rows["Report"] == f"/out/[bold]{long}[/bold]/report.html"
    assert rows["MLflow"] == "run 1 in sqlite:////[x]/mlflow.db"
