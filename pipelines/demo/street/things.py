"""What stands in a street: its kinds of things, and the patches that each is drawn with."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Array = np.ndarray[Any, np.dtype[Any]]
Vector = Sequence[float] | Array

HEADLIGHT, TAIL_LIGHT = (1, 0.95, 0.85), (1, 0.04, 0.02)
BLACK, DARK = (0, 0, 0), (0.03, 0.03, 0.03)
SHOP, STOREY, CAR_LENGTH = 4.0, 3.2, 4.4  # metres
STEPS, WALK, WALK_SECONDS = 2.0, 1.2, 12.0  # steps a second; metres from their place that people walk, there and back


class Camera(NamedTuple):
    """A level pinhole camera: focal length and vanishing point in pixels, metres above the ground."""

    width: int
    height: int
    focal: float
    x: float
    y: float
    above: float

    def project(self, points_n3: Array) -> Array:
        """Place world points (n, 3) in the image, (n, 2) pixels."""
        x, y, z = points_n3.T
        return np.stack([self.x + self.focal * x / z, self.y + self.focal * (self.above - y) / z], axis=1)


class Building(NamedTuple):
    """A box between two x and two z, with windows every `pitch` metres."""

    x: tuple[float, float]
    z: tuple[float, float]
    height: float
    pitch: float
    albedo: Vector
    heat: float


class Light(NamedTuple):
    """A source of light: its colour times its power, gathered around a direction unless `focus` is 0."""

    position: Vector
    colour: Vector
    aim: Vector = BLACK
    focus: float = 0


class Patch(NamedTuple):
    """A flat polygon: corners (n, 3), the share of light it scatters, its heat, the light it gives off."""

    corners: Array
    albedo: Vector
    heat: float
    glow: Vector = BLACK


class Car(NamedTuple):
    """A car whose nearer end lies at z."""

    x: float
    z: float
    oncoming: bool
    moving: bool
    paint: Vector


class Person(NamedTuple):
    """Someone on foot."""

    x: float
    z: float
    height: float


class Scene(NamedTuple):
    """One street; `grain` (64, 64) is uniform noise from which both sensors take what is irregular."""

    camera: Camera
    kerbs: tuple[float, float]
    buildings: list[Building]
    cars: list[Car]
    people: list[Person]
    lights: list[Light]
    patches: list[Patch]
    crossing: float
    wetness: float
    grain: Array


def _limb(start: Vector, end: Vector, radii: Vector, z: float) -> Array:
    """Outline a rounded, tapering limb between two points (x, y), facing the camera."""
    turn = np.linspace(np.pi / 2, 3 * np.pi / 2, 8) + np.arctan2(end[1] - start[1], end[0] - start[0])
    circle = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    outline = np.concatenate([start + radii[0] * circle, end - radii[1] * circle])
    return np.column_stack([outline, np.full(len(outline), z)])


def lamp_patches(foot: float, head: float, top: float, z: float, glow: Vector) -> list[Patch]:
    """Draw a street lamp: metres from the middle of the street to its foot and its head, and its height."""
    return [
        Patch(_limb((foot, 0), (foot, top), (0.1, 0.06), z), (0.1, 0.1, 0.1), 0.2),
        Patch(_limb((foot, top), (head, top + 0.3), (0.06, 0.05), z), (0.1, 0.1, 0.1), 0.2),
        Patch(_limb((head - 0.25, top + 0.3), (head + 0.25, top + 0.3), (0.1, 0.1), z), DARK, 0.4),
        Patch(_limb((head - 0.2, top + 0.2), (head + 0.2, top + 0.2), (0.08, 0.08), z), DARK, 0.9, glow),
    ]


def tree_patches(rng: np.random.Generator, x: float, z: float, height: float) -> list[Patch]:
    """Leaves that chill towards the sky and keep warm inside: one dark shape, a texture in infrared."""
    count = int(np.clip(12000 / z, 150, 700))
    bough_k2 = rng.normal((x, height * 0.72), (0.9, height * 0.13), (8, 2))
    centre_n2 = bough_k2[rng.integers(8, size=count)] + rng.normal(0, 0.4, (count, 2))
    turn_n5 = rng.uniform(0, 2 * np.pi, (count, 1)) + np.arange(5) * 2 * np.pi / 5
    size_n1, depth_n = rng.uniform(0.06, 0.15, (count, 1)), np.linspace(1, 0, count)
    x_n5 = centre_n2[:, :1] + size_n1 * np.cos(turn_n5)
    y_n5 = centre_n2[:, 1:] + 0.7 * size_n1 * np.sin(turn_n5)
    leaf_n53 = np.stack([x_n5, y_n5, np.full_like(x_n5, z)], axis=-1)
    heat_n = 0.44 - 0.28 * (1 - depth_n) * rng.random(count) + rng.normal(0, 0.03, count)
    trunk = Patch(_limb((x, 0), (x, height * 0.7), (0.16, 0.08), z), (0.06, 0.05, 0.04), 0.34)
    leaves = [Patch(leaf, (0.03, 0.055, 0.02), heat) for leaf, heat in zip(leaf_n53, heat_n, strict=True)]
    return [trunk, *leaves]


def sign_patches(rng: np.random.Generator, word: str, neon: Vector, side: int, wall: float, z: float) -> list[Patch]:
    """Letters of glowing strips in a glowing frame: upright or level into the street, or flat on the wall."""
    style = rng.integers(3)
    text, font = "\n".join(word) if style == 0 else word, ImageFont.load_default(26)
    bitmap = Image.new("1", (400, 400))
    ImageDraw.Draw(bitmap).text((20, 20), text, 1, font, spacing=2, align="center", stroke_width=1)
    left, upper, right_end, lower = bitmap.getbbox() or (0, 0, 1, 1)
    bitmap = bitmap.crop((left - 6, upper - 6, right_end + 6, lower + 6))
    width, height = bitmap.size
    cell = min(rng.uniform(0.028, 0.038), 4.5 / height)
    right, down = np.array((0, 0, -side) if style == 2 else (1, 0, 0)) * cell, np.array((0, -cell, 0))
    start = wall - side * 0.1 if style == 2 else wall + 0.2 if side < 0 else wall - 0.2 - width * cell
    corner = np.array((start, rng.uniform(3.6, 4.4) + height * cell, z))

    def strip(x0: float, x1: float, y0: float, y1: float) -> Array:
        return np.array([corner + right * x + down * y for x, y in ((x0, y0), (x1, y0), (x1, y1), (x0, y1))])

    glow = np.multiply(neon, 3.2) + 0.1
    patches = [Patch(strip(0, width, 0, height), BLACK, 0.27, glow * 0.4)]
    patches.append(Patch(strip(1.5, width - 1.5, 1.5, height - 1.5), DARK, 0.27))
    for y, row in enumerate(np.asarray(bitmap)):
        edges = np.flatnonzero(np.diff(row.astype(int), prepend=0, append=0)).reshape(-1, 2)
        patches += [Patch(strip(x0, x1, y, y + 1.1), BLACK, 0.27, glow) for x0, x1 in edges]
    return patches


def person_patches(rng: np.random.Generator, person: Person, crossing: bool, seconds: float = 0) -> list[Patch]:
    """A walker of limbs, each warmer within than at its rim."""
    across = rng.choice([-1, 1]) * (rng.uniform(0.7, 1) if crossing else rng.uniform(0, 0.5))
    step, warmth = rng.choice([-1, 1]) * rng.uniform(0.6, 1), rng.uniform(0.9, 1)
    pace, turn = STEPS * seconds, np.sign(across) or 1
    person = person._replace(x=person.x + turn * WALK * np.sin(2 * np.pi * seconds / WALK_SECONDS))
    step *= np.cos(np.pi * pace)
    side, stride, lean, facing = abs(across), across * step, 0.04 * across, 1 - 0.6 * abs(across)
    coat, trousers, skin = rng.uniform(0.03, 0.14, 3), (0.05, 0.05, 0.06), (0.2, 0.14, 0.11)
    legs, arms = list[tuple[Any, ...]](), list[tuple[Any, ...]]()
    for s in (-1, 1):
        hip, foot, lift = 0.1 * s * facing, s * (0.3 * stride + 0.1 * facing), 0.06 + 0.08 * max(0, -s * step)
        knee, elbow = (hip + foot) / 2 + 0.07 * across, s * (0.24 * facing - 0.12 * stride) + lean
        hand = s * (0.22 * facing - 0.26 * stride) + lean + 0.07 * across
        legs.append(((foot, lift), (foot + 0.12 * across, lift - 0.01), (0.055, 0.045), 0.52, trousers))
        legs.append(((knee, 0.48), (foot, lift + 0.05), (0.075, 0.055), 0.68, trousers))
        legs.append(((hip, 0.92), (knee, 0.48), (0.105, 0.078), 0.76, trousers))
        arms.append(((0.21 * s * facing + lean, 1.36), (elbow, 1.1), (0.068, 0.06), 0.74, coat))
        arms.append(((elbow, 1.1), (hand, 0.88), (0.058, 0.045), 0.78, coat))
        arms.append(((hand, 0.86), (hand, 0.81), (0.045, 0.04), 0.95, skin))
    trunk = [
        ((0, 0.92), (lean, 1.3), (0.15 - 0.04 * side, 0.19 - 0.06 * side), 0.8, coat),
        ((lean - 0.1 * facing, 1.37), (lean + 0.1 * facing, 1.37), (0.09, 0.09), 0.84, coat),
        ((lean, 1.4), (lean * 1.5, 1.52), (0.062, 0.058), 0.97, skin),
        ((lean * 1.7, 1.57), (lean * 1.7, 1.65), (0.08, 0.095), 1.0, skin),
    ]
    patches, size = [], person.height / 1.75
    for share, cooler in ((1, 0.12), (0.65, 0)):
        for start, end, radii, heat, albedo in [*arms[:3], *legs, *trunk, *arms[3:]]:
            a, b = (np.add((person.x, 0), np.multiply(point, size)) for point in (start, end))
            outline = _limb(a, b, np.multiply(radii, share), person.z)
            patches.append(Patch(outline, albedo, (heat - cooler) * warmth))
    return patches


# A saloon from its front: metres along it, height, half width; of the face that follows, heat and glazed.
# fmt: off
BODY = (
    (0, 0.25, 0.8, 0.7, 0), (0, 0.6, 0.84, 0.85, 0), (0.2, 0.76, 0.82, 0.88, 0), (1.2, 0.92, 0.84, 0.4, 0),
    (3.75, 0.97, 0.84, 0.3, 0), (4.3, 0.92, 0.8, 0.36, 0), (4.4, 0.6, 0.84, 0.42, 0), (4.38, 0.25, 0.8, 0, 0),
)
CABIN = (
    (1.15, 0.92, 0.8, 0.25, 0), (1.25, 0.97, 0.78, 0.1, 1), (1.88, 1.38, 0.63, 0.26, 0),
    (1.95, 1.42, 0.62, 0.26, 0), (3.1, 1.44, 0.62, 0.26, 0), (3.2, 1.4, 0.63, 0.12, 1),
    (3.85, 1.0, 0.75, 0.25, 0), (3.95, 0.96, 0.76, 0, 0),
)
# fmt: on


def car_patches(car: Car) -> list[Patch]:
    """A saloon: the flank that the camera sees, faces from far to near, wheels, lights."""
    out = -0.03 if car.oncoming else CAR_LENGTH + 0.03
    flank = -1 if car.x > 0.85 else 1 if car.x < -0.85 else 0

    def patch(points: Sequence[Vector], albedo: Vector, heat: float, glow: Vector = BLACK) -> Patch:
        corners = [(car.x + x, y, car.z + (s if car.oncoming else CAR_LENGTH - s)) for x, y, s in points]
        return Patch(np.array(corners), albedo, heat if car.moving else 0.2 + 0.12 * heat, glow)

    def shell(outline: Sequence[Vector]) -> list[Patch]:
        faces = []
        for (s0, y0, w0, heat, glazed), (s1, y1, w1, *_) in pairwise(outline):
            corners = [(-w0, y0, s0), (w0, y0, s0), (w1, y1, s1), (-w1, y1, s1)]
            faces.append(patch(corners, DARK if glazed else car.paint, heat))
        side = [patch([(flank * w, y, s) for s, y, w, *_ in outline], car.paint, 0.3)] if flank else []
        return side + (faces[::-1] if car.oncoming else faces)

    def box(x0: float, x1: float, y0: float, y1: float) -> list[Vector]:
        return [(x0, y0, out), (x1, y0, out), (x1, y1, out), (x0, y1, out)]

    patches = [patch(box(-0.85, 0.85, 0, 0.4), BLACK, 0.5)]
    patches += [patch(box(x - 0.1, x + 0.1, 0, 0.4), DARK, 0.7) for x in (-0.7, 0.7)]
    patches += shell(BODY)
    turn = np.linspace(0, 2 * np.pi, 14)
    for s in (0.85, 3.5) if flank else ():
        for radius, heat in ((0.37, 0.2), (0.31, 0.65), (0.17, 0.9)):
            rim = [(flank * 0.86, 0.32 + radius * np.sin(t), s + radius * np.cos(t)) for t in turn]
            patches.append(patch(rim, DARK if radius > 0.2 else (0.2, 0.2, 0.2), heat))
    patches += shell(CABIN)
    for a, b, c, d in ((1.4, 1.95, 2.42, 2.42), (2.52, 2.52, 3.08, 3.65)) if flank else ():
        low, high = flank * 0.78, flank * 0.63
        window = [(low, 0.97, a), (high, 1.37, b), (high, 1.37, c), (low, 0.97, d)]
        patches.append(patch(window, DARK, 0.12))
    light = np.multiply(HEADLIGHT, 45 * car.moving) if car.oncoming else np.multiply(TAIL_LIGHT, 9 * car.moving)
    for x in (-0.64, 0.64):
        patches.append(patch(box(x - 0.14, x + 0.14, 0.63, 0.78), (0.2, 0.2, 0.2), 0.55, light))
    patches.append(patch(box(-0.25, 0.25, 0.42, 0.53), (0.5, 0.5, 0.5), 0.4))
    warm = box(-0.4, 0.4, 0.36, 0.52) if car.oncoming else box(0.45, 0.58, 0.2, 0.3)
    return [*patches, patch(warm, DARK, 1.0)]


def single(values: Any) -> Array:
    """Make single-precision numbers of anything."""
    return np.asarray(values, np.float32)
