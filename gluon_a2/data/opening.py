"""From what a user names to a source: a folder, record files, lists of videos, or an embedded
set."""
from __future__ import annotations

import os
from functools import partial
from typing import Any, Callable

from .cued_digits import cued_digits_folder
from .digits import digits_folder
from .layouts import open_images
from .moving_digits import moving_digits_folder
from .sources import RecordSource
from .video_lists import open_video_source

# The small real sets that are made on this machine, by the name that runs and exports record.
EMBEDDED: dict[str, Callable[[], str]] = {
    'digits': digits_folder, 'moving digits': moving_digits_folder,
    'cued digits, far': partial(cued_digits_folder, 'far'),
    'cued digits, near': partial(cued_digits_folder, 'near')}


def embedded_name(video: bool) -> str:
    """The set that stands in where neither data nor a set is named."""
    return 'moving digits' if video else 'digits'


def open_source(data_dir: str | os.PathLike | None, part: str, *, video: bool = False,
                rec: str | None = None, idx: str | None = None, embedded: str | None = None,
                **lists: Any) -> Any:
    """The images or videos of `part`, such as 'train' or 'val'.

    Images are those of the record file `rec` (with its index `idx`), or at `data_dir`. That is a
    `.rec` file, or a folder that holds `<part>.rec` or what `layouts` finds. Where it holds both,
    the records are read. For `video`, `lists` are the arguments of `video_lists.open_video_source`.
    Where nothing is named, the source is the set `embedded`, a key of `EMBEDDED`, by default the
    usual one. UserError when there is none.
    """
    if data_dir is None and not rec and all(value is None for value in lists.values()):
        data_dir = EMBEDDED[embedded or embedded_name(video)]()
    if video:
        folder = None if data_dir is None else os.fspath(data_dir)
        return open_video_source(folder, part, **lists)
    path = os.fspath(rec or data_dir or os.curdir)
    if path.endswith('.rec') or rec:
        return RecordSource(path, idx)
    records = part + '.rec'
    if os.path.exists(os.path.join(path, records)):
        return RecordSource(os.path.join(path, records))
    return open_images(path, part, before=[records])
