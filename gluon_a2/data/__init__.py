"""Images and videos for training and prediction: files, decoding, augmentation, and the loader that
feeds a network.

    recordio → sources → loader      record files or class folders of images → batches of pixels
    tars, val_labels → layouts       ImageNet as it is distributed; where images lie in a folder
    imagenet                         its classes in English, and its counts
    video → video_lists → loader     video files, listed in one of several ways → batches of clips
    opening                          which of these a user's words mean; the embedded sets by name
    listing, classes                 what all of them hold to: hidden files, links; class names
    headers → images → preprocess    one image from bytes to pixels to a network's input
    clips                            which frames of a video make a clip
    augment                          random crops and colours of training images and clips
    order                            which sample comes when
    digits, cued_digits, moving_digits, cache     small real data sets, made once
    prepare, prepare_video           ImageNet's folders to record files; checking, shrinking videos
    parallel                         the same work on many files
    synthetic, photos                random pixels, to measure without reading; two photographs

Needs numpy and OpenCV, and PyAV for videos: the loader's processes start without MXNet.
"""
from .augment import TrainClip, TrainTransform
from .classes import check_labels, match_classes
from .clips import Views
from .digits import digits_folder
from .imagenet import warn_of_counts
from .images import ImageError, decode
from .loader import Batch, DamageLog, Loader, WorkerError
from .moving_digits import moving_digits_folder
from .opening import EMBEDDED, embedded_name, open_source
from .order import batches, epoch_order, sample_rng
from .photos import photo_batch
from .preprocess import MEAN, PROTOCOLS, SCALE, ClipPreprocessing, Preprocessing
from .recordio import Record, RecordError, RecordReader, RecordWriter
from .sources import FolderSource, RecordSource
from .synthetic import SyntheticLoader, SyntheticSource
from .video import VideoError, open_video
from .video_lists import VideoSource, open_video_source

__all__ = [
    'Batch', 'ClipPreprocessing', 'DamageLog', 'EMBEDDED', 'FolderSource', 'ImageError',
    'Loader', 'MEAN', 'PROTOCOLS', 'Preprocessing', 'Record', 'RecordError', 'RecordReader',
    'RecordSource', 'RecordWriter', 'SCALE', 'SyntheticLoader', 'SyntheticSource', 'TrainClip',
    'TrainTransform', 'VideoError', 'VideoSource', 'Views', 'WorkerError', 'batches',
    'check_labels', 'decode', 'digits_folder', 'embedded_name', 'epoch_order', 'match_classes',
    'moving_digits_folder', 'open_source', 'open_video', 'open_video_source', 'photo_batch',
    'sample_rng', 'warn_of_counts']
