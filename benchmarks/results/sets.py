"""The test pairs, the images of other methods, and where the page lies.

Pairs and images lie beside a checkout on development machines (`../shared`); they are not part of the project.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHARED = (ROOT.parent / "shared").resolve()
DATA, PEERS = SHARED / "data", SHARED / "peers"
PICTURES = ROOT / "docs" / "results"

MODELS = ("tiny", "nano")
"""Those that ship; the first is what all others are compared with."""

INFRARED = ("msrs", "llvip", "m3fd", "roadscene", "tno", "fmb", "vifb", "m3svd", "llvip_half")
MEDICAL = {
    f"harvard/{name}": name.removesuffix("_cddfuse") for name in ("ct_mri", "pet_mri", "spect_mri", "pet_mri_cddfuse")
}
UNSEEN = {"nir_country": "nir_visible", "rgb_nir": "nir_visible", "sar_optical": "sar_optical"}
TRAINED_ON = ("llvip=0.5", "llvip_half=3", "roadscene", "m3svd=2.5")


def sets_of(tasks: dict[str, str]) -> tuple[str, ...]:
    """Name the sets as `upfusion evaluate` takes them."""
    return tuple(f"{name}:{task}={DATA / name}" for name, task in tasks.items())
