"""Which videos there are: the folders of Kinetics, its official CSV, plain lists, and the splits of
UCF-101.

Every reader gives a `VideoSource`. A video that a list names and the disk lacks stays in it, so
that it counts: in training as damaged, in testing as wrong.
"""
import csv
import os

import numpy as np

from ..errors import UserError
from .classes import CLASSES_FILE, numbers, read_classes
from .images import ImageError
from .video import FrameFolder, VideoError, open_video

EXTENSIONS = ('.mp4', '.avi', '.mkv', '.webm', '.mov', '.flv', '.ts', '.mpg', '.mpeg', '.m4v',
              '.wmv', '.3gp')
FORMS = ('path-label', 'path-frames-label', 'id-label-path', 'kinetics-csv')
# training and test clips of the splits
UCF101_COUNTS = {1: (9537, 3783), 2: (9586, 3734), 3: (9624, 3696)}


class VideoSource:
    """Labelled videos, with the interface of sources.py, and `video(i)`.

    `frames` are counts that a list gives. A folder of frames must hold as many; of a file the count
    is not believed, since those who wrote it took it from a header that may lie. `split` is that of
    UCF-101, or None.
    """

    named = True  # False where classes are only numbers; see sources.py

    def __init__(self, paths, labels, classes, frames=None, split=None, cache=None):
        self.paths, self.classes, self.split = list(paths), tuple(classes), split
        self.labels = np.array(labels, np.int64)
        self._frames, self._cache = frames, cache

    def __len__(self):
        return len(self.paths)

    def name(self, i):
        """Its path."""
        return self.paths[i]

    def read(self, i):
        """The encoded bytes of a file, or of the first frame of a folder; `ImageError` where there
        are none."""
        path = self.paths[i]
        try:
            if os.path.isdir(path):
                path = os.path.join(path, min(os.listdir(path), default='img_00001.jpg'))
            with open(path, 'rb') as file:
                return file.read()
        except OSError as error:
            raise ImageError(f'it cannot be read: {error.strerror}') from error

    def video(self, i):
        """The video, opened; `VideoError`."""
        if not os.path.exists(self.paths[i]):
            raise VideoError('it is missing')
        video = open_video(self.paths[i], self._cache)
        if self._frames is not None and isinstance(video,
                                                   FrameFolder) and len(video) != self._frames[i]:
            raise VideoError(f'it holds {len(video)} frames, and the list says {self._frames[i]}')
        return video


def open_video_source(data_dir, part, split=None, splits=None, video_list=None, list_format=None):
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
        raise UserError('--list-format needs a list of videos')
    if data_dir is None:
        raise UserError('--data-dir is missing: the folder that holds the videos')
    if split is not None:
        return ucf101(data_dir, splits, split, part)
    return kinetics_folder(data_dir, part)


def kinetics_folder(data_dir, part):
    """The videos in `<data_dir>/<part>/<class>/`, and folders of frames there; classes and files in
    alphabetical order.

    Other files and hidden folders are passed over; a class without a video is a UserError: it would
    shift labels.
    """
    folder = os.path.join(data_dir, part)
    if not os.path.isdir(folder):
        raise UserError(f'no {part} videos in {data_dir}: the folder {folder} with class folders '
                        'does not exist; --data-dir is the folder that holds it')
    classes = sorted(name for name in os.listdir(folder)
                     if os.path.isdir(os.path.join(folder, name)) and not name.startswith('.'))
    if not classes:
        raise UserError(f'{folder} holds no class folders: videos belong into {folder}/<class>/')
    paths, labels = [], []
    for label, name in enumerate(classes):
        found = [path for path in sorted(os.listdir(os.path.join(folder, name)))
                 if not path.startswith('.') and _is_video(os.path.join(folder, name, path))]
        if not found:
            raise UserError(f'the class folder {folder}/{name} holds no videos: fill or remove it')
        paths += [os.path.join(folder, name, path) for path in found]
        labels += [label] * len(found)
    return VideoSource(paths, labels, classes)


def _is_video(path):
    return path.lower().endswith(EXTENSIONS) or os.path.isdir(path)


def kinetics_csv(path, root, part):
    """The videos of `part` in the official CSV label,youtube_id,time_start,time_end,split; more
    columns may follow.

    Files are `<root>/<label>/<id>_<start>_<end>.mp4`, times of six digits, or the same in
    `<root>/<part>/`. Classes are those of the whole file, in alphabetical order.
    """
    rows = _csv_rows(path)
    classes = sorted({row['label'] for row in rows})
    label = {name: i for i, name in enumerate(classes)}
    chosen = [row for row in rows if row['split'] in _PARTS.get(part, (part,))]
    if not chosen:
        known = ', '.join(sorted({row['split'] for row in rows}))
        raise UserError(f'{path} lists no {part} videos: its splits are {known}')
    base = os.path.join(root, part) if os.path.isdir(os.path.join(root, part)) else root
    paths = [
        os.path.join(base, row['label'],
                     f'{row["youtube_id"]}_{row["start"]:06d}_{row["end"]:06d}.mp4')
        for row in chosen
    ]
    return VideoSource(paths, [label[row['label']] for row in chosen], classes)


_COLUMNS = ('label', 'youtube_id', 'time_start', 'time_end', 'split')
_PARTS = {'val': ('val', 'validate', 'validation')}  # what the releases call it


