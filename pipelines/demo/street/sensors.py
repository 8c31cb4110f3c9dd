"""The two sensors: a camera that sees light, and one that sees heat."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipelines.demo.street.scene import irradiance
from pipelines.demo.street.things import CAR_LENGTH, SHOP, Array, Camera, Patch, Scene, single
from pipelines.demo.street.view import OVERSAMPLING, Layout, index_map, soft_edge

# Optics of the visible camera, for `blur`: the sharp core, halos, and the streaks of a wiped dome.
GLARE = [(0.88, 0.6, 0.6), (0.06, 3, 3), (0.03, 12, 12), (0.014, 40, 40), (0.01, 35, 0.7), (0.006, 0.7, 20)]


def see_visible(scene: Scene, layout: Layout, rng: np.random.Generator) -> Array:
    """Photograph the scene in colour, (H, W, 3) uint8: lamps, windows, neon, glare, wet road, noise."""
    camera, patches = scene.camera, scene.patches
    dusk_h = np.clip(np.arange(camera.height) / camera.y, 0, 1) ** 3
    sky_h13 = single([0.002, 0.0028, 0.005]) + single([0.014, 0.009, 0.006]) * dusk_h[:, None, None]
    image_hw3 = np.repeat(sky_h13.astype(np.float32), camera.width, axis=1)
    image_hw3[layout.wall_hw] = _visible_walls(scene, layout)
    glowing = [patch for patch in patches if max(patch.glow) > 0]
    # A wet road smears what it mirrors, so half the resolution is enough.
    size = ((camera.width + 1) // 2, (camera.height + 1) // 2)
    half = Camera(*size, camera.focal / 2, camera.x / 2, camera.y / 2, camera.above)
    mirrored_hw = index_map(half, glowing, -1)
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
    albedo_n3 = single([building.albedo for building in scene.buildings])[layout.owner_n]
    light_n3 = irradiance(scene.lights, layout.wall_n3, layout.normal_n3) + single([0.006, 0.006, 0.008])
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
    light_n3 = irradiance(scene.lights, layout.ground_n3, single([[0, 1, 0]]))
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
        across_w = single((np.arange(camera.width) - column) * scale)
        down_h1 = single((np.arange(camera.height) - row) * scale)[:, None]
        reach_hw = np.sqrt(across_w**2 + down_h1**2) + np.float32(0.3)
        narrow_hw = (np.maximum(down_h1 / reach_hw, 0) ** 2) ** 2
        cone_hw = narrow_hw**2 * np.exp(-reach_hw / 3.5) / (reach_hw + 0.5)
        haze_hw3 += cone_hw[..., None] * single(lamp.colour)
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
    heat_n = single([building.heat for building in scene.buildings])[layout.owner_n] + 0.06 * (joint_n - 0.5)
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
    free_hw1 = single(np.mean([part == 0 for part in parts], axis=0, dtype=np.float32))[..., None]
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


def mottle(grain: Array, x: Array, y: Array) -> Array:
    """Smooth noise, 0 to 1, one blotch a unit square."""
    column, row = np.floor(x).astype(np.int32), np.floor(y).astype(np.int32)
    u, v = x - column, y - row
    a, b, c, d = (grain.take((row + i) % 64 * 64 + (column + j) % 64) for i, j in np.ndindex(2, 2))
    return (a * (1 - u) + b * u) * (1 - v) + (c * (1 - u) + d * u) * v


def _to_bytes(image: Array) -> Array:
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
