"""Objects of the demo data set: a shape in a colour, textured and lit, as a small patch to be laid over a scene.

The colour and the outline say what an object is. Everything else is nuisance: size, rotation, stretch, texture, the
light's direction and strength. A patch is drawn in this order::

    outline (unit square) ─► stretch, rotate, scale ─► opacity, 4x supersampled ─► colour + texture ─► rim ─► light
                                                          └─► shadow: the opacity, moved away from the light and blurred
"""

from dataclasses import dataclass

import cv2
import numpy as np

MIN_SIZE, MAX_SIZE = 16, 110  # pixels, the longer side of an object's box
PADDING = 9  # pixels around the outline: room for the shadow
TEXTURES = ("plain", "plain", "stripes", "dots", "noise")
SUPERSAMPLING = 4

BGR = {
    "red": (35, 30, 210),
    "orange": (20, 130, 245),
    "yellow": (50, 225, 245),
    "green": (55, 150, 45),
    "cyan": (220, 205, 50),
    "blue": (215, 75, 35),
    "purple": (160, 45, 115),
    "pink": (195, 135, 250),
    "white": (240, 240, 240),
    "black": (28, 28, 28),
}


@dataclass(frozen=True)
class Light:
    """Where the light of a scene comes from: a unit vector in the picture, and a factor on the objects' brightness."""

    direction: tuple[float, float]
    strength: float


@dataclass(frozen=True)
class Patch:
    """A drawn object: `opacity` and `shadow` (h, w) float32 in 0..1, `colours` (h, w, 3) float32 BGR in 0..255."""

    opacity: np.ndarray
    shadow: np.ndarray
    colours: np.ndarray

    @property
    def mask(self) -> np.ndarray:
        """(h, w) bool: the pixels that belong to the object, half covered ones and more."""
        return self.opacity > 0.5


def outline(shape: str) -> list[np.ndarray]:
    """The closed contours of `shape`, each (n, 2) float64 in about -1..1, x right, y down; a second one is a hole."""
    return _OUTLINES[shape]


def draw_object(rng: np.random.Generator, name: str, light: Light) -> Patch:
    """Draw `name` ("red star") with a random size, pose, texture and tint; its patch is at most 128 x 128 pixels."""
    colour_word, shape = name.split()
    size = float(np.exp(rng.uniform(np.log(MIN_SIZE), np.log(MAX_SIZE))))
    opacity = _opacity(outline(shape), size, angle=rng.uniform(-0.5, 0.5), stretch=rng.uniform(0.85, 1.18))
    colour = np.array(BGR[colour_word], np.float32) + rng.uniform(-12, 12, 3).astype(np.float32)

    # The second colour of textures and rims: darker than the object, or lighter where it is dark already.
    ink = colour * 0.6 if colour.max() > 90 else colour + 50
    texture = _texture(rng, rng.choice(TEXTURES), opacity.shape, size)
    rim = opacity - cv2.erode(opacity, np.ones((3, 3), np.uint8))
    mixture = np.maximum(0.55 * texture, 0.8 * rim)[..., None]
    colours = colour * (1 - mixture) + ink * mixture

    bevel = _bevel(opacity, size, light)[..., None]
    across = _across(opacity.shape, light.direction)[..., None]
    colours = colours * (light.strength + 0.15 * across + 0.5 * bevel) + 70 * np.maximum(bevel, 0)
    return Patch(opacity, _shadow(opacity, size, light), np.clip(colours, 0, 255))


