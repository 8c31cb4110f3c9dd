"""What every pixel of a street's camera sees: which wall, window, ground point and patch."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from pipelines.demo.street.things import SHOP, STOREY, Array, Camera, Patch, Scene, single

OVERSAMPLING = 2


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
    return Layout(index_map(camera, scene.patches, 1), ground_hw, ground_n3, wall_hw, wall_n3, *windows)


def _windows(scene: Scene, owner_n: Array, street_n: Array, wall_n3: Array) -> tuple[Array, ...]:
    """Divide the walls into bays: the fields of Layout from `normal_n3` on."""
    x_n, y_n, z_n = wall_n3.T
    ahead_n = np.where(street_n, 0, -1)
    normal_n3 = np.stack([-np.sign(x_n) * (1 + ahead_n), 0 * x_n, ahead_n], axis=1).astype(np.float32)
    height_n, pitch_n = single([building[2:4] for building in scene.buildings])[owner_n].T
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


def index_map(camera: Camera, patches: Sequence[Patch], upright: int) -> Array:
    """Number the patches on a fine canvas, later over earlier; `upright` -1 mirrors them in the ground."""
    canvas = Image.new("I", (camera.width * OVERSAMPLING, camera.height * OVERSAMPLING))
    draw = ImageDraw.Draw(canvas)
    corners_n3 = np.concatenate([patch.corners for patch in patches]) * (1, upright, 1)
    pixels = (camera.project(corners_n3) * OVERSAMPLING).ravel().tolist()
    ends = [0, *np.cumsum([2 * len(patch.corners) for patch in patches])]
    for number, (start, end) in enumerate(pairwise(ends), 1):
        draw.polygon(pixels[start:end], fill=number)
    return np.asarray(canvas)


def soft_edge(distance: Array, half: Any, pixel: Any) -> Array:
    """1 nearer than `half`, 0 farther, blended over one pixel."""
    return np.clip((half - distance) / pixel + 0.5, 0, 1)
