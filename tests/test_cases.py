"""Inputs that people really have, each a folder of tests/data/cases: what was answered wrongly once
must stay right. Larger ones of the same names are read too where they lie beside the checkout."""
import hashlib
import io
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from gluon_a2 import data
from gluon_a2.data.listing import files_below
from gluon_a2.deploy import Bundle, Classifier, engines
from gluon_a2.deploy.bundle import describe
from gluon_a2.errors import UserError
from gluon_a2.scoring.samples import open_samples

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {'small': ROOT / 'tests' / 'data' / 'cases', 'shared': ROOT.parent / 'shared' / 'cases'}
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


@pytest.fixture(params=FOLDERS)
def case(request):
    """case(name): the path of a case's folder; skips where it is absent."""
    def find(name):
        path = FOLDERS[request.param] / name
        if not path.exists():
            pytest.skip(f'{path} is not here')
        return path
    return find


def test_01_classes_are_matched_by_name(case, caplog):
    source = data.open_source(case('01-classes-by-number'), 'val')
    folders = [Path(source.name(i)).parent.name for i in range(len(source))]
    data.match_classes(source, [str(digit) for digit in range(10)])
    assert [str(label) for label in source.labels] == folders
    assert '1 of the 10 classes have no sample in this data: 3' in caplog.text


def pictures(path, cache):
    """uint8 T×H×W×3 of a whole video."""
    pytest.importorskip('av')
    video = data.open_video(path, cache)
    return np.stack(list(video.read(range(len(video)))))


@pytest.mark.parametrize('name', sorted({name for name, _ in FFMPEG}))
def test_02_03_04_videos_have_the_pixels_that_ffmpeg_shows(case, tmp_path, name):
    folder, _, file = name.partition('/')
    path = case(folder) / file
    found = pictures(path, tmp_path)
    assert (len(found), hashlib.md5(found.tobytes()).hexdigest()) == FFMPEG[
        name, path.stat().st_size]


def test_03_mirrored_videos_are_shown_mirrored(case, tmp_path):
    plain, across, down = (pictures(case('03-mirrored-video') / name, tmp_path)
                           for name in ('plain.mp4', 'o_hflip.mp4', 'o_vflip.mp4'))
    np.testing.assert_array_equal(across, plain[:, :, ::-1])
    np.testing.assert_array_equal(down, plain[:, ::-1])


def test_05_names_that_are_not_utf_8(tmp_path):
    for name in (b'caf\xe9 0', b'caf\xe9 1'):
        folder = bytes(tmp_path) + b'/' + name
        Path(folder.decode('utf-8', 'surrogateescape')).mkdir()
        Path((folder + b'/a.png').decode('utf-8', 'surrogateescape')).touch()
    with pytest.raises(UserError, match=r"'caf\\xe9 0' is not UTF-8: rename") as caught:
        data.FolderSource(tmp_path)
    str(caught.value).encode()


def test_06_hidden_files_are_no_samples(case):
    folder = case('06-hidden-files')
    assert (folder / 'val/0/._a.jpg').exists()
    source = data.open_source(folder, 'val')
    assert [Path(source.name(i)).name for i in range(len(source))] == ['a.jpg']
    data.decode(source.read(0))


