"""The rigs of an archive: one for all of it, or one per camera, told apart by the ids of the pairs."""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from upfusion.registration.camera_names import ALL, camera_of
from upfusion.registration.rig import Rig, RigError, parse_object


@dataclass(frozen=True)
class RigSet:
    """Rigs by the name of their camera."""

    rigs: Mapping[str, Rig]
    """By camera; `ALL` names the only one where `per` is None."""
    per: str | None = None
    """What of a pair's id names its camera (`camera_of`)."""

    @classmethod
    def single(cls, rig: Rig) -> "RigSet":
        """Return a set of one rig for all pairs."""
        return cls({ALL: rig})

    def of(self, pair_id: str) -> tuple[str, Rig | None]:
        """Return the camera that a pair belongs to, and its rig; None where it has none."""
        camera = camera_of(pair_id, self.per)
        return camera, self.rigs.get(camera)

    def below(self, folders: Collection[str]) -> "RigSet":
        """Return the same rigs for ids that begin with one of these folders more."""
        if self.per is None:
            return self
        per = str(int(self.per) + 1) if self.per.isdigit() else f"*/{self.per}"
        return RigSet({f"{folder}/{camera}": rig for folder in folders for camera, rig in self.rigs.items()}, per)

    def digest(self) -> str:
        """Return a digest of everything that changes a warped pixel."""
        if self.per is None:
            return self.rigs[ALL].digest()
        named = {camera: rig.digest() for camera, rig in self.rigs.items()}
        return hashlib.sha256(json.dumps([self.per, named], sort_keys=True).encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """Return the rigs as JSON text: a rig as it is, or an object with `per` and `rigs`."""
        if self.per is None:
            return self.rigs[ALL].to_json()
        entries = ",\n".join(
            f"{json.dumps(camera, ensure_ascii=False)}: {rig.to_json().rstrip()}" for camera, rig in self.rigs.items()
        )
        return f'{{\n"per": {json.dumps(self.per)},\n"rigs": {{\n{entries}\n}}\n}}\n'

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> "RigSet":
        """Read what `to_json` wrote, parsed. Raises RigError."""
        if "rigs" not in values:
            return cls.single(Rig.from_json(json.dumps(values)))
        rigs, per = values["rigs"], values.get("per")
        if not isinstance(rigs, Mapping) or not isinstance(per, str):
            raise RigError("expected 'per' as text and 'rigs' as an object of rigs by camera")
        read = {}
        for camera, rig in rigs.items():
            try:
                read[str(camera)] = Rig.from_json(json.dumps(rig))
            except RigError as error:
                raise RigError(f"camera {camera!r}: {error}") from None
        try:
            camera_of("", per)
        except ValueError as error:
            raise RigError(str(error)) from None
        return cls(read, per)

    @classmethod
    def from_json(cls, text: str) -> "RigSet":
        """Read what `to_json` wrote. Raises RigError."""
        return cls.from_values(parse_object(text))
