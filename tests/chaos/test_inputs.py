"""A whole job over an archive in which most files are damaged: each pair has its row, and no worker is lost."""

from collections import Counter
from pathlib import Path

import pytest

from pipelines.errors.failures import ERROR_CODES
from tests.end_to_end.test_fuse_archive import rows_of
from tests.image_files import BAD, HARMLESS, MAX_PIXELS, ORDINARY, coloured, damaged_files
from tests.processes import start_job
from tests.tally import COUNTED

pytestmark = [pytest.mark.slow, pytest.mark.extended]

DAMAGED = 2000
LOST_WORKERS = ("died", "crashed", "SIGSEGV", "Killed")


@pytest.mark.parametrize("seed", range(2))
def test_no_file_stops_a_job_or_loses_a_worker(seed: int, tmp_path: Path) -> None:
    files = [*damaged_files(DAMAGED, seed)]
    if seed == 0:
        files += [build() for build in (*ORDINARY.values(), *HARMLESS.values(), *(build for build, _ in BAD.values()))]
    partner = coloured("PNG")
    for number, data in enumerate(files):
        # Some damage lies in B, too.
        a, b = (data, partner) if number % 3 else (partner, data)
        for sensor, file in (("visible", a), ("infrared", b)):
            path = tmp_path / "in" / sensor / f"{number:05}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file)
    options = ("--no-tracking", "--runner", "ray", "--metrics", "none", "--verbose")
    command = ("fuse", tmp_path / "in", "--out", tmp_path / "out", *options)
    process = start_job(*command, "--max-pixels", MAX_PIXELS)
    said, _ = process.communicate(timeout=900)

    assert process.returncode == 3, said[-4000:]
    assert not [line for line in said.splitlines() if any(word in line for word in LOST_WORKERS)]
    rows = rows_of(tmp_path / "out")
    assert [row["pair_id"] for row in rows] == [f"{number:05}" for number in range(len(files))]
    codes = Counter(row["error_code"] for row in rows)
    assert set(codes) <= {None, *ERROR_CODES}
    assert codes["fuse_failed"] == codes["write_failed"] == 0
    COUNTED.update({"inputs tried": len(rows), "inputs fused": codes.pop(None)})
    COUNTED.update({f"inputs failed: {code}": count for code, count in codes.items()})
