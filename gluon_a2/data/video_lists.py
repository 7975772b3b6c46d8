"""Which videos there are: the folders of Kinetics, its official CSV, plain lists, and the splits of
UCF-101.

Every reader gives a `VideoSource`. A video that a list names and the disk lacks stays in it, so
that it counts: in training as damaged, in testing as wrong.
"""
from __future__ import annotations

import csv
import logging
import os
import re
from typing import Iterator, Sequence

import numpy as np

from ..errors import UserError
from .classes import CLASSES_FILE, check_names, numbers, open_text, printable, read_classes
from .images import ImageError
from .listing import class_folders
from .video import FrameFolder, VideoError, VideoFile, open_video

_log = logging.getLogger(__name__)

EXTENSIONS = ('.mp4', '.avi', '.mkv', '.webm', '.mov', '.flv', '.ts', '.mpg', '.mpeg', '.m4v',
              '.wmv', '.3gp')
# The lines of lists; a path may hold spaces.
LINES = {'path-label': r'(?P<path>.+)\s+(?P<label>\S+)',
         'path-frames-label': r'(?P<path>.+)\s+(?P<frames>\S+)\s+(?P<label>\S+)',
         'id-label-path': r'\S+\s+(?P<label>\S+)\s+(?P<path>.+)'}
FORMS = (*LINES, 'kinetics-csv')
# training and test clips of the splits
UCF101_COUNTS = {1: (9537, 3783), 2: (9586, 3734), 3: (9624, 3696)}


class VideoSource:
    """Labelled videos, with the interface of sources.py, and `video(i)`.

    `frames` are counts that a list gives. A folder of frames must hold as many; of a file the count
    is not believed, since those who wrote it took it from a header that may lie. `split` is that of
    UCF-101, or None. `named` is False where `classes` are only numbers.
    """

    def __init__(self, paths: Sequence[str], labels: Sequence[int] | np.ndarray,
                 classes: Sequence[str], frames: Sequence[int] | None = None,
                 split: int | None = None, cache: str | os.PathLike | None = None,
                 named: bool = True) -> None:
        self.paths, self.classes, self.split = list(paths), tuple(classes), split
        self.labels, self.named = np.array(labels, np.int64), named
        self._frames, self._cache = frames, cache

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, i: int) -> str:
        """Its path, as it can be printed."""
        return printable(self.paths[i])

    def read(self, i: int) -> bytes:
        """The encoded bytes of a file, or of a folder's first frame; `ImageError` without any."""
        path = self.paths[i]
        try:
            if os.path.isdir(path):
                path = min(os.path.join(path, name) for name in ['img_00001.jpg', *os.listdir(path)]
                           if not name.startswith('.'))
            with open(path, 'rb') as file:
                return file.read()
        except OSError as error:
            raise ImageError(f'it cannot be read: {error.strerror}') from error

    def video(self, i: int) -> FrameFolder | VideoFile:
        """The video, opened; `VideoError`."""
        if not os.path.exists(self.paths[i]):
            raise VideoError('it is missing')
        video = open_video(self.paths[i], self._cache)
        if (self._frames is not None and isinstance(video, FrameFolder)
                and len(video) != self._frames[i]):
            raise VideoError(f'it holds {len(video)} frames, and the list says {self._frames[i]}')
        return video


def open_video_source(data_dir: str | None, part: str, split: int | None = None,
                      splits: str | None = None, video_list: str | None = None,
                      list_format: str | None = None) -> VideoSource:
    """The 'train', 'val' or 'test' videos, by what is given: a list, a split of UCF-101, or the
    folders of Kinetics.

    `data_dir` is where paths of a list start, the folder of UCF-101, or what holds the folders
    `part`. UserError.
    """
    if video_list is not None:
        if list_format == 'kinetics-csv':
            return kinetics_csv(video_list, data_dir or '', part)
        return read_list(video_list, list_format, data_dir or '')
    if list_format is not None:
        raise UserError('`list_format` needs a list of videos')
    if data_dir is None:
        raise UserError('`data_dir` is missing: the folder that holds the videos')
    if split is not None:
        return ucf101(data_dir, splits, split, part)
    return kinetics_folder(data_dir, part)


