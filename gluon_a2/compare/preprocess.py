"""What networks eat, by family. The loader's processes import this, so it imports no MXNet."""
import dataclasses
from typing import NamedTuple, Tuple

import numpy as np

from ..data import MEAN, SCALE, Preprocessing, decode

OURS, GLUONCV = 'gluon_a2', 'GluonCV'


class Normal(NamedTuple):
    """Mean and deviation of R, G, B on the scale 0…255."""
    mean: Tuple[float, float, float]
    deviation: Tuple[float, float, float]


NORMALS = {
    OURS: Normal(MEAN, (1 / SCALE,) * 3),
    GLUONCV: Normal((255 * .485, 255 * .456, 255 * .406), (255 * .229, 255 * .224, 255 * .225))}


@dataclasses.dataclass(frozen=True)
class FamilyTransform(Preprocessing):
    """`Preprocessing`, then the mean and deviation of a family.

    It resizes bicubically; GluonCV's own test does so bilinearly, which may move its accuracies a
    little.
    """
    family: str = OURS

    def fill(self, source, index, rng, out):
        """Write image `index` of `source`, normalised, into `out`, float32 3×size×size;
        `ImageError` if damaged."""
        normal = NORMALS[self.family]
        pixels = self(decode(source.read(index)))  # uint8 size×size×3
        out[:] = ((pixels - np.array(normal.mean)) / np.array(normal.deviation)).transpose(2, 0, 1)
