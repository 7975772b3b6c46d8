"""Using an exported network: pictures and videos to class names, and a data set to an accuracy."""
import collections
import concurrent.futures
import contextlib
import dataclasses
from pathlib import Path
from typing import List, NamedTuple, Optional, Tuple

import numpy as np

from ..data import ImageError, Loader, Preprocessing, Views, batches, decode, open_video
from ..errors import UserError
from ..scoring.metrics import evaluate, evaluate_videos, softmax
from . import engines
from .bundle import Bundle


class Prediction(NamedTuple):
    """What `stream` says of one source: its most probable classes, or why it cannot be read."""
    source: object
    guesses: Optional[List[Tuple[str, float]]]  # (class name, probability), the most probable first
    error: Optional[str] = None


class Classifier:
    """A network, what runs it, and the preprocessing it was trained with; `frames` is 0 for an
    image network.

    `source` is the prefix of exported files, one of these files, or a `Bundle`. `engine` is one of
    `ENGINES`; where not given, an .onnx file is run by ONNX Runtime, and others by MXNet in the
    precision they are in. `size` is the side of the crop, the network's own where not given;
    `crop_ratio` likewise. `mean_max` classifies every window of the last map that is as large as
    the map was in training, and takes (mean + max)/2 of their logits, as the Dual Path Networks
    code does at 320×320. `ctx` is an MXNet context, the CPU where not given. Of a video, `views`
    clips are seen, in `crops` windows each, and their softmax is averaged.
    """

    def __init__(self, source, size=None, crop_ratio=None, mean_max=False, ctx=None, views=None,
                 crops=None, engine=None):
        if isinstance(source, Bundle):
            found = engines.Found('mxnet', source, source.meta, source.meta['network'])
        else:
            found = engines.find(source, engine, size)
        self.meta = found.meta
        own = self.meta['input_shape'][-1]
        self.frames = self.meta['input_shape'][1] if len(self.meta['input_shape']) == 4 else 0
        self.size = own if size is None else size
        self._check(own, mean_max, views, crops)
        given = {'size': size, 'crop_ratio': crop_ratio, 'views': views, 'crops': crops}
        self.transform = dataclasses.replace(
            Preprocessing.from_meta(self.meta),
            **{name: value for name, value in given.items() if value is not None})
        self._engine = engines.start(found, ctx, mean_max)
        self.classes = tuple(self.meta['classes'] or map(str, range(self._engine.classes)))
        self.meta = {**self.meta, 'classes': list(self.classes)}

    def _check(self, own, mean_max, views, crops):
        name, least = self.meta['network'], max(self.meta['stride'])
        if mean_max and self.frames:
            raise UserError(f'mean-max pooling is for image networks: leave it out for {name}')
        if not self.frames and (views or crops):
            raise UserError('--views and --crops are for video networks: leave them out for '
                            f'{name}')
        if self.size < own and mean_max:
            raise UserError(f'mean-max pooling needs crops of at least {own}, the size in '
                            f'training, not {self.size}')
        if self.meta.get('fixed') and self.size != own:
            raise UserError(f'{name} takes inputs of {own} only, not {self.size}')
        if self.size < least:
            raise UserError(f'{name} cannot take images of {self.size}: its total stride is '
                            f'{least}, so that is the smallest')

    def logits(self, images):
        """float32 N×classes of preprocessed images (float32 N×3×size×size) or clips
        (N×3×frames×size×size)."""
        return self._engine(images)

    def preprocess(self, encoded):
        """float32 3×size×size of an encoded image (bytes); `ImageError` if it cannot be decoded."""
        return self.transform.normalise(self.transform(decode(encoded)))

    def predict(self, source, top=5):
        """[(class name, probability)] of an image or a video, the most probable first; UserError if
        it cannot be read.

        `source` is a path, or an image as uint8 H×W×3, RGB.
        """
        (prediction,) = self.stream([source], top, workers=1)
        if prediction.error:
            raise UserError(prediction.error)
        return prediction.guesses

    def predict_batch(self, sources, top=5, batch_size=32):
        """A list of what `predict` gives, for a list of sources; UserError for the first that
        cannot be read."""
        predictions = list(self.stream(sources, top, batch_size))
        for prediction in predictions:
            if prediction.error:
                raise UserError(prediction.error)
        return [prediction.guesses for prediction in predictions]

    def stream(self, sources, top=5, batch_size=32, workers=2):
        """Iterate over a `Prediction` of each source, in their order, from any iterable, endless
        ones too.

        Sources are read by `workers` threads while others are classified, no more than two batches
        ahead, or one video. What cannot be read is not raised but told in its `Prediction`; what
        the iterable raises is, after the answers for what came before. A batch is `batch_size`
        images, or clips; for answers without delay from a slow iterable, let it be 1.
        """
        for name, value in (('top', top), ('batch_size', batch_size), ('workers', workers)):
            if value < 1:
                raise UserError(f'--{name.replace("_", "-")} must be 1 or more, not {value}')
        clips = self.transform.views * self.transform.crops if self.frames else 1  # of a source
        count = max(1, (2 * batch_size - 1) // clips)
        with concurrent.futures.ThreadPoolExecutor(workers) as pool, contextlib.closing(
                _ahead(pool, self._read, sources, count)) as read:
            for group in _groups(read, batch_size):
                yield from self._predict_group(group, top, batch_size)

    def _read(self, source):
        """(source, float32 clips×3×…, None) of an image or a video, or (source, None, why it cannot
        be read)."""
        try:
            if isinstance(source, np.ndarray):
                return source, self._array(source), None
            if self.frames:
                clips = self.transform.clips(open_video(source))
                return source, np.concatenate(list(clips)), None
            return source, self.preprocess(Path(source).read_bytes())[None], None
        except OSError as error:
            return source, None, f'{source} cannot be read: {error.strerror}'
        except ImageError as error:
            what = 'a video that can be read' if self.frames else 'an image that can be decoded'
            return source, None, f'{source} is not {what}: {error}'

    def _array(self, image):
        if self.frames or image.dtype != np.uint8 or image.ndim != 3 or image.shape[
                2] != 3 or 0 in image.shape:
            raise ImageError('an array must be an image, uint8 H×W×3, for an image network, not '
                             f'{image.dtype} of shape {image.shape}')
        return self.transform.normalise(self.transform(image))[None]

    def _predict_group(self, group, top, batch_size):
        """A `Prediction` for each (source, pixels, error)."""
        readable = [pixels for _, pixels, _ in group if pixels is not None]
        if readable:
            pixels = np.concatenate(readable)
            logits = np.concatenate([
                self.logits(pixels[i:i + batch_size]) for i in range(0, len(pixels), batch_size)
            ])
            ends = np.cumsum([len(pixels) for pixels in readable])[:-1]
            shares = iter([part.mean(axis=0) for part in np.split(softmax(logits), ends)])
        for source, pixels, error in group:
            yield Prediction(source, None if pixels is None else self._best(next(shares), top),
                             error)

    def _best(self, shares, top):
        return [(self.classes[i], float(shares[i]))
                for i in np.argsort(-shares, kind='stable')[:top]]

    def score(self, source, batch_size=32, workers=2):
        """Over all samples of a `data` source, every one once: `Sums` of images, or `VideoScores`
        of videos."""
        if batch_size < 1:
            raise UserError(f'--batch-size must be 1 or more, not {batch_size}')
        samples = Views(source, self.transform.views) if self.frames else source
        with Loader(samples, self.transform, workers) as loader:
            loaded = loader.load(batches(np.arange(len(samples)), batch_size), 0)
            if self.frames:
                return evaluate_videos(self.logits, loaded, source.labels, len(self.classes),
                                       self.transform.views, self.transform.crops)
            return evaluate(self.logits, loaded, len(source), describe='scoring')


def _ahead(pool, function, items, count):
    """Iterate over function(item), in order, at most `count` of them begun before they are asked
    for.

    What `items` raises comes behind the results of what it gave; when this is closed, what waits is
    not begun.
    """
    waiting = collections.deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except Exception:
        while waiting:
            yield waiting.popleft().result()
        raise
    finally:
        for future in waiting:
            future.cancel()


def _groups(read, batch_size):
    """Lists of what was `read`, each of `batch_size` clips or, where one source alone has more, a
    few more."""
    group, clips = [], 0
    try:
        for item in read:
            group.append(item)
            clips += 0 if item[1] is None else len(item[1])
            if clips >= batch_size or len(group) >= batch_size:
                yield group
                group, clips = [], 0
    except Exception:
        if group:
            yield group
        raise
    if group:
        yield group