def kinetics_folder(data_dir: str, part: str) -> VideoSource:
    """The videos in `<data_dir>/<part>/<class>/`, and folders of frames there; see
    `listing.class_folders` for their order, and for what is left out or refused."""
    folder = os.path.join(data_dir, part)
    if not os.path.isdir(folder):
        raise UserError(f'no {part} videos in {data_dir}: the folder {folder} with class folders '
                        'does not exist; `data_dir` is the folder that holds it')
    classes, videos = class_folders(
        folder, lambda entry: entry.name.lower().endswith(EXTENSIONS) or entry.is_dir(), 'videos')
    return VideoSource([os.path.join(folder, path) for paths in videos for path in paths],
                       np.repeat(np.arange(len(classes)), list(map(len, videos))), classes)


_COLUMNS = ('label', 'youtube_id', 'time_start', 'time_end', 'split')
_PARTS = {'val': ('val', 'validate', 'validation')}  # what the releases call it


def kinetics_csv(path: str, root: str, part: str) -> VideoSource:
    """The videos of `part` in the official CSV label,youtube_id,time_start,time_end,split; more
    columns may follow.

    Files are `<root>/<label>/<id>_<start>_<end>.mp4`, times of six digits, or the same in
    `<root>/<part>/`. Classes are those of the whole file, in alphabetical order. A row that is
    there twice counts once, and the log says so.
    """
    rows = list(_csv_rows(path))
    classes = sorted({row['label'] for row in rows})
    check_names(classes, path)
    label = {name: i for i, name in enumerate(classes)}
    base = os.path.join(root, part) if os.path.isdir(os.path.join(root, part)) else root
    chosen = [row for row in rows if row['split'] in _PARTS.get(part, (part,))]
    videos = {os.path.join(base, row['label'], row['file']): label[row['label']] for row in chosen}
    if not videos:
        known = ', '.join(sorted({row['split'] for row in rows}))
        raise UserError(f'{path} lists no {part} videos: its splits are {known}')
    if len(videos) < len(chosen):
        _log.warning('%s lists %d of its %d %s videos more than once: each counts once', path,
                     len(chosen) - len(videos), len(chosen), part)
    return VideoSource(list(videos), list(videos.values()), classes)


def _csv_rows(path: str) -> Iterator[dict[str, str]]:
    with open_text(path) as file:
        reader = csv.DictReader(file)
        try:
            missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise UserError(f'{path} has no column {missing[0]}: the official CSV begins with '
                                f'{",".join(_COLUMNS)}')
            for row in reader:
                times = [_six_digits(row[name]) for name in ('time_start', 'time_end')]
                if '' in times or None in (row[name] for name in _COLUMNS):
                    raise UserError(
                        f'{path}:{reader.line_num} has no times in whole seconds, or not all '
                        f'columns: {row["time_start"]!r} and {row["time_end"]!r}')
                yield {**row, 'file': f'{"_".join([row["youtube_id"], *times])}.mp4'}
        except csv.Error as error:
            where = f'{path}:{reader.line_num + 1}'
            raise UserError(f'{where} is not a line of CSV: {error}') from error


def _six_digits(text: str | None) -> str:
    """A number of whole seconds as file names have it, or ''."""
    try:
        seconds = float(text or '')
    except ValueError:
        return ''
    return f'{seconds:06.0f}' if seconds.is_integer() and 0 <= seconds < 1e6 else ''


