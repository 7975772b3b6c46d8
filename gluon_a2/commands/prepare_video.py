"""Check videos, or shrink them, before a network is trained on them.

    %(prog)s --data-dir KINETICS -j 8                # counts, and what cannot be read
    %(prog)s --data-dir UCF --split 1 --decode       # every frame decoded
    %(prog)s --data-dir KINETICS --transcode SMALL   # H.264, short side at most 288

The videos are in folders <data-dir>/<part>/<class>/, in a list (--list, --list-format), or those of
a split of UCF-101. Exit code 1: some videos cannot be read, and are named. 2: nothing could be
done.
"""
import dataclasses
import sys
from typing import Optional, Sequence, Tuple

from .. import cli
from ..errors import UserError
from ..files import check_folder, write_csv
from ..flags import check, option, parse
from ..machine.resources import cores


@dataclasses.dataclass(frozen=True)
class Options:
    """Which videos are prepared, and how they are stored."""

    data_dir: Optional[str] = option(None, 'folder with <part>/<class>/; with --split, the folder '
                                           'of UCF-101; with --list, where its paths start',
                                     group='videos')
    part: Tuple[str, ...] = option(('train', 'val'), 'parts; with --list only its name',
                                   group='videos')
    list: Optional[str] = option(None, 'list of videos', group='videos', metavar='FILE')
    list_format: Optional[str] = option(
        None, 'what a line holds', group='videos',
        choices=('path-label', 'path-frames-label', 'id-label-path', 'kinetics-csv'))
    split: Optional[int] = option(None, 'of UCF-101', group='videos', choices=(1, 2, 3))
    splits: Optional[str] = option(None, 'folder of the UCF-101 split files', group='videos',
                                   metavar='DIR')
    decode: bool = option(False, 'decode every frame instead of reading the packets', group='check')
    report: Optional[str] = option(None, 'also save path, label, frames and reason of each as CSV',
                                   group='check', metavar='FILE')
    transcode: Optional[str] = option(None, 'instead write the videos there as H.264',
                                      group='shrink', metavar='DIR')
    short_side: int = option(288, 'of the videos written, at most', low=2, group='shrink')
    num_data_workers: int = option(cores(), 'processes', short='-j', low=1, group='check')

    def __post_init__(self) -> None:
        check(self)
        if not self.part:
            raise UserError('`part` must be names separated by commas')
        if self.report:
            check_folder(self.report)


@cli.entry
def main(argv: Optional[Sequence[str]] = None) -> int:
    """Open the videos, do what is asked; exit code 1 if any of them cannot be read."""
    (asked,) = parse(cli.parser(__doc__), argv, Options)
    from ..data import open_video_source, prepare_video
    parts = {name: open_video_source(asked.data_dir, name, asked.split, asked.splits, asked.list,
                                     asked.list_format)
             for name in (asked.part[:1] if asked.list else asked.part)}
    failed, found = [], []
    if asked.transcode:
        for source in parts.values():
            failed += prepare_video.transcode(source, asked.data_dir or '.', asked.transcode,
                                              asked.short_side, asked.num_data_workers)
        print(f'{sum(map(len, parts.values())) - len(failed)} videos are in {asked.transcode}')
    else:
        rows = [prepare_video.COLUMNS]
        for name, source in parts.items():
            checked = prepare_video.check(source, asked.num_data_workers, asked.decode)
            rows.append(prepare_video.describe(name, source, checked))
            found += checked
        cli.show_table(rows)
        if asked.split and set(parts) == {'train', 'val'}:
            print(prepare_video.official(asked.split, (len(parts['train']), len(parts['val']))))
        failed = [video for video in found if video.reason]
    for video in failed:
        print(f'{video.path}: {video.reason}', file=sys.stderr)
    if asked.report:
        write_csv(asked.report, [('path', 'label', 'frames', 'reason'), *(found or failed)])
    return 1 if failed else 0
