"""Names of sensors, which say what is A and what is B: of folders, of columns of images, of members of tars."""

from pipelines.archive.camera_names import Side
from upfusion.cameras.layouts import DATA_SET_FOLDERS

# In lower case, with their side and, if the name alone implies it, the task.
SENSORS: dict[str, tuple[Side, str | None]] = {
    **dict.fromkeys(["visible", "vis", "vi", "rgb", "optical", "opt", "a"], ("a", None)),
    **dict.fromkeys(["infrared", "ir", "thermal", "inf", "b"], ("b", None)),
    **dict.fromkeys(["mri", "mr"], ("b", None)),
    "ct": ("a", "ct_mri"),
    "pet": ("a", "pet_mri"),
    "spect": ("a", "spect_mri"),
    "nir": ("b", "nir_visible"),
    "sar": ("b", "sar_optical"),
    **{folder: (side, None) for folder, side in DATA_SET_FOLDERS.items()},
}
