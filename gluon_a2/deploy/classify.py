"""Using an exported network: pictures and videos to class names, and a data set to an accuracy."""
import math
from pathlib import Path

import numpy as np

from ..backend import mx
from ..data import EvalClip, EvalTransform, ImageError, Loader, Views, batches, decode, normalise, open_video
from ..errors import UserError
from ..metrics import evaluate, evaluate_videos, softmax
from ..symbol import parse_symbol
from .bundle import Bundle, read_bundle


class Classifier:
    """A network and the preprocessing it was trained with; `frames` is 0 for an image network.

    `source` is a `Bundle`, or the prefix of exported files. `size` is the side of the crop, the network's own where
    not given; `crop_ratio` likewise. `mean_max` classifies every window of the last map that is as large as the map
    was in training, and takes (mean + max)/2 of their logits, as the Dual Path Networks code does at 320×320.
    Of a video, `views` clips are seen, in `crops` windows each, and their softmax is averaged.
    """

    def __init__(self, source, size=None, crop_ratio=None, mean_max=False, ctx=None, views=None, crops=None):
        bundle = source if isinstance(source, Bundle) else read_bundle(source)
        self.meta, self.ctx = bundle.meta, ctx or mx.cpu()
        self.classes = tuple(self.meta['classes'])
        own = self.meta['input_shape'][-1]
        self.frames = self.meta['input_shape'][1] if len(self.meta['input_shape']) == 4 else 0
        self.size = own if size is None else size
        if mean_max and self.frames:
            raise UserError(f'mean-max pooling is for image networks: leave it out for {self.meta["network"]}')
        if not self.frames and (views or crops):
            raise UserError(f'--views and --crops are for video networks: leave them out for {self.meta["network"]}')
        if self.size < own and mean_max:
            raise UserError(f'mean-max pooling needs crops of at least {own}, the size in training, not {self.size}')
        if self.size < max(self.meta['stride']):
            raise UserError(f'{self.meta["network"]} cannot take images of {self.size}: '
                            f'its total stride is {max(self.meta["stride"])}, so that is the smallest')
        self.transform = self._transform(self.meta['crop_ratio'] if crop_ratio is None else crop_ratio, views, crops)
        bundle = mean_max_pooled(bundle) if mean_max else bundle
        symbol = parse_symbol(bundle.graph, self.meta['network'])
        self._network = mx.gluon.SymbolBlock(symbol, mx.sym.var(self.meta['input'], dtype='float32'))
        self._network.collect_params().load_dict({name: mx.nd.array(value) for name, value in bundle.values.items()},
                                                 ctx=self.ctx)
        self._network.hybridize(static_alloc=True, static_shape=True)

    def _transform(self, crop_ratio, views, crops):
        if not self.frames:
            return EvalTransform(self.size, crop_ratio)
        views, crops = (self.meta[name] if given is None else given for name, given in (('views', views),
                                                                                       ('crops', crops)))
        return EvalClip(self.size, self.frames, self.meta['frame_stride'], crop_ratio, views, crops)

    def logits(self, images):
        """float32 N×classes of preprocessed images (float32 N×3×size×size) or clips (N×3×frames×size×size)."""
        return self._network(mx.nd.array(images, self.ctx)).asnumpy()

    def preprocess(self, encoded):
        """float32 3×size×size of an encoded image (bytes); `ImageError` if it cannot be decoded."""
        return normalise(self.transform(decode(encoded)), mean=self.meta['mean'], scale=self.meta['scale'])

    def predict(self, path, top=5):
        """[(class name, probability)] of an image or video file, the most probable first; UserError if it cannot be
        read."""
        if top < 1:
            raise UserError(f'--top must be 1 or more, not {top}')
        try:
            shares = np.mean([softmax(self.logits(pixels)).mean(axis=0) for pixels in self._inputs(path)], axis=0)
        except OSError as error:
            raise UserError(f'{path} cannot be read: {error.strerror}') from error
        except ImageError as error:
            what = 'a video that can be read' if self.frames else 'an image that can be decoded'
            raise UserError(f'{path} is not {what}: {error}') from error
        return [(self.classes[i], float(shares[i])) for i in np.argsort(-shares, kind='stable')[:top]]

    def _inputs(self, path):
        """Iterate over batches of preprocessed pixels: of an image one, of a video one for each view."""
        if self.frames:
            return self.transform.clips(open_video(path), self.meta['mean'], self.meta['scale'])
        return [self.preprocess(Path(path).read_bytes())[None]]

    def score(self, source, batch_size=32, workers=2):
        """Over all samples of a `data` source, every one once: `Sums` of images, or `VideoScores` of videos."""
        if batch_size < 1:
            raise UserError(f'--batch-size must be 1 or more, not {batch_size}')
        samples = Views(source, self.transform.views) if self.frames else source
        with Loader(samples, self.transform, workers) as loader:
            loaded = loader.load(batches(np.arange(len(samples)), batch_size), 0)
            if self.frames:
                return evaluate_videos(self.logits, loaded, source.labels, len(self.classes), self.transform.views,
                                       self.transform.crops)
            return evaluate(self.logits, loaded, len(source), describe='scoring')


def mean_max_pooled(bundle):
    """The `Bundle` with its pooling and classifier made convolutional, and mean-max pooling at the end."""
    meta, name = bundle.meta, bundle.meta['classifier']
    window = tuple(math.ceil(side / stride) for side, stride in zip(meta['input_shape'][1:], meta['stride']))
    weight = bundle.arguments[f'{name}_weight']  # classes×C
    features = parse_symbol(bundle.graph, meta['network']).get_internals()[meta['features']]  # N×C×h×w
    pooled = mx.sym.Pooling(features, pool_type='avg', kernel=window, stride=(1, 1))  # N×C×h'×w'
    maps = mx.sym.Convolution(pooled, mx.sym.var(f'{name}_weight'), mx.sym.var(f'{name}_bias'), kernel=(1, 1),
                              num_filter=weight.shape[0])  # N×classes×h'×w'
    mean, largest = (mx.sym.Pooling(maps, pool_type=kind, kernel=(1, 1), global_pool=True) for kind in ('avg', 'max'))
    symbol = mx.sym.flatten((mean + largest) / 2)  # N×classes
    return bundle._replace(graph=symbol.tojson().encode(), arguments={
        **bundle.arguments, f'{name}_weight': weight.reshape((*weight.shape, 1, 1))})
