"""Using an exported network: pictures and videos to class names, and a data set to an accuracy."""
from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import dataclasses
import math
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import data
from ..errors import UserError
from ..machine.resources import free_memory
from ..scoring import metrics
from ..scoring.metrics import Answers, Sums, VideoScores, fault_of, softmax
from ..scoring.samples import has_names
from . import engines
from .bundle import Bundle, BundleError


class Prediction(NamedTuple):
    """What `stream` says of one source: its most probable classes, or why there are none."""
    source: Any
    guesses: list[tuple[str, float]] | None  # (class name, probability), the most probable first
    error: str | None = None


class Classifier:
    """A network, what runs it, and its `preprocessing`; `frames` is 0 for an image network.

    `source` is the prefix of exported files, one of these files, or a `Bundle`. `engine` is one of
    `ENGINES`, by default `engines.fastest`, and MXNet for a `Bundle`; the attribute of that name
    says which. `size`, the side of the crop in pixels, and `crop_ratio` are the network's own by
    default. `mean_max` classifies every window of the last map that is as large as the map was in
    training. It takes (mean + max)/2 of their logits, as the Dual Path Networks code does at
    320×320. `ctx` is an MXNet context, the CPU by default. Of a video, `views` clips are seen, in
    `crops` windows each, and their softmax is averaged; `protocol` is one of `data.PROTOCOLS`.
    `preprocessing` is that of a pair of files without metadata, which needs it. With `features`,
    `score` finds what enters the classifier, too.

    Examples
    --------
    >>> from gluon_a2.run.network import from_zoo
    >>> bundle = from_zoo('a2_resnet26', pretrained='digits')  # or Classifier('exported/digits')
    >>> Classifier(bundle).predict('docs/digit.png', top=1)[0][0]
    '2'
    """

    def __init__(self, source: str | Path | Bundle, size: int | None = None,
                 crop_ratio: float | None = None, mean_max: bool = False, ctx: Any = None,
                 views: int | None = None, crops: int | None = None, engine: str | None = None,
                 preprocessing: data.Preprocessing | None = None, features: bool = False,
                 protocol: str | None = None):
        found = source if isinstance(source, Bundle) else engines.find(
            source, engine or engines.fastest(source, size, ctx, mean_max or features),
            preprocessing)
        self.meta, self.classes = found.meta, tuple(found.meta['classes'])
        own = data.Preprocessing.from_meta(self.meta)
        self.frames = own.input_shape[1] if len(own.input_shape) == 4 else 0
        given: dict[str, Any] = {'size': size, 'crop_ratio': crop_ratio, 'views': views,
                                 'crops': crops}
        if not self.frames and (views or crops or protocol):
            what = '`protocol` is' if protocol else '`views` and `crops` are'
            raise UserError(f'{what} for video networks, not for {self.meta["network"]}: leave '
                            f'{"it" if protocol else "them"} out')
        self.protocol = protocol or next(iter(data.PROTOCOLS))
        if self.protocol not in data.PROTOCOLS:
            raise UserError(f'`protocol` must be one of {", ".join(data.PROTOCOLS)}, not '
                            f'{protocol!r}')
        self.preprocessing: Any = dataclasses.replace(
            own, **{**data.PROTOCOLS[self.protocol],
                    **{name: value for name, value in given.items() if value is not None}})
        self._check_size(own.size, mean_max)
        self.engine = 'mxnet' if isinstance(found, Bundle) else found.engine
        self._engine, self._affordable = engines.start(found, ctx, mean_max, features), 0
        if self._engine.classes != len(self.classes):
            raise BundleError(f'{self.meta["network"]} gives {self._engine.classes} logits, and '
                              f'its metadata names {len(self.classes)} classes: export it again')

    @property
    def size(self) -> int:
        """The side of the crop, pixels."""
        return self.preprocessing.size

    def _check_size(self, own: int, mean_max: bool) -> None:
        name, least = self.meta['network'], max(self.meta['stride'])
        if mean_max and self.frames:
            raise UserError(f'mean-max pooling is for image networks: leave it out for {name}')
        if self.size < own and mean_max:
            raise UserError(f'mean-max pooling needs crops of at least {own}, the size in '
                            f'training, not {self.size}')
        if self.meta.get('fixed') and self.size != own:
            raise UserError(f'{name} takes inputs of {own} only, not {self.size}')
        if self.size < least:
            raise UserError(f'{name} cannot take images of {self.size}: its total stride is '
                            f'{least}, so that is the smallest')

    def logits(self, images: np.ndarray) -> np.ndarray:
        """float32 N×classes of preprocessed images or clips (float32 N×3×(frames×)size×size);
        UserError where memory is too small for them."""
        self.check_memory(len(images))
        return self._engine(images)

    def check_memory(self, count: int, copies: int = 2) -> None:
        """UserError unless a batch of `count` inputs, and `copies` of its pixels, fit memory."""
        if count <= self._affordable:
            return
        shape, free = self.preprocessing.input_shape, free_memory()
        needed = count * (self._engine.memory(shape) + copies * 4 * math.prod(shape))
        if needed > free:
            way_out = '`batch_size`' if needed // count <= free else '`size`'
            raise UserError(f'a batch of {count} inputs of {"×".join(map(str, shape))} needs about '
                            f'{needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free: '
                            f'choose a lower {way_out}')
        self._affordable = count

    def preprocess(self, encoded: bytes) -> np.ndarray:
        """float32 3×size×size of an encoded image; `ImageError` if it cannot be decoded."""
        return self._pixels(data.decode(encoded))

    def _pixels(self, image: np.ndarray) -> np.ndarray:
        return self.preprocessing.normalise(self.preprocessing(image))

    def read(self, source: Any) -> np.ndarray:
        """float32 clips×3×(T×)size×size of an image (one clip) or a video; UserError if it cannot
        be read.

        `source` is a path, or an image as uint8 H×W×3, RGB.
        """
        try:
            if isinstance(source, np.ndarray):
                return self._array(source)[None]
            if self.frames:
                return np.concatenate(list(self.preprocessing.clips(data.open_video(source))))
            return self.preprocess(Path(source).read_bytes())[None]
        except OSError as error:
            raise UserError(f'{source} cannot be read: {error.strerror}') from error
        except data.ImageError as error:
            what = 'a video that can be read' if self.frames else 'an image that can be decoded'
            raise UserError(f'{source} is not {what}: {error}') from error

    def _array(self, image: np.ndarray) -> np.ndarray:
        if (self.frames or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3
                or 0 in image.shape):
            raise UserError('an array must be an image, uint8 H×W×3, for an image network, not '
                            f'{image.dtype} of shape {image.shape}')
        return self._pixels(image)

    def predict(self, source: Any, top: int = 5) -> list[tuple[str, float]]:
        """[(class name, probability)] of what `read` takes, the most probable first.

        Threads may call this at once, without a lock.
        """
        return self.predict_batch([source], top, 1)[0]

    def predict_batch(self, sources: Iterable, top: int = 5,
                      batch_size: int = 32) -> list[list[tuple[str, float]]]:
        """What `predict` gives for each source; UserError for the first that cannot be read."""
        found: list = []
        for prediction in self.stream(sources, top, batch_size):
            if prediction.error:
                raise UserError(prediction.error)
            found.append(prediction.guesses)
        return found

    def stream(self, sources: Iterable, top: int = 5, batch_size: int = 32,
               workers: int = 2) -> Iterator[Prediction]:
        """Iterate over a `Prediction` of each source, in their order, from any iterable, endless
        ones too.

        Sources are read by `workers` threads while others are classified, no more than two batches
        ahead, or one video. A source that cannot be read is no error here: its `Prediction` says
        why. What the iterable raises is raised after the answers for what came before. A batch is
        `batch_size` images, or clips; for answers without delay from a slow iterable, let it be 1.
        """
        for name, value in (('top', top), ('batch_size', batch_size), ('workers', workers)):
            if value < 1:
                raise UserError(f'`{name}` must be 1 or more, not {value}')
        clips = self.preprocessing.views * self.preprocessing.crops if self.frames else 1
        ahead = max(1, (2 * batch_size - 1) // clips)  # sources
        if isinstance(sources, (list, tuple)):
            ahead = min(ahead, len(sources))
        self.check_memory(min(batch_size, ahead * clips), copies=3)
        if isinstance(sources, (list, tuple)) and len(sources) == 1:  # a request: in its own thread
            yield from self._predict_group([self._read(sources[0])], top, batch_size)
            return
        with concurrent.futures.ThreadPoolExecutor(max(1, min(workers, ahead))) as pool, \
                contextlib.closing(_ahead(pool, self._read, sources, ahead)) as read:
            for group in _groups(read, batch_size):
                yield from self._predict_group(group, top, batch_size)

    def _read(self, source: Any) -> tuple[Any, np.ndarray | None, str | None]:
        """(source, its pixels, None), or (source, None, why it cannot be read)."""
        try:
            return source, self.read(source), None
        except UserError as error:
            return source, None, str(error)

    def _predict_group(self, group: list, top: int, batch_size: int) -> Iterator[Prediction]:
        """A `Prediction` for each (source, pixels, error)."""
        pixels = [pixels for _, pixels, _ in group if pixels is not None]
        together = np.concatenate(pixels) if pixels else np.empty(0)
        logits = [self.logits(together[i:i + batch_size])
                  for i in range(0, len(together), batch_size)]
        ends = np.cumsum([len(part) for part in pixels])[:-1]
        parts = iter(np.split(np.concatenate(logits), ends) if pixels else [])
        for source, found, error in group:
            if found is not None:
                part = next(parts)  # clips×classes
                fault = fault_of(part)
                error = f'{source}: {fault}' if fault else None
            yield Prediction(source, None if error else self.best(part, top), error)

    def best(self, logits: np.ndarray, top: int = 5) -> list[tuple[str, float]]:
        """[(class name, probability)] of logits, clips×classes, the most probable first."""
        shares = softmax(logits).mean(axis=0)
        return [(self.classes[i], float(shares[i]))
                for i in np.argsort(-shares, kind='stable')[:top]]

    def score(self, source: Any, batch_size: int = 32, workers: int = 2,
              answers: Answers | None = None) -> Sums | VideoScores:
        """Over all samples of a `data` source: `Sums` of images, or `VideoScores` of videos.

        Classes are matched by name, and the source keeps the network's labels. A sample that cannot
        be read counts as wrong, and is named in the log. `answers`, with the labels of the network,
        takes in what is said of each. UserError where memory is too small, or scores are not
        finite.
        """
        if batch_size < 1:
            raise UserError(f'`batch_size` must be 1 or more, not {batch_size}')
        if tuple(source.classes) != self.classes:
            data.match_classes(source, self.classes, named=has_names(self.meta))
        views, crops = (getattr(self.preprocessing, name, 1) for name in ('views', 'crops'))
        samples = data.Views(source, views) if self.frames else source
        batch_size = max(1, min(batch_size, len(samples)))
        self.check_memory(batch_size * crops, copies=5)  # three batches of the loader, and two here
        with data.Loader(samples, self.preprocessing, workers) as loader:
            loaded = loader.load(data.batches(np.arange(len(samples)), batch_size), 0)
            if self.frames:
                return metrics.evaluate_videos(self.logits, loaded, source.labels,
                                               len(self.classes), views, crops, samples.name,
                                               answers, self._features)
            return metrics.evaluate(self.logits, loaded, len(source), 'scoring', name=source.name,
                                    answers=answers, features=self._features)

    def _features(self) -> np.ndarray | None:
        return self._engine.features

    def pictures(self, source: Any, indices: np.ndarray) -> list[np.ndarray]:
        """uint8 frames×size×size×3 of some samples of a `data` source, as the network gets them:
        one frame of an image, all those of a video's middle clip."""
        views, crops = (getattr(self.preprocessing, name, 1) for name in ('views', 'crops'))
        samples = data.Views(source, views) if self.frames else source
        middle = [[index * views + views // 2] for index in indices]
        found = []
        with data.Loader(samples, self.preprocessing, 0) as loader:
            for batch in loader.load(middle, 0):
                pixels = batch.images[0] if len(batch.images) else np.zeros(
                    self.preprocessing.shape, np.float32)  # it was there when it was scored
                picture = self.preprocessing.restore(pixels[crops // 2] if crops > 1 else pixels)
                found.append(picture if self.frames else picture[None])
        return found


def _ahead(pool: concurrent.futures.Executor, function: Callable, items: Iterable,
           count: int) -> Generator[Any, None, None]:
    """Iterate over function(item), in order, at most `count` begun before they are asked for.

    What `items` raises comes behind the results of what it gave. When this is closed, what waits is
    not begun.
    """
    waiting: collections.deque = collections.deque()
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


def _groups(read: Iterable, batch_size: int) -> Iterator[list]:
    """Lists of what was `read`, of `batch_size` clips, or more where one source has more."""
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