def read_list(path: str, form: str | None, root: str = '') -> VideoSource:
    """The videos of a list, one a line, in one of the forms `LINES`; blank lines are passed over.

    Paths start from `root`. Class names are the lines of `classes.txt` beside the list, or numbers.
    """
    if form not in LINES:
        raise UserError(f'`list_format` must be one of {", ".join(FORMS)}, not {form!r}')
    names = os.path.join(os.path.dirname(path), CLASSES_FILE)
    classes = read_classes(names) if os.path.exists(names) else None
    labels: dict[str, int] = {}
    first: dict[str, str] = {}
    frames = []
    for where, line in _lines(path):
        video, count, label = _parse(line, form, where)
        if classes is not None and label >= len(classes):
            raise UserError(f'{where} has the label {label}, and there are {len(classes)} classes: '
                            f'labels are 0…{len(classes) - 1}')
        if video in first:
            raise UserError(f'{where} lists {printable(video)} again, after {first[video]}: remove '
                            'one')
        labels[os.path.join(root, video)], first[video] = label, where
        frames.append(count)
    if not labels:
        raise UserError(f'{path} lists no videos')
    largest = max(labels, key=labels.__getitem__)
    return VideoSource(list(labels), list(labels.values()),
                       numbers(labels[largest] + 1, largest) if classes is None else classes,
                       frames if form == 'path-frames-label' else None, named=classes is not None)


def _parse(line: str, form: str, where: str) -> tuple[str, int, int]:
    """(path, frames or 1, label) of one line; `where` is file and line, for messages."""
    match = re.fullmatch(LINES[form], line)
    if not match:
        raise UserError(f'{where} is not "{form.replace("-", " ")}": {line!r}')
    found = {'frames': '1', **match.groupdict()}
    for key, what in (('frames', 'number of frames'), ('label', 'label')):
        if not re.fullmatch('[0-9]{1,15}', found[key]):
            raise UserError(f'{where} has no whole number, 0 or more, as its {what}, but '
                            f'{found[key][:40]!r}: {line[:200]!r}')
    return found['path'].rstrip(), int(found['frames']), int(found['label'])


def ucf101(data_dir: str, splits: str | None, split: int, part: str) -> VideoSource:
    """The training ('train') or test ('val', 'test') clips of a split, 1, 2 or 3, of UCF-101.

    The clips are in `<data_dir>/UCF-101/<Class>/`, or in `<data_dir>/<Class>/`; classInd.txt and
    the lists in `splits`, or in `ucfTrainTestlist` in or beside `data_dir`.
    """
    if split not in UCF101_COUNTS:
        raise UserError(f'`split` must be 1, 2 or 3, not {split}')
    folder = _first_folder([os.path.join(data_dir, 'UCF-101'), data_dir],
                           f'{data_dir} is no folder')
    near = [os.path.join(data_dir, *up, 'ucfTrainTestlist') for up in ((), (os.pardir,))]
    splits = _first_folder([splits] if splits else near, f'`splits` {splits} is no folder' if splits
                           else f'no folder ucfTrainTestlist in {data_dir} or beside it: give it '
                                'as `splits`')
    index = os.path.join(splits, 'classInd.txt')
    rows = [line.split() for _, line in _lines(index)]
    if not rows or any(len(row) != 2 or row[0] != str(i) for i, row in enumerate(rows, 1)):
        raise UserError(f'{index} does not number the classes 1, 2, 3, …, a class a line')
    number = {name: i for i, (_, name) in enumerate(rows)}
    path = os.path.join(splits, f'{"train" if part == "train" else "test"}list0{split}.txt')
    clips, labels = [], []
    for where, line in _lines(path):
        clip, *label = line.rsplit(None, 1) if part == 'train' else [line]
        name, slash, _ = clip.partition('/')
        if name not in number or not slash:
            raise UserError(f'{where} is not <Class>/<clip>.avi of a class in classInd.txt: '
                            f'{line!r}')
        if part == 'train' and label != [str(number[name] + 1)]:
            raise UserError(f'{where} has the label {"".join(label) or "(none)"}, and {name} is '
                            f'{number[name] + 1} in classInd.txt')
        clips.append(os.path.join(folder, clip))
        labels.append(number[name])
    if not clips:
        raise UserError(f'{path} lists no videos')
    return VideoSource(clips, labels, list(number), split=split)


def _first_folder(candidates: list[str], sentence: str) -> str:
    for path in candidates:
        if os.path.isdir(path):
            return path
    raise UserError(sentence)


def _lines(path: str) -> Iterator[tuple[str, str]]:
    """(file and line for messages, the line) of each that is not blank."""
    with open_text(path) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield f'{path}:{number}', line.strip()
