"""Images and videos for training and prediction: files, decoding, augmentation, and the loader that
feeds a network.

    recordio → sources → loader      record files or class folders of images → batches of pixels
    video → video_lists → loader     video files, listed in one of several ways → batches of clips
    images, augment                  what the loader, and `deploy`, do to one image clips
    and to one video: which frames, which part of them order                            which sample
    comes when digits, moving_digits, cache     small real data sets, made once prepare,
    prepare_video           ImageNet's folders to record files; checking and shrinking videos
    synthetic, photos                random pixels, to measure without reading; and two photographs

Needs numpy and OpenCV, and PyAV for videos: the loader's processes start without MXNet.
"""
from .augment import EvalTransform, TrainTransform
from .clips import EvalClip, TrainClip, Views
from .digits import digits_folder
from .images import MEAN, SCALE, ImageError, decode, normalise
from .loader import Batch, DamageLog, Loader, WorkerError
from .moving_digits import moving_digits_folder
from .order import batches, epoch_order, sample_rng
from .photos import photo_batch
from .recordio import Record, RecordError, RecordReader, RecordWriter
from .sources import FolderSource, RecordSource, check_classes, check_labels, open_source
from .synthetic import SyntheticLoader, SyntheticSource
from .video import VideoError, open_video
from .video_lists import VideoSource, open_video_source

__all__ = [
    'MEAN', 'SCALE', 'Batch', 'DamageLog', 'EvalClip', 'EvalTransform', 'FolderSource',
    'ImageError', 'Loader', 'Record', 'RecordError', 'RecordReader', 'RecordSource', 'RecordWriter',
    'SyntheticLoader', 'SyntheticSource', 'TrainClip', 'TrainTransform', 'VideoError',
    'VideoSource', 'Views', 'WorkerError', 'batches', 'check_classes', 'check_labels', 'decode',
    'digits_folder', 'epoch_order', 'moving_digits_folder', 'normalise', 'open_source',
    'open_video', 'open_video_source', 'photo_batch', 'sample_rng',
]
