"""Synthetic registered infrared-visible pairs of a street at night: what `make demo` fuses.

A street is composed once, as buildings, lights and patches (flat polygons); each sensor then looks up its own
property of every surface, colour under lamplight or heat, so that the two images are registered exactly.

World coordinates are metres: x right, y up, z away from the camera, which stands above the origin.
Radiance is linear and unbounded; heat is what the infrared camera shows, from 0 (clear sky) to 1 (a face).
Shape suffixes: h, w image height and width; n points; 3 coordinates or RGB; c channels.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Array = np.ndarray[Any, np.dtype[Any]]
Vector = Sequence[float] | Array

SODIUM, LED, HEADLIGHT, TAIL_LIGHT = (1, 0.58, 0.22), (0.8, 0.92, 1), (1, 0.95, 0.85), (1, 0.04, 0.02)
NEONS = [(1, 0.08, 0.2), (0.08, 0.7, 1), (0.15, 1, 0.35), (1, 0.45, 0.05), (0.85, 0.15, 1)]
WORDS = [
    "HOTEL",
    "BAR",
    "CAFE",
    "PIZZA",
    "CINEMA",
    "NOODLE",
    "JAZZ",
    "OPEN",
    "BOOKS",
    "TAXI",
    "CLUB",
    "SUSHI",
]
PAINTS = [(0.3, 0.3, 0.31), (0.25, 0.02, 0.02), (0.03, 0.05, 0.2), (0.03, 0.03, 0.03), (0.4, 0.4, 0.37)]
FACADES = [(0.3, 0.2, 0.15), (0.28, 0.26, 0.23), (0.2, 0.2, 0.22), (0.33, 0.27, 0.18), (0.25, 0.14, 0.1)]
BLACK, DARK = (0, 0, 0), (0.03, 0.03, 0.03)
SHOP, STOREY, CAR_LENGTH = 4.0, 3.2, 4.4  # metres
OVERSAMPLING = 2
# Optics of the visible camera, for `blur`: the sharp core, halos, and the streaks of a wiped dome.
GLARE = [(0.88, 0.6, 0.6), (0.06, 3, 3), (0.03, 12, 12), (0.014, 40, 40), (0.01, 35, 0.7), (0.006, 0.7, 20)]


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


class Layout(NamedTuple):
    """What both sensors see where; below the ground line a wall is what a puddle there mirrors."""

    index_hw: Array  # number of the patch, from 1, OVERSAMPLING times as fine; 0 where there is none
    ground_hw: Array
    ground_n3: Array  # the ground points, in the order of that mask
    wall_hw: Array
    wall_n3: Array
    normal_n3: Array
    owner_n: Array  # number of the building
    along_n: Array  # metres along the wall
    pixel_n: Array  # metres along the wall that one pixel covers
    glass_n: Array  # 0 masonry to 1 window
    lot_n: Array  # one random number a window
    rise_n: Array  # height within the storey, 0 to 1


def write_archive(folder: str | Path, count: int = 12, seed: int = 0) -> list[str]:
    """Write pairs of 640x480 8-bit PNG, `visible/NAME` (RGB) and `infrared/NAME` (grey); return the names.

    The same seed gives the same pairs; a larger count only adds to them.
    """
    names = [f"street_{number:03d}.png" for number in range(1, count + 1)]
    for number, name in enumerate(names):
        pair = draw_pair(np.random.default_rng([seed, number]), 640, 480)
        for sensor, image in zip(("visible", "infrared"), pair, strict=True):
            path = Path(folder) / sensor / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
    return names


def draw_pair(rng: np.random.Generator, width: int, height: int) -> tuple[Array, Array]:
    """Draw one visible (H, W, 3) and one infrared (H, W) image of the same street, both uint8."""
    scene = compose(rng, width, height)
    layout = lay_out(scene)
    return see_visible(scene, layout, rng), see_infrared(scene, layout, rng)


def compose(rng: np.random.Generator, width: int, height: int) -> Scene:
    """Make up a street, darkest where its people walk."""
    u = rng.uniform
    vanishing = (width * u(0.3, 0.7), height * u(0.25, 0.42))
    camera = Camera(width, height, width * u(0.9, 1.15), *vanishing, u(3.7, 5.4))
    left = -u(2.5, 6.5)
    kerbs = (left, left + u(8.5, 10.5))
    walls = (kerbs[0] - u(2.2, 3.5), kerbs[1] + u(2.2, 3.5))
    park = rng.choice([-1, 1]) if u() < 0.35 else 0
    buildings = [Building((-60, 60), (u(75, 120), 130), u(4, 22), u(2, 3), FACADES[1], 0.28)]
    things, lights = list[list[Patch]](), list[Light]()
    words, neons = list(rng.permutation(WORDS)), list(rng.permutation(NEONS))
    for side, wall in zip((-1, 1), walls, strict=True):
        buildings += _terrace(rng, side, wall + side * (18 if side == park else 0))
        spots = np.arange(u(11, 15), 60, 7.5)
        if side != park:
            spots = np.arange(u(20, 26), 60, u(9, 16))
            for z in (u(16, 20), u(30, 40)):
                things.append(_sign(rng, words.pop(), neons[-1], side, wall, z))
                lights.append(Light((wall - side, 4.8, z - 0.8), 2.0 * neons.pop()))
        offset = side * (1.5 if side == park else -1.2)
        things += [_tree(rng, wall + offset + u(-0.4, 0.4), z, u(4.5, 7.5)) for z in spots]
    side, colour = rng.choice([-1, 1]), SODIUM if u() < 0.6 else LED
    for z in np.arange(u(17, 25), 75, u(20, 27)):
        foot, top = (kerbs[0] - 0.6 if side < 0 else kerbs[1] + 0.6), u(6.4, 7.2)
        things.append(_lamp(foot, foot - side * 1.8, top, z, np.multiply(colour, 40)))
        lights.append(Light((foot - side * 1.8, top, z), np.multiply(colour, 60), (0, -1, 0), 3))
    cars = _traffic(rng, kerbs)
    for car in cars:
        things.append(_car(car))
        if car.moving:
            front, ahead = (car.z, -1) if car.oncoming else (car.z + CAR_LENGTH, 1)
            lights.append(Light((car.x, 0.7, front), np.multiply(HEADLIGHT, 60), (0.03, -0.06, ahead), 40))
            lights += [] if car.oncoming else [Light((car.x, 0.7, car.z + 0.1), np.multiply(TAIL_LIGHT, 0.7))]
    people = _people_in_the_dark(rng, camera, walls, cars, lights)
    things += [_person(rng, person, kerbs[0] < person.x < kerbs[1]) for person in people]
    patches = [patch for thing in sorted(things, key=lambda t: -t[0].corners[0, 2]) for patch in thing]
    wetness = u(0.5, 1) if u() < 0.6 else u(0.05, 0.2)
    grain = rng.random((64, 64), np.float32)
    return Scene(camera, kerbs, buildings, cars, people, lights, patches, u(11, 22), wetness, grain)


def _terrace(rng: np.random.Generator, side: int, wall: float) -> list[Building]:
    row, z, x = [], rng.uniform(-4, 4), (wall - 12, wall) if side < 0 else (wall, wall + 12)
    while z < 75:
        depth, gap = rng.uniform(8, 18), rng.choice([0, 0, 3])
        shape = (rng.uniform(7, 19), rng.uniform(1.7, 2.8), FACADES[rng.integers(len(FACADES))])
        row.append(Building(x, (z, z + depth), *shape, rng.uniform(0.2, 0.32)))
        z += depth + gap
    return row


def _traffic(rng: np.random.Generator, kerbs: tuple[float, float]) -> list[Car]:
    lane, cars = (kerbs[1] - kerbs[0]) / 4, []
    for oncoming, kerb, inwards in ((True, kerbs[0], 1), (False, kerbs[1], -1)):
        moving = rng.permutation([13, 22, 33, 48])[: rng.integers(1, 3)] + rng.uniform(-2, 3)
        parked = np.arange(rng.uniform(12, 30), 40, rng.uniform(6, 12))[: rng.integers(0, 3)]
        cars += [Car(kerb + inwards * (lane + 0.4), z, oncoming, True, PAINTS[rng.integers(5)]) for z in moving]
        cars += [Car(kerb, z, oncoming, False, PAINTS[rng.integers(5)]) for z in parked]
    return cars


def _people_in_the_dark(
    rng: np.random.Generator, camera: Camera, walls: tuple[float, float], cars: list[Car], lights: list[Light]
) -> list[Person]:
    count, u, people = rng.integers(4, 9), rng.uniform, list[Person]()
    spots_n3 = np.stack([u(walls[0] + 0.5, walls[1] - 0.5, 300), np.zeros(300), u(9.5, 32, 300)], axis=1)
    # Behind someone's waist the camera sees the ground a good quarter farther off; it must be dark as well.
    behind_n3, up_13 = spots_n3 * camera.above / (camera.above - 1), _single([[0, 1, 0]])
    light_n = (irradiance(lights, spots_n3, up_13) + irradiance(lights, behind_n3, up_13)).sum(axis=1)
    for x, _, z in spots_n3[np.argsort(light_n * u(0.2, 2, 300))]:
        free = all(abs(x - car.x) > 1.5 or not -1.5 < z - car.z < CAR_LENGTH + 8 for car in cars)
        apart = all(abs(x / z - other.x / other.z) > 0.06 for other in people)
        ((column, row),) = camera.project(np.array([(x, 0, z)])) / (camera.width, camera.height)
        inside = 0.05 < column < 0.95 and row < 0.97
        if free and apart and inside and len(people) < count:
            people.append(Person(x, z, u(1.6, 1.88)))
    return people


def _limb(start: Vector, end: Vector, radii: Vector, z: float) -> Array:
    """Outline a rounded, tapering limb between two points (x, y), facing the camera."""
    turn = np.linspace(np.pi / 2, 3 * np.pi / 2, 8) + np.arctan2(end[1] - start[1], end[0] - start[0])
    circle = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    outline = np.concatenate([start + radii[0] * circle, end - radii[1] * circle])
    return np.column_stack([outline, np.full(len(outline), z)])


def _lamp(foot: float, head: float, top: float, z: float, glow: Vector) -> list[Patch]:
    return [
        Patch(_limb((foot, 0), (foot, top), (0.1, 0.06), z), (0.1, 0.1, 0.1), 0.2),
        Patch(_limb((foot, top), (head, top + 0.3), (0.06, 0.05), z), (0.1, 0.1, 0.1), 0.2),
        Patch(_limb((head - 0.25, top + 0.3), (head + 0.25, top + 0.3), (0.1, 0.1), z), DARK, 0.4),
        Patch(_limb((head - 0.2, top + 0.2), (head + 0.2, top + 0.2), (0.08, 0.08), z), DARK, 0.9, glow),
    ]


def _tree(rng: np.random.Generator, x: float, z: float, height: float) -> list[Patch]:
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


def _sign(rng: np.random.Generator, word: str, neon: Vector, side: int, wall: float, z: float) -> list[Patch]:
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


def _person(rng: np.random.Generator, person: Person, crossing: bool) -> list[Patch]:
    """A walker of limbs, each warmer within than at its rim."""
    across = rng.choice([-1, 1]) * (rng.uniform(0.7, 1) if crossing else rng.uniform(0, 0.5))
    step, warmth = rng.choice([-1, 1]) * rng.uniform(0.6, 1), rng.uniform(0.9, 1)
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


def _car(car: Car) -> list[Patch]:
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


def lay_out(scene: Scene) -> Layout:
    """Find which wall, ground point and patch every pixel sees."""
    camera = scene.camera
    down_h1 = ((np.arange(camera.height, dtype=np.float32) + 0.5 - camera.y) / camera.focal)[:, None]
    right_w = (np.arange(camera.width, dtype=np.float32) + 0.5 - camera.x) / camera.focal
    owner_hw = np.full((camera.height, camera.width), -1, np.int32)
    street_hw, depth_hw = np.zeros(owner_hw.shape, bool), np.ones(owner_hw.shape, np.float32)
    for number in np.argsort([-building.z[0] for building in scene.buildings]):
        (x0, x1), (z0, z1), height = scene.buildings[number][:3]
        street = x1 if x1 < 0 else x0
        street_w = street / right_w
        for depth_w, inside_w, along in (
            (np.full_like(right_w, z0), (right_w * z0 > x0) & (right_w * z0 < x1) & (z0 > 1), False),
            (street_w, (street_w > max(z0, 1)) & (street_w < z1), True),
        ):
            columns = np.flatnonzero(inside_w)
            if len(columns):
                span = slice(columns[0], columns[-1] + 1)
                hit_hw = np.abs(camera.above - down_h1 * depth_w[span]) < height
                for target_hw, value in ((owner_hw, number), (street_hw, along), (depth_hw, depth_w[span])):
                    np.copyto(target_hw[:, span], value, where=hit_hw)
    wall_hw = owner_hw >= 0
    ground_hw = (down_h1 > 0.002) & ~(wall_hw & (down_h1 * depth_hw < camera.above))
    z_h1 = camera.above / np.maximum(down_h1, 0.002)
    ground_n3 = np.stack(np.broadcast_arrays(right_w * z_h1, 0 * right_w, z_h1), axis=-1)[ground_hw]
    y_hw = np.abs(camera.above - down_h1 * depth_hw)
    wall_n3 = np.stack([right_w * depth_hw, y_hw, depth_hw], axis=-1)[wall_hw]
    windows = _windows(scene, owner_hw[wall_hw], street_hw[wall_hw], wall_n3)
    return Layout(_index_map(camera, scene.patches, 1), ground_hw, ground_n3, wall_hw, wall_n3, *windows)


def _windows(scene: Scene, owner_n: Array, street_n: Array, wall_n3: Array) -> tuple[Array, ...]:
    """Divide the walls into bays: the fields of Layout from `normal_n3` on."""
    x_n, y_n, z_n = wall_n3.T
    ahead_n = np.where(street_n, 0, -1)
    normal_n3 = np.stack([-np.sign(x_n) * (1 + ahead_n), 0 * x_n, ahead_n], axis=1).astype(np.float32)
    height_n, pitch_n = _single([building[2:4] for building in scene.buildings])[owner_n].T
    along_n = np.where(street_n, z_n, x_n)
    pixel_n = np.where(street_n, z_n**2 / np.maximum(np.abs(x_n), 1), z_n) / scene.camera.focal
    shop_n = y_n < SHOP
    width_n = np.where(shop_n, 2 * pitch_n, pitch_n)
    bay_n = along_n / width_n
    floor_n = np.where(shop_n, y_n / SHOP, 1 + (y_n - SHOP) / STOREY)
    column_n, row_n = np.floor(bay_n).astype(np.int32), np.floor(floor_n).astype(np.int32)
    rise_n = floor_n - row_n
    lot_n = scene.grain[(column_n * 5 + owner_n * 11) % 64, (row_n * 7 + owner_n * 3) % 64]
    aside_n, above_n = np.abs(bay_n - column_n - 0.5) * width_n, np.abs(rise_n - 0.5) * STOREY
    tall_n = z_n / scene.camera.focal
    glass_n = soft_edge(above_n, 0.85, tall_n)
    glass_n = glass_n * soft_edge(aside_n, np.where(shop_n, 0.42, 0.27) * width_n, pixel_n)
    bars_n = np.maximum(soft_edge(aside_n, 0.04, pixel_n), soft_edge(np.abs(above_n - 0.3), 0.03, tall_n))
    glass_n *= (1 - 0.8 * bars_n) * (y_n < height_n - 0.7)
    return normal_n3, owner_n, along_n, pixel_n, glass_n, lot_n, rise_n


def _index_map(camera: Camera, patches: Sequence[Patch], upright: int) -> Array:
    """Number the patches on a fine canvas, later over earlier; `upright` -1 mirrors them in the ground."""
    canvas = Image.new("I", (camera.width * OVERSAMPLING, camera.height * OVERSAMPLING))
    draw = ImageDraw.Draw(canvas)
    corners_n3 = np.concatenate([patch.corners for patch in patches]) * (1, upright, 1)
    pixels = (camera.project(corners_n3) * OVERSAMPLING).ravel().tolist()
    ends = [0, *np.cumsum([2 * len(patch.corners) for patch in patches])]
    for number, (start, end) in enumerate(pairwise(ends), 1):
        draw.polygon(pixels[start:end], fill=number)
    return np.asarray(canvas)


def irradiance(lights: Sequence[Light], points_n3: Array, normals_n3: Array) -> Array:
    """Light (n, 3) that falls on points with these normals."""
    total_n3 = np.zeros(points_n3.shape, np.float32)
    points_3n, normals_3n = (np.ascontiguousarray(each.T, np.float32) for each in (points_n3, normals_n3))
    for light in lights:
        x_n, y_n, z_n = (np.float32(at) - points_n for at, points_n in zip(light.position, points_3n, strict=True))
        distance_n = np.sqrt(x_n * x_n + y_n * y_n + z_n * z_n + np.float32(0.1))
        facing_n = x_n * normals_3n[0] + y_n * normals_3n[1] + z_n * normals_3n[2]
        strength_n = np.maximum(facing_n, 0) / (distance_n * distance_n * distance_n)
        if light.focus:
            aim_3 = _single(light.aim)
            aimed_n = -(x_n * aim_3[0] + y_n * aim_3[1] + z_n * aim_3[2]) / distance_n
            strength_n *= np.exp(np.float32(light.focus) * (aimed_n - 1))
        total_n3 += strength_n[:, None] * _single(light.colour)
    return total_n3


def see_visible(scene: Scene, layout: Layout, rng: np.random.Generator) -> Array:
    """Photograph the scene in colour, (H, W, 3) uint8: lamps, windows, neon, glare, wet road, noise."""
    camera, patches = scene.camera, scene.patches
    dusk_h = np.clip(np.arange(camera.height) / camera.y, 0, 1) ** 3
    sky_h13 = _single([0.002, 0.0028, 0.005]) + _single([0.014, 0.009, 0.006]) * dusk_h[:, None, None]
    image_hw3 = np.repeat(sky_h13.astype(np.float32), camera.width, axis=1)
    image_hw3[layout.wall_hw] = _visible_walls(scene, layout)
    glowing = [patch for patch in patches if max(patch.glow) > 0]
    # A wet road smears what it mirrors, so half the resolution is enough.
    size = ((camera.width + 1) // 2, (camera.height + 1) // 2)
    half = Camera(*size, camera.focal / 2, camera.x / 2, camera.y / 2, camera.above)
    mirrored_hw = _index_map(half, glowing, -1)
    mirror_hw3 = overlay(image_hw3[::2, ::2], mirrored_hw, [patch.glow for patch in glowing])
    mirror_hw3 = blur(mirror_hw3, [(0.5, 0.7, 2.5), (0.5, 1, 11)]).repeat(2, axis=0).repeat(2, axis=1)
    mirror_hw3 = mirror_hw3[: camera.height, : camera.width]
    image_hw3[layout.ground_hw] = _visible_ground(scene, layout, mirror_hw3[layout.ground_hw])
    light_n3 = irradiance(scene.lights, *_facing(camera, patches)) + 0.012
    glow_n3 = np.array([patch.glow for patch in patches])
    radiance_n3 = np.array([patch.albedo for patch in patches]) * light_n3 + glow_n3
    image_hw3 = overlay(image_hw3, layout.index_hw, radiance_n3) + _haze(scene)
    image_hw3 = blur(image_hw3, GLARE)
    shown_hw3 = 1 - np.exp(-2.1 * np.maximum(image_hw3, 0))
    noise_hw3 = rng.standard_normal(shown_hw3.shape, np.float32)
    shown_hw3 += noise_hw3 * np.sqrt(0.000008 + 0.0006 * shown_hw3)
    return _to_bytes(np.maximum(shown_hw3 - 0.001, 0) ** (1 / 2.1))


def _visible_walls(scene: Scene, layout: Layout) -> Array:
    albedo_n3 = _single([building.albedo for building in scene.buildings])[layout.owner_n]
    light_n3 = irradiance(scene.lights, layout.wall_n3, layout.normal_n3) + _single([0.006, 0.006, 0.008])
    share_n = np.where(layout.wall_n3[:, 1] < SHOP, 0.45, 0.05 + 0.2 * scene.grain[layout.owner_n % 64, 0])
    lit_n, tint_n = layout.lot_n < share_n, (layout.lot_n * 977) % 1
    warm_n3 = np.stack([np.ones_like(tint_n), 0.5 + 0.3 * tint_n, 0.15 + 0.45 * tint_n**2], axis=1)
    glow_n = layout.glass_n * np.where(lit_n, (0.15 + 0.4 * tint_n) * (0.3 + 0.9 * layout.rise_n), 0.001)
    return albedo_n3 * light_n3 * (1 - 0.8 * layout.glass_n[:, None]) + glow_n[:, None] * warm_n3


def _visible_ground(scene: Scene, layout: Layout, mirror_n3: Array) -> Array:
    """Asphalt, pavement and markings, and in puddles the mirror image."""
    x_n, _, z_n = layout.ground_n3.T
    (left, right), camera, grain = scene.kerbs, scene.camera, scene.grain
    pixel_n, tall_n = z_n / camera.focal, z_n**2 / (camera.focal * camera.above)
    aside_n, half = np.abs(x_n - (left + right) / 2), (right - left) / 2
    albedo_n = np.where(aside_n < half, 0.09, 0.16) * (0.7 + 0.6 * mottle(grain, x_n * 3, z_n * 2))
    dashes_n = soft_edge(aside_n, 0.09, pixel_n) * soft_edge(np.abs(z_n % 6 - 3), 1.5, tall_n)
    lines_n = np.maximum(dashes_n, soft_edge(np.abs(aside_n - half + 0.35), 0.07, pixel_n))
    zebra_n = np.abs(z_n - scene.crossing)
    stripes_n = soft_edge(np.abs(x_n % 1 - 0.5), 0.26, pixel_n) * soft_edge(zebra_n, 1.5, tall_n)
    marks_n = np.where(zebra_n < 2.4, stripes_n * (aside_n < half - 0.5), lines_n) * (
        0.6 + 0.4 * mottle(grain, x_n * 9, z_n * 9)
    )
    albedo_n += (0.5 - albedo_n) * marks_n + 0.1 * soft_edge(np.abs(aside_n - half), 0.12, pixel_n)
    light_n3 = irradiance(scene.lights, layout.ground_n3, _single([[0, 1, 0]]))
    light_n3 = light_n3 * (1 - 0.85 * _under_cars(scene, layout.ground_n3))[:, None] + 0.006
    wet_n = scene.wetness * np.clip(4 * mottle(grain, x_n * 0.35, z_n * 0.18) - 1.6, 0.25, 1)
    mirrored_n = wet_n * (0.08 + 0.6 * (1 - camera.above / np.hypot(camera.above, z_n)) ** 2)
    return (albedo_n * (1 - 0.5 * wet_n))[:, None] * light_n3 + mirrored_n[:, None] * mirror_n3


def _facing(camera: Camera, patches: Sequence[Patch]) -> tuple[Array, Array]:
    """Centres and normals (n, 3) of patches, on the side the camera sees."""
    thirds = [patch.corners[[0, len(patch.corners) // 3, 2 * len(patch.corners) // 3]] for patch in patches]
    a_n3, b_n3, c_n3 = np.stack(thirds, axis=1)
    centre_n3, normal_n3 = (a_n3 + b_n3 + c_n3) / 3, np.cross(b_n3 - a_n3, c_n3 - a_n3)
    normal_n3 /= np.linalg.norm(normal_n3, axis=1, keepdims=True)
    towards_n = np.sign((normal_n3 * ((0, camera.above, 0) - centre_n3)).sum(axis=1))
    return centre_n3, normal_n3 * towards_n[:, None]


def _haze(scene: Scene) -> Array:
    """Light that the air scatters below the nearer lamps."""
    camera = scene.camera
    haze_hw3 = np.zeros((camera.height, camera.width, 3), np.float32)
    for lamp in [light for light in scene.lights if light.aim == (0, -1, 0)][:3]:
        ((column, row),) = camera.project(np.array([lamp.position]))
        scale = lamp.position[2] / camera.focal
        across_w = _single((np.arange(camera.width) - column) * scale)
        down_h1 = _single((np.arange(camera.height) - row) * scale)[:, None]
        reach_hw = np.sqrt(across_w**2 + down_h1**2) + np.float32(0.3)
        narrow_hw = (np.maximum(down_h1 / reach_hw, 0) ** 2) ** 2
        cone_hw = narrow_hw**2 * np.exp(-reach_hw / 3.5) / (reach_hw + 0.5)
        haze_hw3 += cone_hw[..., None] * _single(lamp.colour)
    return haze_hw3 * np.float32(0.004 + 0.004 * scene.wetness)


def see_infrared(scene: Scene, layout: Layout, rng: np.random.Generator) -> Array:
    """Image the heat of the scene, (H, W) uint8: blind to light, softer optics, row noise."""
    height, width = scene.camera.height, scene.camera.width
    heat_hw1 = np.repeat(np.linspace(0.03, 0.25, height, dtype=np.float32)[:, None, None], width, axis=1)
    heat_hw1[layout.wall_hw, 0] = _wall_heat(scene, layout)
    heat_hw1[layout.ground_hw, 0] = _ground_heat(scene, layout)
    heat_hw1 = overlay(heat_hw1, layout.index_hw, [[patch.heat] for patch in scene.patches])
    heat_hw = blur(heat_hw1, [(0.85, 0.9, 0.9), (0.15, 3.5, 3.5)])[..., 0]
    heat_hw += rng.normal(0, 0.012, heat_hw.shape) + rng.normal(0, 0.006, (height, 1))
    return _to_bytes(heat_hw)


def _wall_heat(scene: Scene, layout: Layout) -> Array:
    """Bricks, cool glass, warmth that leaks below windows, pipes."""
    _, y_n, z_n = layout.wall_n3.T
    course_n = y_n / 0.3
    brick_n = layout.along_n / 0.8 + 0.5 * (np.floor(course_n) % 2)
    joint_n = soft_edge(np.abs(course_n % 1 - 0.5), 0.4, 4 * z_n / scene.camera.focal)
    joint_n *= soft_edge(np.abs(brick_n % 1 - 0.5), 0.44, 2 * layout.pixel_n)
    heat_n = _single([building.heat for building in scene.buildings])[layout.owner_n] + 0.06 * (joint_n - 0.5)
    heat_n += 0.12 * (mottle(scene.grain, layout.along_n * 0.6, y_n * 0.6) - 0.5)
    leak_n = (layout.lot_n > 0.7) * soft_edge(np.abs(layout.rise_n - 0.13), 0.06, 0.08) * (y_n > SHOP)
    pipe_n = soft_edge(np.abs(layout.along_n % 9 - 1), 0.09, layout.pixel_n) * (y_n < 12)
    return heat_n + 0.16 * leak_n - 0.12 * layout.glass_n + 0.28 * pipe_n


def _ground_heat(scene: Scene, layout: Layout) -> Array:
    """Asphalt that kept the warmth of the day, paving slabs, the tracks of tyres, manhole covers."""
    x_n, _, z_n = layout.ground_n3.T
    (left, right), camera, grain = scene.kerbs, scene.camera, scene.grain
    pixel_n, tall_n = z_n / camera.focal, z_n**2 / (camera.focal * camera.above)
    slab_n = soft_edge(np.abs(x_n % 0.9 - 0.45), 0.4, pixel_n)
    slab_n = slab_n * soft_edge(np.abs(z_n % 0.9 - 0.45), 0.4, tall_n)
    heat_n = np.where((x_n > left) & (x_n < right), 0.29, 0.2 + 0.05 * slab_n)
    heat_n += 0.1 * (mottle(grain, x_n, z_n * 0.5) - 0.5) + 0.04 * (mottle(grain, x_n * 6, z_n * 6) - 0.5)
    for lane in (0.75 * left + 0.25 * right + 0.4, 0.25 * left + 0.75 * right - 0.4):
        heat_n += 0.05 * np.exp(-((np.abs(x_n - lane) - 0.75) ** 2) / 0.05)
        hole_n = np.hypot(x_n - lane + 1.1, (z_n + 7 * grain[1, 1]) % 13 - 6)
        heat_n += soft_edge(hole_n, 0.4, tall_n) * (0.2 - 0.1 * soft_edge(hole_n, 0.28, tall_n))
    return heat_n + 0.15 * _under_cars(scene, layout.ground_n3)


def _under_cars(scene: Scene, points_n3: Array) -> Array:
    """How far ground points (n, 3) lie under a car, 0 to 1."""
    cover_n = np.zeros(len(points_n3), np.float32)
    for car in scene.cars:
        aside_n, ahead_n = np.abs(points_n3[:, 0] - car.x), np.abs(points_n3[:, 2] - car.z - CAR_LENGTH / 2)
        cover_n = np.maximum(cover_n, soft_edge(aside_n, 0.95, 0.5) * soft_edge(ahead_n, 2.4, 0.6))
    return cover_n


def overlay(background_hwc: Array, index_hw: Array, values_nc: Any) -> Array:
    """Put patches, by their number on the fine canvas, over a background."""
    table_nc = np.concatenate([np.zeros((1, background_hwc.shape[2])), values_nc]).astype(np.float32)
    parts = [index_hw[i::OVERSAMPLING, j::OVERSAMPLING] for i, j in np.ndindex(OVERSAMPLING, OVERSAMPLING)]
    free_hw1 = _single(np.mean([part == 0 for part in parts], axis=0, dtype=np.float32))[..., None]
    return background_hwc * free_hw1 + np.mean([table_nc.take(part, axis=0) for part in parts], axis=0)


def blur(image_hwc: Array, lobes: Sequence[tuple[float, float, float]]) -> Array:
    """Convolve with a sum of Gaussians, each a weight and its widths across and down in pixels."""
    height, width = image_hwc.shape[0] * 6 // 5, image_hwc.shape[1] * 6 // 5
    down_h1, across_w = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)
    response_hw = np.zeros((height, len(across_w)), np.float32)
    for weight, x, y in lobes:
        response_hw += weight * np.exp(-2 * np.pi**2 * ((x * across_w) ** 2 + (y * down_h1) ** 2))
    spectrum = np.fft.rfft2(image_hwc, (height, width), axes=(0, 1)) * response_hw[..., None]
    return np.fft.irfft2(spectrum, (height, width), axes=(0, 1))[: image_hwc.shape[0], : image_hwc.shape[1]]


def soft_edge(distance: Array, half: Any, pixel: Any) -> Array:
    """1 nearer than `half`, 0 farther, blended over one pixel."""
    return np.clip((half - distance) / pixel + 0.5, 0, 1)


def mottle(grain: Array, x: Array, y: Array) -> Array:
    """Smooth noise, 0 to 1, one blotch a unit square."""
    column, row = np.floor(x).astype(np.int32), np.floor(y).astype(np.int32)
    u, v = x - column, y - row
    a, b, c, d = (grain.take((row + i) % 64 * 64 + (column + j) % 64) for i, j in np.ndindex(2, 2))
    return (a * (1 - u) + b * u) * (1 - v) + (c * (1 - u) + d * u) * v


def _to_bytes(image: Array) -> Array:
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def _single(values: Any) -> Array:
    return np.asarray(values, np.float32)