def _opacity(contours: list[np.ndarray], size: float, angle: float, stretch: float) -> np.ndarray:
    """Rotate by `angle` (radians), scale the longer side to `size` pixels and pad; (h, w) float32 in 0..1."""
    cosine, sine = np.cos(angle), np.sin(angle)
    matrix = np.array([[cosine, -sine], [sine, cosine]]) @ np.diag([stretch, 1.0])
    turned = [contour @ matrix.T for contour in contours]
    low, high = np.concatenate(turned).min(0), np.concatenate(turned).max(0)
    scale = size / (high - low).max()
    width, height = np.ceil((high - low) * scale).astype(int) + 2 * PADDING
    # Eight bits below the pixel of the supersampled canvas: fillPoly takes fixed-point coordinates.
    fixed_point = [np.round(((c - low) * scale + PADDING) * SUPERSAMPLING * 256).astype(np.int32) for c in turned]
    canvas = np.zeros((height * SUPERSAMPLING, width * SUPERSAMPLING), np.uint8)
    cv2.fillPoly(canvas, fixed_point, (255,), shift=8)
    return cv2.resize(canvas, (int(width), int(height)), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def _texture(rng: np.random.Generator, kind: str, shape: tuple[int, ...], size: float) -> np.ndarray:
    """How much of the ink shows, (h, w) float32 in 0..1."""
    height, width = shape
    if kind == "plain":
        return np.zeros(shape, np.float32)
    if kind == "noise":
        coarse = rng.standard_normal((height // 3 + 1, width // 3 + 1), dtype=np.float32)
        return np.clip(0.45 * cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), 0, 1)
    angle, phase = rng.uniform(0, np.pi), rng.uniform(0, 2 * np.pi, 2)
    y, x = np.mgrid[:height, :width].astype(np.float32) * (2 * np.pi / max(5.0, size / 6))
    along = np.sin(x * np.cos(angle) + y * np.sin(angle) + phase[0])
    if kind == "stripes":
        return np.clip(2 * along, 0, 1).astype(np.float32)
    return np.clip(3 * along * np.sin(y * np.cos(angle) - x * np.sin(angle) + phase[1]) - 0.8, 0, 1).astype(np.float32)


def _across(shape: tuple[int, ...], direction: tuple[float, float]) -> np.ndarray:
    """A ramp over the patch, (h, w) float32, from -1 on the far side to 1 on the side of the light."""
    height, width = shape
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    return (x * direction[0] + y * direction[1]).astype(np.float32)


def _bevel(opacity: np.ndarray, size: float, light: Light) -> np.ndarray:
    """The border as if it were rounded, (h, w) float32: positive where it faces the light, negative elsewhere."""
    sigma = max(1.2, size / 24)
    soft = cv2.GaussianBlur(opacity, (0, 0), sigma)
    slope_x = cv2.Sobel(soft, cv2.CV_32F, 1, 0, ksize=3, scale=0.25)
    slope_y = cv2.Sobel(soft, cv2.CV_32F, 0, 1, ksize=3, scale=0.25)
    return -(slope_x * light.direction[0] + slope_y * light.direction[1]) * sigma


def _shadow(opacity: np.ndarray, size: float, light: Light) -> np.ndarray:
    offset = min(3.5, size / 12)
    away = np.array([[1, 0, -light.direction[0] * offset], [0, 1, -light.direction[1] * offset]], np.float32)
    return 0.45 * cv2.GaussianBlur(cv2.warpAffine(opacity, away, opacity.shape[::-1]), (0, 0), 1.8)


def _arc(start: float, end: float, radius: float = 1.0, centre_x: float = 0.0) -> np.ndarray:
    angles = np.linspace(start, end, 49)
    return np.stack([centre_x + radius * np.cos(angles), radius * np.sin(angles)], 1)


def _corners(count: int, inner_radius: float | None = None) -> np.ndarray:
    """A regular polygon with a corner on top, or with `inner_radius` a star of `count` points."""
    total = count if inner_radius is None else 2 * count
    angles = np.arange(total) * (2 * np.pi / total) - np.pi / 2
    radii = np.ones(total)
    if inner_radius is not None:
        radii[1::2] = inner_radius
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], 1)


def _heart() -> np.ndarray:
    t = np.linspace(0, 2 * np.pi, 65)[:-1]
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([16 * np.sin(t) ** 3, -y], 1) / 16


def _drop() -> np.ndarray:
    t = np.linspace(0, 2 * np.pi, 65)[:-1]
    return np.stack([0.95 * np.sin(t) * np.sin(t / 2) ** 1.6, -np.cos(t)], 1)


def _crescent() -> np.ndarray:
    """The unit disc without the disc of radius 0.8 around (0.5, 0)."""
    radius, centre_x = 0.8, 0.5
    x = (1 + centre_x**2 - radius**2) / (2 * centre_x)  # where the two circles meet
    y = np.sqrt(1 - x**2)
    outer, inner = np.arctan2(y, x), np.arctan2(y, x - centre_x)
    back = _arc(2 * np.pi - inner, inner, radius, centre_x)
    return np.concatenate([_arc(outer, 2 * np.pi - outer), back])


_OUTLINES = {
    "circle": [_arc(0, 2 * np.pi)],
    "square": [np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], float)],
    "triangle": [_corners(3)],
    "star": [_corners(5, inner_radius=0.42)],
    "heart": [_heart()],
    "cross": [
        np.array(
            [(-3, -9), (3, -9), (3, -3), (9, -3), (9, 3), (3, 3), (3, 9), (-3, 9), (-3, 3), (-9, 3), (-9, -3), (-3, -3)]
        )
        / 9
    ],
    "ring": [_arc(0, 2 * np.pi), _arc(0, 2 * np.pi, 0.55)],
    "crescent": [_crescent()],
    "arrow": [np.array([(-10, -3), (1, -3), (1, -8), (10, 0), (1, 8), (1, 3), (-10, 3)]) / 10],
    "hexagon": [_corners(6)],
    "bolt": [np.array([(2, -10), (-6, 2), (-1, 2), (-4, 10), (6, -3), (1, -3), (6, -10)]) / 10],
    "drop": [_drop()],
}
