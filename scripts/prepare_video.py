#!/usr/bin/env python3
"""Check videos, list them, or shrink them, before a network is trained on them.

    prepare_video.py --data-dir KINETICS -j 8                          # counts, and what cannot be
    read prepare_video.py --data-dir UCF --split 1 --decode                 # every frame decoded
    prepare_video.py --data-dir KINETICS --transcode SMALL -j 8        # H.264, short side at most
    288 prepare_video.py --data-dir KINETICS --part train --write-list train.txt

The videos are in folders <data-dir>/<part>/<class>/, in a list (--list, --list-format), or those of
a split of UCF-101. Exit code 1: some videos cannot be read, and are named. 2: nothing could be
done.
"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir))

from gluon_a2 import cli
from gluon_a2.errors import UserError
from gluon_a2.files import check_folder, write_csv


def arguments(argv):
    """The parsed command line."""
    parser = cli.parser(__doc__)
    parser.add_argument('--data-dir', help='folder with <part>/<class>/; with --split, the folder '
                                           'of UCF-101; with --list, where its paths start')
    parser.add_argument('--part', default='train,val', help='parts, separated by commas')
    parser.add_argument('--list', metavar='FILE', help='list of videos; --part is then only its '
                                                       'name')
    parser.add_argument('--list-format', metavar='FORM', help='path-label, path-frames-label, '
                                                              'id-label-path, or kinetics-csv, the '
                                                              'official CSV')
    parser.add_argument('--split', type=int, help='of UCF-101: 1, 2 or 3')
    parser.add_argument('--splits', metavar='DIR', help='folder of the UCF-101 split files')
    parser.add_argument('--decode', action='store_true', help='decode every frame instead of '
                                                              'reading the packets')
    parser.add_argument('--report', metavar='FILE', help='also save path, label, frames and reason '
                                                         'of each as CSV')
    parser.add_argument('--write-list', metavar='FILE', help="write a list 'path label', and "
                                                             "classes.txt beside it")
    parser.add_argument('--transcode', metavar='DIR', help='write the videos there as H.264')
    parser.add_argument('--short-side', type=int, default=288, help='of the videos written, at '
                                                                    'most')
    parser.add_argument('-j', '--num-data-workers', type=int, default=os.cpu_count() or 1,
                        help='processes')
    return parser.parse_args(argv)


@cli.entry
def main(argv=None):
    """Open the videos, do what is asked; exit code 1 if any of them cannot be read."""
    args = arguments(argv)
    if args.report:
        check_folder(args.report)
    from gluon_a2.data import open_video_source, prepare_video
    names = args.part.split(',') if args.list is None else args.part.split(',')[:1]
    if not all(names):
        raise UserError(f'--part must be names separated by commas, not {args.part!r}')
    if args.write_list and len(names) > 1:
        raise UserError('--write-list is for one part: add --part train, for example')
    parts = {
        name: open_video_source(args.data_dir, name, args.split, args.splits, args.list,
                                args.list_format) for name in names
    }
    if args.write_list:
        for source in parts.values():
            prepare_video.write_list(source, args.write_list, args.data_dir or '')
            print(f'{args.write_list}: {len(source)} videos of {len(source.classes)} classes')
        return 0
    failed, found = [], []
    if args.transcode:
        for source in parts.values():
            failed += prepare_video.transcode(source, args.data_dir or '.', args.transcode,
                                              args.short_side, args.num_data_workers)
        print(f'{sum(map(len, parts.values())) - len(failed)} videos are in {args.transcode}')
    else:
        rows = [prepare_video.COLUMNS]
        for name, source in parts.items():
            checked = prepare_video.check(source, args.num_data_workers, args.decode)
            rows.append(prepare_video.describe(name, source, checked))
            found += checked
        cli.show_table(rows)
        if args.split and set(parts) == {'train', 'val'}:
            print(prepare_video.official(args.split, (len(parts['train']), len(parts['val']))))
        failed = [video for video in found if video.reason]
    for video in failed:
        print(f'{video.path}: {video.reason}', file=sys.stderr)
    if args.report:
        write_csv(args.report, [('path', 'label', 'frames', 'reason'), *(found or failed)])
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
