"""Folder names of public infrared-visible data sets, beyond those that name a sensor plainly.

FLIR ADAS 1 (`RGB`, `thermal_8_bit`, `thermal_16_bit`) and 2 (`video_rgb_test` with a table of partners), KAIST
(`visible`, `lwir`), DroneVehicle (`trainimg`, `trainimgr`). LLVIP, M3FD, MSRS and VTUAV name their folders `visible`
and `infrared`, `Vis` and `Ir`, `vi` and `ir`, `rgb` and `ir`.
"""

import json
from collections.abc import Mapping

from upfusion.cameras.file_names import Sensor

DATA_SET_FOLDERS: dict[str, Sensor] = {
    "lwir": "b",
    "tir": "b",
    "thermal_8_bit": "b",
    "thermal_16_bit": "b",
    **{f"{split}img": "a" for split in ("train", "val", "test")},
    **{f"{split}imgr": "b" for split in ("train", "val", "test")},
}
"""Folder names in lower case, with the side they hold."""

SECOND_CHOICE: dict[str, str] = {"thermal_16_bit": "thermal_8_bit"}
"""Folders whose images are left out where the other folder has one of the same shot."""

PARTNERS_FILE = "rgb_to_thermal_vid_map.json"
"""FLIR ADAS 2's table of partners: the name of a visible image to that of a thermal one, in folders of their own."""
LARGEST_PARTNERS_FILE = 64 << 20

PARTNERS_FOLDERS: dict[str, Sensor] = {"video_rgb_test": "a", "video_thermal_test": "b"}
"""The folders whose images that table is about."""


def parse_partners(data: bytes) -> Mapping[str, str]:
    """Read FLIR ADAS 2's table; raises ValueError where it is not one of names to names."""
    try:
        table = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{PARTNERS_FILE} is not valid JSON: {error}") from error
    if not isinstance(table, dict) or not all(isinstance(name, str) for name in table.values()):
        raise ValueError(f"{PARTNERS_FILE}: expected names of visible images, each with the name of a thermal one")
    return table
