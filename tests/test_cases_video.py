"""Videos and lists that people really have: small copies in data/cases, and the originals where a
checkout stands beside them."""
import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('av')

from gluon_a2.data import open_video, open_video_source  # noqa: E402 (needs PyAV)

HERE = Path(__file__).resolve().parent
PLACES = [HERE / 'data' / 'cases', HERE.parents[1] / 'shared' / 'cases']
# By the bytes of the file: frames, and the MD5 of all of them in RGB, as `ffmpeg -f rawvideo
# -pix_fmt rgb24` writes them.
FFMPEG = {
    ('02-cut-by-copy/cut_nonkey.mp4', 6021): (39, 'f7717edd297cccab4941a7de85e277e0'),
    ('03-mirrored-video/o_hflip.mp4', 2263): (5, '56c493534953883016fd62fc1372f6f5'),
    ('03-mirrored-video/o_vflip.mp4', 2263): (5, '80ce67d4bda7e9722a49031d2f062f4b'),
    ('03-mirrored-video/plain.mp4', 2263): (5, '6305db21344a4dfd5f4ea56ef0fe56ba'),
    ('04-pyav-versions/val/a/tiny.mp4', 2759): (25, '39dbe7b75402619029fa34ae25d34446'),
    ('02-cut-by-copy/cut_nonkey.mp4', 31767): (37, '548f84345b2e8125507168fc48dd67f1'),
    ('03-mirrored-video/o_hflip.mp4', 41101): (50, 'f0c3336d12d2046526d87a7628bc76bf'),
    ('03-mirrored-video/o_vflip.mp4', 41101): (50, '7768b09f52e1108c47de615d2023f6c4'),
    ('03-mirrored-video/plain.mp4', 41101): (50, '2fb96670f192923263c1883eca025dcc'),
}


@pytest.fixture(params=PLACES, ids=['copies', 'originals'])
def cases(request):
    if not request.param.exists():
        pytest.skip('the originals are not there')
    return request.param


def pictures(path, cache):
    video = open_video(path, cache)
    return np.stack(list(video.read(range(len(video)))))


@pytest.mark.parametrize('name', ['02-cut-by-copy/cut_nonkey.mp4', '03-mirrored-video/o_hflip.mp4',
                                  '03-mirrored-video/o_vflip.mp4', '03-mirrored-video/plain.mp4',
                                  '04-pyav-versions/val/a/tiny.mp4'])
def test_pixels_are_those_of_ffmpeg(cases, tmp_path, name):
    found = pictures(cases / name, tmp_path)
    expected = FFMPEG[name, (cases / name).stat().st_size]
    assert (len(found), hashlib.md5(found.tobytes()).hexdigest()) == expected


def test_mirrored_videos_are_shown_mirrored(cases, tmp_path):
    plain, across, down = (pictures(cases / '03-mirrored-video' / name, tmp_path)
                           for name in ('plain.mp4', 'o_hflip.mp4', 'o_vflip.mp4'))
    np.testing.assert_array_equal(across, plain[:, :, ::-1])
    np.testing.assert_array_equal(down, plain[:, ::-1])


def test_byte_order_marks_are_no_part_of_lists(cases):
    folder = cases / '11-bom'
    listed = open_video_source(str(folder), 'train', video_list=str(folder / 'list.txt'),
                               list_format='path-label')
    assert listed.paths == [str(folder / 'a.mp4'), str(folder / 'c.mp4')]
    official = open_video_source(str(folder), 'train', video_list=str(folder / 'kinetics.csv'),
                                 list_format='kinetics-csv')
    assert official.classes == ('abseiling', 'petting animal (not cat)')


def test_a_name_with_colons_opens(cases, tmp_path, monkeypatch):
    """A Git checkout on Windows could not hold the copy."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(cases / '04-pyav-versions/val/a/tiny.mp4', '12:30:00.mp4')
    assert len(pictures('12:30:00.mp4', tmp_path)) == 25
