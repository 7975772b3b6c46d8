"""Images for training and prediction: files, decoding, augmentation, and the loader that feeds a network.

    recordio → sources → loader      record files or class folders → batches of pixels
    images, augment                  what the loader, and `deploy`, do to one image
    order                            which image comes when
    digits, prepare                  a small real data set; ImageNet's folders to record files
    synthetic                        random pixels, to measure without reading

Needs numpy and OpenCV only: the loader's processes start without MXNet.
"""
from .augment import EvalTransform, TrainTransform
from .digits import digits_folder
from .images import MEAN, SCALE, ImageError, decode, normalise
from .loader import Batch, DamageLog, Loader, WorkerError
from .order import batches, epoch_order, sample_rng
from .recordio import Record, RecordError, RecordReader, RecordWriter
from .sources import FolderSource, RecordSource, check_classes, check_labels, open_source
from .synthetic import SyntheticLoader, SyntheticSource

__all__ = [
    'MEAN', 'SCALE', 'Batch', 'DamageLog', 'EvalTransform', 'FolderSource', 'ImageError', 'Loader', 'Record',
    'RecordError', 'RecordReader', 'RecordSource', 'RecordWriter', 'SyntheticLoader', 'SyntheticSource',
    'TrainTransform', 'WorkerError', 'batches', 'check_classes', 'check_labels', 'decode', 'digits_folder',
    'epoch_order', 'normalise', 'open_source', 'sample_rng',
]
