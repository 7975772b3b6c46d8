"""Real pixels that are always there: crops of the two photographs that come with scikit-learn."""
from __future__ import annotations

import cv2
import numpy as np

from .preprocess import Preprocessing


def photo_batch(count: int, preprocessing: Preprocessing) -> np.ndarray:
    """float32 count×`input_shape`: normalised crops of photographs, the frames of a clip a pan
    across one. No two crops are the same, and every call gives the same ones.
    """
    from sklearn.datasets import load_sample_images
    photos, rng = load_sample_images().images, np.random.default_rng(0)
    shape, side = preprocessing.input_shape, preprocessing.size
    frames = shape[1] if len(shape) == 4 else 1
    batch = np.empty((count, 3, frames, side, side), np.float32)
    for i in range(count):
        photo = photos[i % len(photos)]  # 427×640×3
        part = rng.integers(photo.shape[0] // 2, photo.shape[0])  # pixels of the photograph
        (y, x), (end_y, end_x) = rng.integers(0, np.array(photo.shape[:2]) - part + 1, (2, 2))
        for t, share in enumerate(np.linspace(0, 1, frames)):
            top, left = round(y + share * (end_y - y)), round(x + share * (end_x - x))
            crop = cv2.resize(photo[top:top + part, left:left + part], (side, side),
                              interpolation=cv2.INTER_AREA)
            preprocessing.normalise(crop, batch[i, :, t])
    return batch.reshape(count, *shape)
