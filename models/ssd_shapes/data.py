"""A detection set that is drawn: coloured circles, squares and triangles on noise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from caffepy.engine.core.random import Stream
from caffepy.engine.data import images

SIZE = 96  # pixels of a side
KINDS = ("circle", "square", "triangle")
COUNTS = {"train": 1600, "test": 400}  # images
_MOST = 3  # shapes in an image
_LEAST_SIDE, _MOST_SIDE = 14, 48  # pixels of a shape
_TRIES = 20  # places that are tried for one shape
_DRAWS = 8  # random numbers of a try


@dataclass(frozen=True)
class Shape:
    """One shape. box: xmin, ymin, xmax, ymax in pixels, the last two just behind it."""

    kind: str
    box: tuple[int, int, int, int]


def scene(part: str, number: int) -> tuple[np.ndarray, list[Shape]]:
    """Image `number` of "train" or "test": (96, 96, 3) uint8 pixels, BGR, and its 1 to 3 shapes,
    which do not touch. The same each time."""
    draws = iter(Stream(0, "shapes", part).uniform(number, 1 + _MOST * _TRIES * _DRAWS))
    noise = Stream(0, "shapes", f"{part} noise").words(number, SIZE * SIZE * 3 // 8)
    ground = noise.astype("<u8").view(np.uint8).reshape(SIZE, SIZE, 3)
    pixels = (80 + ground // 3).astype(np.uint8)  # grey noise, 80 to 165
    shapes: list[Shape] = []
    for _ in range(1 + int(next(draws) * _MOST)):
        for _ in range(_TRIES):
            shape, colour = _drawn(draws)
            if all(_apart(shape.box, other.box) for other in shapes):
                _paint(pixels, shape, colour)
                shapes.append(shape)
                break
    return pixels, shapes


def write(folder: Path) -> None:
    """Writes into a folder: `images/*.png`; `annotations/*.xml`, as PASCAL VOC has them; the lists
    `train.txt` and `test.txt`; `names.txt`, with the name and label of each kind."""
    (folder / "images").mkdir()
    (folder / "annotations").mkdir()
    for part, count in COUNTS.items():
        lines = []
        for number in range(count):
            pixels, shapes = scene(part, number)
            name = f"{part}_{number:04}"
            image, annotation = f"images/{name}.png", f"annotations/{name}.xml"
            (folder / image).write_bytes(images.encode(pixels, ".png"))
            (folder / annotation).write_text(_annotation(shapes), encoding="utf-8")
            lines.append(f"{image} {annotation}\n")
        (folder / f"{part}.txt").write_text("".join(lines), encoding="utf-8")
    names = "".join(f"{kind} {label} {kind}\n" for label, kind in enumerate(KINDS, 1))
    (folder / "names.txt").write_text(names, encoding="utf-8")


def _drawn(draws: Iterator[float]) -> tuple[Shape, tuple[int, ...]]:
    """A shape of random kind, size and place, and its colour."""
    kind = KINDS[int(next(draws) * len(KINDS))]
    side = _LEAST_SIDE + next(draws) * (_MOST_SIDE - _LEAST_SIDE)
    stretch = 0.8 + 0.45 * next(draws)  # a circle may become an ellipse
    width, height = round(side), min(round(side * stretch), _MOST_SIDE)
    left = int(next(draws) * (SIZE - width + 1))
    top = int(next(draws) * (SIZE - height + 1))
    # each of blue, green and red is darker or brighter than the noise
    colour = tuple(
        int(50 * 2 * share if share < 0.5 else 205 + 50 * (2 * share - 1))
        for share in (next(draws) for _ in range(3))
    )
    return Shape(kind, (left, top, left + width, top + height)), colour


def _apart(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    """Whether two boxes do not meet."""
    return any(one[axis + 2] <= other[axis] or other[axis + 2] <= one[axis] for axis in (0, 1))


def _paint(pixels: np.ndarray, shape: Shape, colour: tuple[int, ...]) -> None:
    """Fills the part of pixels (96, 96, 3) that a shape covers."""
    left, top, right, bottom = shape.box
    y, x = np.mgrid[top:bottom, left:right] + 0.5  # middles of the box's pixels
    across = 2 * (x - left) / (right - left) - 1  # -1 to 1
    down = (y - top) / (bottom - top)  # 0 to 1
    inside = {
        "circle": across**2 + (2 * down - 1) ** 2 <= 1,
        "square": np.full(x.shape, True),
        "triangle": np.abs(across) <= np.maximum(down, 2 / (right - left)),  # a tip to be seen
    }[shape.kind]
    pixels[top:bottom, left:right][inside] = colour


def _annotation(shapes: Sequence[Shape]) -> str:
    """The shapes as a PASCAL VOC annotation."""
    objects = "".join(
        f"  <object><name>{shape.kind}</name><difficult>0</difficult><bndbox>"
        f"<xmin>{shape.box[0]}</xmin><ymin>{shape.box[1]}</ymin>"
        f"<xmax>{shape.box[2]}</xmax><ymax>{shape.box[3]}</ymax></bndbox></object>\n"
        for shape in shapes
    )
    size = f"<width>{SIZE}</width><height>{SIZE}</height><depth>3</depth>"
    return f"<annotation>\n  <size>{size}</size>\n{objects}</annotation>\n"
