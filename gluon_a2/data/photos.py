"""Real pixels that are always there: crops of the two photographs that come with scikit-learn."""
import cv2
import numpy as np

from .images import normalise


def photo_batch(count, shape, mean, scale):
    """float32 count×3×H×W, or count×3×T×H×W: normalised crops of photographs, the frames of a clip
    a pan across one.

    `shape` is (3, H, W) or (3, T, H, W). No two crops are the same, and every call gives the same
    ones.
    """
    from sklearn.datasets import load_sample_images
    photos, rng = load_sample_images().images, np.random.default_rng(0)
    frames, (height, width) = shape[1] if len(shape) == 4 else 1, shape[-2:]
    batch = np.empty((count, 3, frames, height, width), np.float32)
    for i in range(count):
        photo = photos[i % len(photos)]  # 427×640×3
        side = rng.integers(photo.shape[0] // 2, photo.shape[0])
        (y, x), (end_y, end_x) = rng.integers(0, np.array(photo.shape[:2]) - side + 1, (2, 2))
        for t, share in enumerate(np.linspace(0, 1, frames)):
            top, left = round(y + share * (end_y - y)), round(x + share * (end_x - x))
            crop = cv2.resize(photo[top:top + side, left:left + side], (width, height),
                              interpolation=cv2.INTER_AREA)
            normalise(crop, out=batch[i, :, t], mean=mean, scale=scale)
    return batch.reshape(count, *shape)