def _csv_rows(path):
    with _open(path) as file:
        reader = csv.DictReader(file)
        missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise UserError(f'{path} has no column {missing[0]}: the official CSV begins with '
                            f'{",".join(_COLUMNS)}')
        rows = []
        for row in reader:
            try:
                rows.append({
                    **row, 'start': int(float(row['time_start'])),
                    'end': int(float(row['time_end']))
                })
            except (TypeError, ValueError):
                raise UserError(f'{path}:{reader.line_num} has no times in whole seconds: '
                                f'{row["time_start"]!r} and {row["time_end"]!r}') from None
    return rows


def read_list(path, form, root='', classes=None):
    """The videos of a list, one a line: 'path-label' (split from the right: paths have spaces),
    'path-frames-label' or 'id-label-path'. Blank lines are passed over.

    Paths start from `root`. Class names are the lines of `classes.txt` beside the list, or numbers.
    """
    if form not in FORMS[:3]:
        raise UserError(f'--list-format must be one of {", ".join(FORMS)}, not {form!r}')
    names = os.path.join(os.path.dirname(path), CLASSES_FILE)
    if classes is None and os.path.exists(names):
        classes = read_classes(names)
    found, frames, first = {}, [], {}
    with _open(path) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                video, count, label = _parse(line.strip(), form, f'{path}:{number}')
                if classes is not None and label >= len(classes):
                    raise UserError(f'{path}:{number} has the label {label}, and there are '
                                    f'{len(classes)} classes: labels are 0…{len(classes) - 1}')
                if video in first:
                    raise UserError(f'{path}:{number} lists {video} again, after line '
                                    f'{first[video]}: remove one')
                found[os.path.join(root, video)], first[video] = label, number
                frames.append(count)
    if not found:
        raise UserError(f'{path} lists no videos')
    named = classes is not None
    largest = max(found, key=found.get)
    source = VideoSource(found, list(found.values()),
                         classes if named else numbers(found[largest] + 1, largest),
                         frames if form == 'path-frames-label' else None)
    source.named = named
    return source


def _parse(line, form, where):
    """(path, frames or None, label) of one line; `where` is file and line, for messages."""
    words = line.split(None, 2) if form == 'id-label-path' else line.rsplit(
        None, 1 if form == 'path-label' else 2)
    if len(words) < (2 if form == 'path-label' else 3):
        raise UserError(f'{where} is not "{form.replace("-", " ")}": {line!r}')
    path, frames, label = {'path-label': lambda: (words[0], '1', words[1]),
                           'path-frames-label': lambda: words,
                           'id-label-path': lambda: (words[2], '1', words[1])}[form]()
    for number, what in ((frames, 'number of frames'), (label, 'label')):
        if not (number.isascii() and number.isdigit()):
            raise UserError(f'{where} has no whole number, 0 or more, as its {what}, but '
                            f'{number!r}: {line!r}')
    return path, int(frames), int(label)


def ucf101(data_dir, splits, split, part):
    """The training ('train') or test ('val', 'test') clips of a split, 1, 2 or 3, of UCF-101.

    The clips are in `<data_dir>/UCF-101/<Class>/`, or in `<data_dir>/<Class>/`; classInd.txt and
    the lists in `splits`, or in `ucfTrainTestlist` in or beside `data_dir`.
    """
    if split not in UCF101_COUNTS:
        raise UserError(f'--split must be 1, 2 or 3, not {split}')
    folder = _first_folder([os.path.join(data_dir, 'UCF-101'), data_dir], f'{data_dir} is no '
                                                                          'folder')
    near = [
        os.path.join(data_dir, 'ucfTrainTestlist'),
        os.path.join(data_dir, os.pardir, 'ucfTrainTestlist')
    ]
    splits = _first_folder(
        [splits] if splits else near, f'no folder ucfTrainTestlist in {data_dir} or beside it: '
        'give it as --splits' if not splits else f'--splits {splits} is no folder')
    classes = _ucf101_classes(os.path.join(splits, 'classInd.txt'))
    name = os.path.join(splits, f'{"train" if part == "train" else "test"}list0{split}.txt')
    paths, labels = [], []
    with _open(name) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                clip, label = _ucf101_line(line.strip(), classes, part == 'train',
                                           f'{name}:{number}')
                paths.append(os.path.join(folder, clip))
                labels.append(label)
    return VideoSource(paths, labels, classes, split=split)


def _ucf101_classes(path):
    with _open(path) as file:
        rows = [line.split() for line in file if line.strip()]
    if not rows or any(len(row) != 2 or row[0] != str(i) for i, row in enumerate(rows, 1)):
        raise UserError(f'{path} does not number the classes 1, 2, 3, …, a class a line')
    return [name for _, name in rows]


def _ucf101_line(line, classes, labelled, where):
    clip, *label = line.rsplit(None, 1) if labelled else [line]
    name = clip.split('/')[0]
    if name not in classes or '/' not in clip:
        raise UserError(f'{where} is not <Class>/<clip>.avi of a class in classInd.txt: {line!r}')
    if labelled and label != [str(classes.index(name) + 1)]:
        raise UserError(f'{where} has the label {"".join(label) or "(none)"}, and {name} is '
                        f'{classes.index(name) + 1} in classInd.txt')
    return clip, classes.index(name)


def _first_folder(candidates, sentence):
    for path in candidates:
        if os.path.isdir(path):
            return path
    raise UserError(sentence)


def _open(path):
    try:
        return open(path, encoding='utf-8', errors='surrogateescape', newline='')
    except OSError as error:
        raise UserError(f'{path} cannot be read: {error.strerror}') from error
