"""From decoded pixels to the array a network takes: size, crop, mean and scale, in one object.

Training, evaluation, prediction, calibration and visualization all normalise with it, and an
exported network's metadata holds its entries.
"""
import dataclasses
import functools
from typing import Any, Dict, Iterator, Mapping, Optional, Sequence, Tuple

import cv2
import numpy as np

from .. import flags
from ..errors import UserError
from ..flags import REQUIRED, option
from .clips import random_clip, read_clip, view_clip
from .images import decode
from .order import sample_rng

MEAN = (124., 117., 104.)  # of R, G, B on the scale 0…255, as in the Dual Path Networks code
SCALE = 0.0167  # multiplies what is left after the mean, likewise

INTERPOLATIONS = {'bicubic': cv2.INTER_CUBIC, 'bilinear': cv2.INTER_LINEAR}
# How a video is seen when it is scored: fields of `ClipPreprocessing`. PyTorch-MFNet's is that of
# its test/evaluate_video_ucf101_split1.py.
PROTOCOLS: Dict[str, Dict[str, Any]] = {
    'even': {},
    'mfnet': {'random': True, 'stretch': 'both', 'interpolation': 'bilinear', 'crops': 1}}
_MAX_ASPECT = 16  # no more of an image is resized than this many times its short side


def of_bytes(mean: Sequence[float], scale: Sequence[float], pixels: int) -> Tuple[Any, Any]:
    """`mean` and `scale` of pixels from 0 to `pixels`, as those of pixels from 0 to 255."""
    unit = 255 / pixels
    return tuple(value * unit for value in mean), tuple(value / unit for value in scale)


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """Resize, centre crop and normalisation of images, as a transform of `loader.Loader`.

    The short side becomes round(size / crop_ratio); the centre crop is size×size. Normalised
    pixels are (x − mean) · scale, one `mean` on the scale 0…255 and one `scale` a channel, R, G, B;
    a single scale stands for all three. Raises `UserError` for a field out of its bounds.
    """
    size: int = option(REQUIRED, 'side of the crop', low=1)
    crop_ratio: float = option(0.875, 'side of the crop over the resized short side', above=0,
                               high=1)
    mean: Tuple[float, float, float] = option(MEAN, 'subtracted from R, G, B')
    scale: Tuple[float, float, float] = option((SCALE,) * 3, 'multiplies what is left')
    interpolation: str = option('bicubic', 'of the resizing', choices=tuple(INTERPOLATIONS))

    def __post_init__(self) -> None:
        if not isinstance(self.scale, (list, tuple)):
            object.__setattr__(self, 'scale', (self.scale,) * 3)
        flags.check(self)
        for name in ('mean', 'scale'):
            values = tuple(map(float, getattr(self, name)))
            if len(values) != 3:
                raise UserError(f'`{name}` must be three numbers, for R, G and B, not {values}')
            object.__setattr__(self, name, values)

    @staticmethod
    def from_meta(meta: Mapping[str, Any]) -> 'Preprocessing':
        """What the metadata of an exported network says: `ClipPreprocessing` of a video network;
        `UserError` where it says too little."""
        _, *frames, _, size = meta['input_shape']
        common = {'size': size, 'crop_ratio': meta['crop_ratio'], 'mean': meta['mean'],
                  'scale': meta['scale'], 'interpolation': meta.get('resize', 'bicubic')}
        if not frames:
            return Preprocessing(**common)
        clips = ('frame_stride', 'views', 'crops')
        missing = [name for name in clips if name not in meta]
        if missing:
            raise UserError(f'the metadata of a video network must give {", ".join(missing)}')
        return ClipPreprocessing(**common, frames=frames[0], **{name: meta[name] for name in clips},
                                 stretch=meta.get('stretch', 'training'))  # older files lack it

    def to_meta(self) -> Dict[str, Any]:
        """The entries of the metadata from which `from_meta` makes this again."""
        return {'input_shape': list(self.input_shape), 'mean': list(self.mean),
                'scale': list(self.scale), 'crop_ratio': self.crop_ratio,
                'resize': self.interpolation}

    @property
    def input_shape(self) -> Tuple[int, ...]:
        """Of one input of the network: (3, size, size)."""
        return 3, self.size, self.size

    @property
    def shape(self) -> Tuple[int, ...]:
        """Of a sample in the loader: `input_shape`."""
        return self.input_shape

    def fill(self, source: Any, index: int, rng: Any, out: np.ndarray) -> None:
        """Write image `index` of `source`, normalised, into `out`, float32 of `shape`; nothing is
        drawn; `ImageError` if it is damaged."""
        self.normalise(self(decode(source.read(index))), out)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """The centre crop: uint8 H×W×3 → uint8 size×size×3."""
        image = self.resize_short(image)
        y, x = ((side - self.size) // 2 for side in image.shape[:2])
        return np.ascontiguousarray(image[y:y + self.size, x:x + self.size])

    def resize_short(self, image: np.ndarray) -> np.ndarray:
        """The image with its short side resized to round(size / crop_ratio)."""
        image, short = _trim(image), round(self.size / self.crop_ratio)
        height, width = (max(short, round(side * short / min(image.shape[:2])))
                         for side in image.shape[:2])
        return self.resize(image, width, height)

    def resize(self, image: np.ndarray, width: int, height: int) -> np.ndarray:
        """uint8 H×W×3 → height×width×3."""
        if image.shape[:2] == (height, width):
            return image
        return cv2.resize(image, (width, height), interpolation=INTERPOLATIONS[self.interpolation])

    def normalise(self, image: np.ndarray, out: Optional[np.ndarray] = None) -> np.ndarray:
        """(x − mean) · scale of uint8 H×W×3, as float32 3×H×W; written into `out` if given."""
        shape = (3, *image.shape[:2])
        if out is None:
            out = np.empty(shape, np.float32)
        elif out.shape != shape or out.dtype != np.float32:  # OpenCV would quietly write elsewhere
            raise ValueError(f'out must be float32 of shape {shape}, not {out.dtype} of shape '
                             f'{out.shape}')
        # A byte has only 256 values: a table is quicker than arithmetic, and rounds once.
        for plane, table, target in zip(cv2.split(image), _tables(self.mean, self.scale), out):
            cv2.LUT(plane, table, dst=target)
        return out

    def restore(self, pixels: np.ndarray) -> np.ndarray:
        """Inverse of `normalise`: …×3×(T×)H×W → uint8 …×(T×)H×W×3."""
        pixels = np.moveaxis(pixels, -len(self.input_shape), -1)
        return np.rint(pixels / self.scale + self.mean).clip(0, 255).astype(np.uint8)


@dataclasses.dataclass(frozen=True)
class ClipPreprocessing(Preprocessing):
    """`Preprocessing` of `views` clips of a video: `frames` frames, `frame_stride` apart.

    With `stretch` 'both', frames are stretched to a square in training and here, and with 'neither'
    they keep their proportions in both. With 'training' the two differ. With `crops` above 1, as
    many windows spread evenly along the long side replace the centre crop, and a sample is
    crops×3×frames×size×size. Where they are `random`, each view is a clip at a random position, in
    a random window, which depends on its number alone. With `views` above 1, the loader's source
    is a `clips.Views` of as many.
    """
    frames: int = option(1, 'of a clip', low=1)
    frame_stride: int = option(1, 'from one frame of a clip to the next', low=0)
    views: int = option(1, 'clips of a video, spread evenly', low=1)
    crops: int = option(1, 'windows of a clip, spread along the long side', low=1)
    stretch: str = option('training', 'where frames become squares',
                          choices=('both', 'training', 'neither'))
    random: bool = option(False, 'clips and windows at random positions')

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.random and self.crops > 1:
            raise UserError('`crops` must be 1 where each clip has one random window, as by '
                            f'`protocol` mfnet, not {self.crops}: give more `views`')

    def to_meta(self) -> Dict[str, Any]:
        """See `Preprocessing.to_meta`."""
        return {**super().to_meta(), 'frame_stride': self.frame_stride, 'views': self.views,
                'crops': self.crops, 'stretch': self.stretch}

    @property
    def input_shape(self) -> Tuple[int, ...]:
        """Of one input of the network: (3, frames, size, size)."""
        return 3, self.frames, self.size, self.size

    @property
    def shape(self) -> Tuple[int, ...]:
        """Of a sample in the loader: `input_shape`, with `crops` in front if there are several."""
        return (self.crops,) * (self.crops > 1) + self.input_shape

    def fill(self, source: Any, index: int, rng: Any, out: np.ndarray) -> None:
        """Write view `index` of `source`, normalised, into `out`, float32 of `shape`; nothing is
        drawn from `rng` unless views are `random`; `VideoError` if it is damaged."""
        self._fill_view(source.video(index), index % self.views, rng,
                        out.reshape(self.crops, *self.input_shape))

    def clips(self, video: Any) -> Iterator[np.ndarray]:
        """The views of one video in turn: float32 crops×3×frames×size×size, normalised;
        `VideoError` if it is damaged."""
        for view in range(self.views):
            clips = np.empty((self.crops, *self.input_shape), np.float32)
            self._fill_view(video, view, sample_rng(0, 0, view), clips)
            yield clips

    def proportions(self, frame: np.ndarray) -> float:
        """Width over height of a frame H×W×3 in training: 1 where it is stretched to a square."""
        return frame.shape[1] / frame.shape[0] if self.stretch == 'neither' else 1.0

    def resize_short(self, image: np.ndarray) -> np.ndarray:
        """See `Preprocessing.resize_short`; a square where frames are stretched here."""
        if self.stretch != 'both':
            return super().resize_short(image)
        side = round(self.size / self.crop_ratio)
        return self.resize(image, side, side)

    def _fill_view(self, video, view, rng, clips):
        length, shares = len(video), None
        if self.random:
            numbers = random_clip(length, self.frames, self.frame_stride, rng)
            shares = rng.random(2)
        else:
            numbers = view_clip(length, self.frames, self.frame_stride, view, self.views)
        for positions, frame in read_clip(video, numbers):
            for window, clip in zip(self._windows(self.resize_short(frame), shares), clips):
                pixels = self.normalise(np.ascontiguousarray(window))  # 3×size×size
                clip[:, positions] = pixels[:, None]

    def _windows(self, frame, shares=None):
        """The windows of a frame; `shares` of the room above and left of a random one."""
        room = np.array(frame.shape[:2]) - self.size
        along = np.arange(2) == (room[1] >= room[0])  # the long side, the width of a square
        corners = [room * np.where(along, share, 0.5) for share in (
            [0.5] if self.crops == 1 else np.linspace(0, 1, self.crops))]
        for corner in corners if shares is None else [(room + 1) * shares]:
            y, x = corner.astype(int)
            yield frame[y:y + self.size, x:x + self.size]


def _trim(image):
    """The middle of an image of absurd aspect: resizing would blow 1×9999 up to 256×2559744.

    What is kept reaches far beyond the centre crop, whose pixels stay the same.
    """
    limit = _MAX_ASPECT * min(image.shape[:2])
    y, x = (max(0, side - limit) // 2 for side in image.shape[:2])
    return image[y:image.shape[0] - y, x:image.shape[1] - x]


@functools.lru_cache(maxsize=8)
def _tables(mean, scale):
    """float32 3×256: the normalised value of every byte, per channel."""
    centred = np.arange(256) - np.array(mean)[:, None]
    return (centred * np.array(scale)[:, None]).astype(np.float32)
