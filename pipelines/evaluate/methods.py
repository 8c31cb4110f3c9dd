"""The methods of an evaluation: networks, baselines, and folders of fused images."""

import posixpath
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from pipelines.archive.splits import without_split
from pipelines.checkpoints.fusion_method import ONNX, FusionMethod, read_method
from pipelines.checkpoints.read import REGISTERED
from pipelines.errors.exceptions import UsageError
from pipelines.evaluate.sets import EvaluationSet
from pipelines.storage import objects as storage
from pipelines.storage.ownership import run_file
from upfusion.baselines import BASELINES, BASELINES_VERSION
from upfusion.file_names import is_image_name
from upfusion.presets import PRESETS

Kind = Literal["model", "baseline", "images"]

NAMED = re.compile(r"(?P<name>(?!\w+://)[^=/.~][^=]*)=(?P<what>.+)", re.DOTALL)


@dataclass(frozen=True)
class FusedImage:
    """A fused image of a pair in a method's folder."""

    uri: str
    version: str
    """A string that changes whenever the file does."""


@dataclass(frozen=True)
class Matched:
    """The images of a folder, matched with the pairs of a set."""

    images: dict[str, FusedImage]
    """By pair_id."""
    extra: list[str]
    """URIs of images that belong to no pair."""


@dataclass(frozen=True)
class Method:
    """One fusion method."""

    name: str
    kind: Kind
    what: str
    """The baseline's name, the model as given, or the folder."""
    network: FusionMethod | None = None
    """What a fuse job runs."""
    job: str | None = None
    """DEST of the fuse job whose images these are."""

    @property
    def identity(self) -> str:
        """Everything that affects its results, apart from files."""
        if self.kind == "baseline":
            return f"{self.what} in the colour of A, version {BASELINES_VERSION}"
        if self.network is None:
            return f"{self.kind} {self.what}"
        # Other runtimes than a method's own round differently.
        is_own = self.network.runtime == type(self.network).runtime
        return f"{self.kind} {self.network.digest}" + ("" if is_own else f" in {self.network.runtime}")


def find_methods(given: tuple[str, ...], tracking_uri: str | None) -> list[Method]:
    """Read every method's model or find its folder.

    Raises UsageError if there is none or a name is used twice.
    """
    methods = [_find(one, tracking_uri) for one in given]
    names = Counter(method.name for method in methods)
    if repeated := next((name for name, count in names.items() if count > 1), None):
        raise UsageError(f"two methods are called {repeated!r}; name them with NAME=METHOD")
    return methods


def match_images(method: Method, a_set: EvaluationSet, *, alone: bool) -> Matched:
    """Find the fused image of every pair of a set in a method's folder, by path and name and never by order.

    Images are in a sub-folder with the name of the set; if the set is `alone`, also in the folder itself. A
    file belongs to a pair if its path without suffix is the pair's id, with or without folders such as test; a file
    in no sub-folder also if its name is the last part of exactly one id. Raises UsageError if two files match one
    pair.
    """
    below = storage.join(method.what, a_set.name)
    files = _images_below(below)
    if not files and alone:
        below = method.what
        files = _images_below(below)
    pair_of = _names_of_pairs(a_set.ids)
    images: dict[str, FusedImage] = {}
    extra = []
    for uri, version in files.items():
        name = _name_below(below, uri)
        # Ids are Unicode-normalized (NFC); macOS stores names decomposed (NFD).
        pair_id = pair_of.get(name) or pair_of.get(unicodedata.normalize("NFC", name))
        if pair_id is None:
            extra.append(uri)
        elif pair_id in images:
            raise UsageError(
                f"{method.name} has two images of pair {pair_id!r} of {a_set.name}: {images[pair_id].uri} and {uri}. "
                "Keep one of them."
            )
        else:
            images[pair_id] = FusedImage(uri, version)
    return Matched(images, extra)


def _find(given: str, tracking_uri: str | None) -> Method:
    named = NAMED.fullmatch(given)
    name, what = (named["name"].strip(), named["what"]) if named else ("", given)
    if what in BASELINES:
        return Method(name or what, "baseline", what)
    if not _is_model(what):
        return _find_folder(name, what)
    label = what.removeprefix(REGISTERED) if what.startswith(REGISTERED) else PurePosixPath(what).stem
    return Method(name or label, "model", what, read_method(what, tracking_uri))


def _is_model(what: str) -> bool:
    """Tell a model from a folder, by its name or because it is a file."""
    if what.startswith((REGISTERED, ONNX)) or what in PRESETS or what.endswith(".safetensors"):
        return True
    return not storage.is_remote(what) and Path(storage.absolute(what)).is_file()


def _find_folder(name: str, what: str) -> Method:
    place = storage.absolute(what)
    try:
        there = storage.exists(place)
    except (OSError, ImportError, ValueError) as error:
        raise UsageError(f"method {what!r} cannot be read: {storage.redact(str(error))}") from error
    if not there:
        known = ", ".join([*BASELINES, *PRESETS])
        raise UsageError(
            f"no method {what!r}: neither one of {known}, nor a checkpoint (.safetensors, models:/...), nor onnx:FILE, "
            "nor a folder of fused images. Sets stand before --methods."
        )
    images = storage.join(place, "images")
    # The destination of a fuse job stands for the images in it.
    is_destination = storage.exists(run_file(place)) and storage.exists(images)
    folder, job = (images, place) if is_destination else (place, None)
    return Method(name or posixpath.basename(place), "images", folder, job=job)


def _images_below(folder: str) -> dict[str, str]:
    try:
        versions = storage.list_versions(folder)
    except OSError as error:
        raise UsageError(f"{folder} cannot be read: {storage.redact(str(error))}") from error
    # By parts, because a store may list objects under another alias of its scheme (s3:// for s3a://).
    depth = len(folder.split("/"))
    return {uri: version for uri, version in versions.items() if is_image_name("/".join(uri.split("/")[depth:]))}


def _name_below(folder: str, uri: str) -> str:
    # By parts, because a store may list objects under another alias of its scheme (s3:// for s3a://).
    path = PurePosixPath(*uri.split("/")[len(folder.split("/")) :])
    return str(path.with_suffix(""))


def _names_of_pairs(ids: list[str]) -> dict[str, str]:
    """Return the pair that a file's path means, None if it is ambiguous."""
    short = Counter(pair_id.rsplit("/", 1)[-1] for pair_id in ids)
    plain = Counter(map(without_split, ids))
    pair_of = {without_split(pair_id): pair_id for pair_id in ids if plain[without_split(pair_id)] == 1}
    # A name with folders never equals a last part, so this only adds files in no sub-folder.
    for pair_id in ids:
        last = pair_id.rsplit("/", 1)[-1]
        if short[last] == 1:
            pair_of[last] = pair_id
    return pair_of | {pair_id: pair_id for pair_id in ids}
