"""Making up a street: where its buildings, lamps, cars and people stand, and what lights them."""

from collections.abc import Sequence

import numpy as np

from pipelines.demo.street.things import (
    CAR_LENGTH,
    HEADLIGHT,
    TAIL_LIGHT,
    Array,
    Building,
    Camera,
    Car,
    Light,
    Patch,
    Person,
    Scene,
    car_patches,
    lamp_patches,
    person_patches,
    sign_patches,
    single,
    tree_patches,
)

SODIUM, LED = (1, 0.58, 0.22), (0.8, 0.92, 1)
NEONS = [(1, 0.08, 0.2), (0.08, 0.7, 1), (0.15, 1, 0.35), (1, 0.45, 0.05), (0.85, 0.15, 1)]
WORDS = ["HOTEL", "BAR", "CAFE", "PIZZA", "CINEMA", "NOODLE", "JAZZ", "OPEN", "BOOKS", "TAXI", "CLUB", "SUSHI"]
PAINTS = [(0.3, 0.3, 0.31), (0.25, 0.02, 0.02), (0.03, 0.05, 0.2), (0.03, 0.03, 0.03), (0.4, 0.4, 0.37)]
FACADES = [(0.3, 0.2, 0.15), (0.28, 0.26, 0.23), (0.2, 0.2, 0.22), (0.33, 0.27, 0.18), (0.25, 0.14, 0.1)]
SPEED, NEAREST, ROUND = 7.0, 9.0, 60.0  # metres a second that cars drive, where they appear and after how many again


def compose(rng: np.random.Generator, width: int, height: int, seconds: float = 0) -> Scene:
    """Make up a street, darkest where its people walk; the same generator gives the same street at later moments.

    Cars that move drive on, and come back after ROUND metres; people walk to and fro.
    """
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
                things.append(sign_patches(rng, words.pop(), neons[-1], side, wall, z))
                lights.append(Light((wall - side, 4.8, z - 0.8), 2.0 * neons.pop()))
        offset = side * (1.5 if side == park else -1.2)
        things += [tree_patches(rng, wall + offset + u(-0.4, 0.4), z, u(4.5, 7.5)) for z in spots]
    side, colour = rng.choice([-1, 1]), SODIUM if u() < 0.6 else LED
    for z in np.arange(u(17, 25), 75, u(20, 27)):
        foot, top = (kerbs[0] - 0.6 if side < 0 else kerbs[1] + 0.6), u(6.4, 7.2)
        things.append(lamp_patches(foot, foot - side * 1.8, top, z, np.multiply(colour, 40)))
        lights.append(Light((foot - side * 1.8, top, z), np.multiply(colour, 60), (0, -1, 0), 3))
    cars = _traffic(rng, kerbs)
    people = _people_in_the_dark(rng, camera, walls, cars, [*lights, *_headlights(cars)])
    cars = [_drive(car, seconds) for car in cars]
    things += [car_patches(car) for car in cars]
    lights += _headlights(cars)
    things += [person_patches(rng, person, kerbs[0] < person.x < kerbs[1], seconds) for person in people]
    patches = [patch for thing in sorted(things, key=lambda t: -t[0].corners[0, 2]) for patch in thing]
    wetness = u(0.5, 1) if u() < 0.6 else u(0.05, 0.2)
    grain = rng.random((64, 64), np.float32)
    return Scene(camera, kerbs, buildings, cars, people, lights, patches, u(11, 22), wetness, grain)


def _drive(car: Car, seconds: float) -> Car:
    if not car.moving or not seconds:
        return car
    travelled = (-SPEED if car.oncoming else SPEED) * seconds
    return car._replace(z=NEAREST + (car.z - NEAREST + travelled) % ROUND)


def _headlights(cars: Sequence[Car]) -> list[Light]:
    lights = list[Light]()
    for car in cars:
        if car.moving:
            front, ahead = (car.z, -1) if car.oncoming else (car.z + CAR_LENGTH, 1)
            lights.append(Light((car.x, 0.7, front), np.multiply(HEADLIGHT, 60), (0.03, -0.06, ahead), 40))
            lights += [] if car.oncoming else [Light((car.x, 0.7, car.z + 0.1), np.multiply(TAIL_LIGHT, 0.7))]
    return lights


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
    behind_n3, up_13 = spots_n3 * camera.above / (camera.above - 1), single([[0, 1, 0]])
    light_n = (irradiance(lights, spots_n3, up_13) + irradiance(lights, behind_n3, up_13)).sum(axis=1)
    for x, _, z in spots_n3[np.argsort(light_n * u(0.2, 2, 300))]:
        free = all(abs(x - car.x) > 1.5 or not -1.5 < z - car.z < CAR_LENGTH + 8 for car in cars)
        apart = all(abs(x / z - other.x / other.z) > 0.06 for other in people)
        ((column, row),) = camera.project(np.array([(x, 0, z)])) / (camera.width, camera.height)
        inside = 0.05 < column < 0.95 and row < 0.97
        if free and apart and inside and len(people) < count:
            people.append(Person(x, z, u(1.6, 1.88)))
    return people


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
            aim_3 = single(light.aim)
            aimed_n = -(x_n * aim_3[0] + y_n * aim_3[1] + z_n * aim_3[2]) / distance_n
            strength_n *= np.exp(np.float32(light.focus) * (aimed_n - 1))
        total_n3 += strength_n[:, None] * single(light.colour)
    return total_n3
