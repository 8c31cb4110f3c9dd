"""From the counts of a FLIR sensor to degrees, with the constants that the camera wrote."""

import math
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_ZERO_CELSIUS = 273.15
_WATER = (1.5587, 6.939e-2, -2.7816e-4, 6.8455e-7)


@dataclass(frozen=True)
class Planck:
    """Constants of the calibration, and what was set on the camera; temperatures in kelvin, distance in metres."""

    r1: float
    b: float
    f: float
    o: float
    r2: float
    emissivity: float = 1.0
    distance: float = 0.0
    reflected: float = 293.15
    atmosphere: float = 293.15
    window: float = 293.15
    window_transmission: float = 1.0
    humidity: float = 0.5
    alpha_1: float = 0.006569
    alpha_2: float = 0.01262
    beta_1: float = -0.002276
    beta_2: float = -0.00667
    x: float = 1.9

    @classmethod
    def parse(cls, info: bytes) -> "Planck | None":
        """Read FLIR's record of the camera; None where it is too short or its constants cannot be those of a camera."""
        if len(info) < 0x310:
            return None
        order = "<" if struct.unpack_from("<H", info)[0] < 0x100 else ">"
        emissivity, distance, reflected, atmosphere, window, transmission = struct.unpack_from(f"{order}6f", info, 0x20)
        (humidity,) = struct.unpack_from(f"{order}f", info, 0x3C)
        r1, b, f = struct.unpack_from(f"{order}3f", info, 0x58)
        alpha_1, alpha_2, beta_1, beta_2, x = struct.unpack_from(f"{order}5f", info, 0x70)
        o, r2 = struct.unpack_from(f"{order}if", info, 0x308)
        found = cls(
            *(r1, b, f, o, r2, emissivity, distance, reflected, atmosphere, window, transmission),
            *(humidity / 100 if humidity > 2 else humidity, alpha_1, alpha_2, beta_1, beta_2, x),
        )
        return found if found._is_plausible() else None

    def _is_plausible(self) -> bool:
        temperatures = (self.reflected, self.atmosphere, self.window)
        return (
            all(math.isfinite(value) for value in vars(self).values())
            and min(self.r1, self.b, self.r2) > 0
            and 0 < self.emissivity <= 1
            and 0 < self.window_transmission <= 1
            and 0 <= self.distance <= 1e5
            and 0 <= self.humidity <= 1
            and all(150 < kelvin < 1500 for kelvin in temperatures)
        )

    def to_celsius(self, counts: NDArray[Any]) -> NDArray[np.float64]:
        """Return degrees Celsius of counts, corrected for emissivity, reflection, atmosphere and window.

        Counts below what the calibration knows give NaN. Follows Minkina and Dudzik, Infrared Thermography (2009),
        doi:10.1002/9780470682234, as ExifTool's users and the R package Thermimage apply it.
        """
        transmission = self._transmission()
        through = self.emissivity * transmission * self.window_transmission
        background = (
            (1 - self.emissivity) / self.emissivity * self._signal(self.reflected)
            + (1 - transmission) / self.emissivity / transmission * self._signal(self.atmosphere)
            + (1 - self.window_transmission) / through * self._signal(self.window)
            + (1 - transmission) / through / transmission * self._signal(self.atmosphere)
        )
        signal = counts.astype(np.float64) / (through * transmission) - background
        with np.errstate(divide="ignore", invalid="ignore"):
            kelvin = self.b / np.log(self.r1 / (self.r2 * (signal + self.o)) + self.f)
        kelvin[~(np.isfinite(kelvin) & (kelvin > 0))] = np.nan
        celsius: NDArray[np.float64] = kelvin - _ZERO_CELSIUS
        return celsius

    def _signal(self, kelvin: float) -> float:
        return self.r1 / (self.r2 * (math.exp(self.b / kelvin) - self.f)) - self.o

    def _transmission(self) -> float:
        """Return what half the distance of air lets through."""
        celsius = self.atmosphere - _ZERO_CELSIUS
        water = math.sqrt(self.humidity * math.exp(sum(c * celsius**power for power, c in enumerate(_WATER))))
        root = math.sqrt(self.distance / 2)
        return self.x * math.exp(-root * (self.alpha_1 + self.beta_1 * water)) + (1 - self.x) * math.exp(
            -root * (self.alpha_2 + self.beta_2 * water)
        )