def test_07_a_name_with_colons_opens(case, tmp_path, monkeypatch):
    """Git on Windows could not check out a small copy of such a name."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(case('04-pyav-versions') / 'val/a/tiny.mp4', '12:30:00.mp4')
    assert len(pictures('12:30:00.mp4', tmp_path)) == 25


def test_08_linked_folders_are_followed(case, tmp_path):
    shutil.copytree(case('08-linked-folder'), tmp_path / 'case', symlinks=True)
    link = tmp_path / 'case/photos/other'
    link.unlink()
    link.symlink_to('../other')
    found = [Path(path).relative_to(tmp_path / 'case') for path in
             files_below(str(tmp_path / 'case/photos'))]
    assert list(map(str, found)) == ['photos/00009.jpg', 'photos/other/00019.jpg',
                                     'photos/other/00069.jpg']
    (tmp_path / 'case/photos/00009.jpg').unlink()
    assert data.FolderSource(tmp_path / 'case/photos').classes == ('other',)


@pytest.mark.parametrize('name', ['09-xmp-before-exif', '14-bmp'])
def test_images_decode_as_pillow_decodes_them(case, name):
    files = sorted(case(name).iterdir())
    assert len(files) >= 2
    for path in files:
        expected = ImageOps.exif_transpose(Image.open(path)).convert('RGB')
        np.testing.assert_array_equal(data.decode(path.read_bytes()), np.asarray(expected))


def test_11_byte_order_marks_are_no_part_of_lists(case):
    folder = case('11-bom')
    listed = data.open_video_source(str(folder), 'train', video_list=str(folder / 'list.txt'),
                                    list_format='path-label')
    assert listed.paths == [str(folder / 'a.mp4'), str(folder / 'c.mp4')]
    official = data.open_video_source(str(folder), 'train', video_list=str(folder / 'kinetics.csv'),
                                      list_format='kinetics-csv')
    assert official.classes == ('abseiling', 'petting animal (not cat)')


def test_12_a_huge_label_is_one_sentence_at_once(case):
    start = time.process_time()
    with pytest.raises(UserError, match=r'val.rec#\d+ has the label 1500000000, and classes are '):
        data.RecordSource(case('12-huge-label') / 'val.rec').classes  # noqa: B018
    assert time.process_time() - start < 1


def test_16_a_subset_of_imagenet(case):
    folder = case('16-subset-of-imagenet')
    with pytest.raises(UserError, match="has 3 classes and the network 1000. 3 of the data's "
                                        "are unknown to it, such as 'n01498041'"):
        data.match_classes(data.open_source(folder, 'val'), list(map(str, range(1000))))
    wnids = ['n03000684', 'n00000001', 'n02086240', 'n01498041']
    source = data.open_source(folder, 'val')
    data.match_classes(source, wnids)
    assert [wnids[label] for label in source.labels] == [
        Path(source.name(i)).parent.name for i in range(len(source))]


class Reader:
    """Stands in for what runs a network of ten digits: it reads the label of a case's images off
    their order in the batches."""
    classes = 10

    def __init__(self, labels):
        self._labels, self._read = labels, 0

    def memory(self, shape):
        return 0

    def __call__(self, images):
        first, self._read = self._read, self._read + len(images)
        return np.eye(10, dtype=np.float32)[self._labels[first:self._read]]


@pytest.fixture
def digits_net(monkeypatch):
    """digits_net(labels): a `Classifier` of ten digits that says these of what it is shown."""
    def make(labels):
        meta = describe('net', list('0123456789'), data.Preprocessing(32, 1.0))
        monkeypatch.setattr(engines, 'start', lambda *args: Reader(labels))
        return Classifier(Bundle(b'', {}, {}, meta))
    return make


def test_01_a_missing_class_leaves_the_scores_of_the_others_right(case, digits_net):
    """Folders 0, 1, 2, 4, …, 9: matched by position, all behind the missing 3 were wrong."""
    folder = case('01-classes-by-number')
    names = [Path(path).parent.name for path in files_below(str(folder / 'val'))]
    net = digits_net([int(name) for name in names])
    assert net.score(data.open_source(folder, 'val'), 2, 0).accuracy == 1
    assert open_samples(net.meta, str(folder)).labels.tolist() == [int(name) for name in names]


def test_classes_that_the_network_does_not_know_are_refused(digits_net, tmp_path):
    """Six photo classes scored by ten digits gave 8.33 %, exit 0."""
    for name in ('cat', 'dog', 'owl', 'pig', 'rat', 'yak'):
        (tmp_path / 'val' / name).mkdir(parents=True)
        (tmp_path / 'val' / name / 'a.jpg').write_bytes(jpeg())
    net = digits_net([])
    for use in (lambda: net.score(data.open_source(tmp_path, 'val')),
                lambda: open_samples(net.meta, str(tmp_path))):
        with pytest.raises(UserError, match="the data has 6 classes and the network 10. 6 of "
                                            "the data's are unknown to it, such as 'cat'"):
            use()


@pytest.mark.parametrize('training', [{'data': 'digits'}, {'data': 'DIR', 'named': True}])
def test_ten_photo_classes_are_not_ten_digits(digits_net, tmp_path, training):
    for name in 'abcdefghij':
        (tmp_path / 'val' / name).mkdir(parents=True)
        (tmp_path / 'val' / name / 'a.jpg').write_bytes(jpeg())
    net = digits_net([])
    net.meta['training'] = training
    for use in (lambda: net.score(data.open_source(tmp_path, 'val')),
                lambda: open_samples(net.meta, str(tmp_path))):
        with pytest.raises(UserError, match="10 of the data's are unknown to it, such as 'a'"):
            use()


def jpeg(size=(96, 64), **options):
    file = io.BytesIO()
    picture = np.random.default_rng(0).normal(128, 40, (*size[::-1], 3)).clip(0, 255)
    Image.fromarray(picture.astype(np.uint8)).save(file, 'JPEG', **options)
    return file.getvalue()


@pytest.mark.parametrize('options', [
    {}, {'subsampling': 0}, {'subsampling': 2}, {'optimize': True}, {'restart_marker_blocks': 4}])
def test_a_jpeg_cut_in_half_whose_end_marker_was_put_back(options):
    encoded = jpeg(**options)
    data.decode(encoded)
    for share in (0.4, 0.5, 0.75, 0.9):
        with pytest.raises(data.ImageError, match='truncated'):
            data.decode(encoded[:int(share * len(encoded))] + b'\xff\xd9')


def test_a_progressive_jpeg_without_its_last_scans():
    encoded = jpeg(progressive=True)
    data.decode(encoded)
    with pytest.raises(data.ImageError, match='truncated'):
        data.decode(encoded[:encoded.rindex(b'\xff\xda')] + b'\xff\xd9')


def test_a_grey_corner_is_no_cut():
    file = io.BytesIO()
    Image.new('RGB', (48, 32), (128, 128, 128)).save(file, 'JPEG')
    assert (data.decode(file.getvalue()) == 128).all()
