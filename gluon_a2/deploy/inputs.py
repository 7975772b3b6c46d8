"""From files, folders and patterns such as 'photos/*.jpg' to the files that are meant."""
from __future__ import annotations

import glob
import logging
import os
from collections.abc import Iterable

from ..data.classes import some
from ..data.listing import files_below
from ..data.sources import EXTENSIONS as IMAGES
from ..data.video_lists import EXTENSIONS as VIDEOS
from ..errors import UserError

_log = logging.getLogger(__name__)


def expand(words: Iterable[str], videos: bool = False) -> list[str]:
    """The paths that `words` stand for, in their order.

    A folder stands for all images (or videos) in and below it, a pattern for what it matches (**
    goes into folders), both sorted. Anything else stands for itself. A folder of frames is one
    video.

    Hidden files are left out and links are followed, as everywhere; other files of a folder are
    counted in the log. UserError for a folder or a pattern in which there is nothing of the kind.
    """
    endings, kind, paths = VIDEOS if videos else IMAGES, 'videos' if videos else 'images', []
    for word in words:
        if os.path.isdir(word) and not (videos and _holds_frames(word)):
            found, others = _inside(word, endings, videos)
            if others:
                _log.warning('%s: left out what is no %s, %d in all: %s', word, kind[:-1],
                             len(others), some(others))
        elif os.path.exists(word) or not glob.has_magic(word):
            found = [word]
        else:
            found = [path for path in glob.glob(word, recursive=True)
                     if path.lower().endswith(endings) or videos and _holds_frames(path)]
        if not found:
            raise UserError(f'{word} holds no {kind} ({" ".join(endings)}): name other files')
        paths += sorted(found)
    return paths


def _inside(folder: str, endings: tuple[str, ...], videos: bool) -> tuple[list[str], list[str]]:
    """(samples, other files) in and below a folder."""
    found, others = set(), []
    for path in files_below(folder):
        if path.lower().endswith(endings):
            found.add(path)
        elif videos and os.path.basename(path).startswith('img_'):
            found.add(os.path.dirname(path))
        else:
            others.append(path)
    return list(found), others


def _holds_frames(path: str) -> bool:
    """Whether `path` is a folder of frames, img_00001.jpg and so on."""
    return os.path.isdir(path) and any(name.startswith('img_') for name in os.listdir(path))
