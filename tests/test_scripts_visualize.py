"""visualize_attention.py on small networks, as a process and, for mistakes, called."""
import cv2
import numpy as np
import pytest
import tiny_bundle
from loading import call, process
from PIL import Image

from gluon_a2.commands import visualize
from gluon_a2.deploy import write_bundle

SCRIPT = 'visualize_attention.py'


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """picture.png and exported networks of images and video."""
    folder = tmp_path_factory.mktemp('visualize')
    cv2.imwrite(str(folder / 'picture.png'),
                np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8))
    write_bundle(tiny_bundle.make('a2_resnet26'), folder / 'a2')
    write_bundle(tiny_bundle.make('nl_resnet26', blocks={'conv4': (1,)}), folder / 'nl')
    write_bundle(tiny_bundle.make('se_resnet26'), folder / 'se')
    write_bundle(tiny_bundle.make('a2_resnet26_3d', tiny_bundle.VIDEO), folder / 'video')
    return folder


def test_a_picture_becomes_a_sheet_and_a_page(folder, tmp_path):
    out, _ = process(SCRIPT, folder / 'picture.png', '--model', folder / 'a2', '--blocks',
                     'conv4_unit2,conv3_unit1', '--top', '3', '--at', '12,25%', '--out',
                     tmp_path / 'seen')
    assert out == f'{tmp_path / "seen" / "sheet.png"}, {tmp_path / "seen" / "page.html"}\n'
    # 8 columns: 3 descriptors and 5 more
    assert cv2.imread(str(tmp_path / 'seen' / 'sheet.png')).shape[1] == 1260
    page = (tmp_path / 'seen' / 'page.html').read_text(encoding='utf-8')
    assert '"source":"picture.png"' in page and '"point":[12,12,0]' in page and '"top":3' in page
    assert page.index('"name":"conv4_unit2"') < page.index('"name":"conv3_unit1"')
    assert 'conv3_unit2' not in page


def test_a_video_becomes_an_animation_too(folder, videos, tmp_path):
    path = next((videos / 'val').glob('*/*.avi'))
    out, _ = call(SCRIPT, path, '--model', folder / 'video', '--blocks', 'conv4_unit1',
                  '--descriptors', '3,17', '--at', '5,6,3', '--animate', '--out', tmp_path)
    assert out == f'{tmp_path / "sheet.png"}, {tmp_path / "page.html"}, {tmp_path / "sheet.gif"}\n'
    with Image.open(tmp_path / 'sheet.gif') as gif:
        assert 1 < gif.n_frames <= 4
    # two times, one below the other
    assert cv2.imread(str(tmp_path / 'sheet.png')).shape[0] > 1.5 * gif.height


@pytest.mark.parametrize('text, expected', [
    ('0,0', (0, 0, 0)), ('6,4,2', (6, 4, 2)), ('50%,50%', (3, 2, 0)), ('99.9%,4,0%', (6, 4, 0))])
def test_positions(text, expected):
    assert visualize.point(text, (3, 5, 7)) == expected


def test_non_local_networks_are_seen_too(folder, tmp_path, capsys):
    visualize.main([str(folder / 'picture.png'), '--model', str(folder / 'nl'), '--out',
                    str(tmp_path)])
    assert capsys.readouterr().out.startswith(str(tmp_path / 'sheet.png'))
    assert '"label":"non-local"' in (tmp_path / 'page.html').read_text(encoding='utf-8')


@pytest.mark.parametrize('model, words, sentence', [
    ('a2', ['--blocks', 'conv4'], "a2_resnet26 has no block 'conv4': its blocks are conv3_unit1, "
                                  "conv3_unit2, "),
    ('se', [], 'se_resnet26 has no double attention or non-local block to visualize, only conv1, '
               'conv2_unit1'),
    ('a2', ['--at', '48,0'], '--at 48,0 is outside: X goes from 0 to 47, in percent to below 100%'),
    ('a2', ['--at', '1,100%'], '--at 1,100% is outside: Y goes from 0 to 47'),
    ('a2', ['--at', '1,1,1'], '--at 1,1,1 is outside: FRAME goes from 0 to 0'),
    ('a2', ['--at', '1'], '--at 1 is not a position: give X,Y in pixels'),
    ('a2', ['--at', 'x,-1'], '--at x,-1 is not a position: give X,Y in pixels'),
    ('a2', ['--at', '-1,-1'], '--at -1,-1 is not a position: give X,Y in pixels'),
    ('a2', ['--blocks', ','], '--blocks names no block: give names'),
    ('a2', ['--descriptors', '3,64'], 'conv3_unit1 has no descriptor 64: it has 64, 0 to 63'),
    ('a2', ['--top', '65'], '--top must be at most 64, the descriptors of conv3_unit1, not 65'),
    ('a2', ['--top', '0'], '--top must be 1 or more, not 0'),
    ('a2', ['--animate'], '--animate is for videos: leave it out for '),
    ('a2', ['--checkpoint', 'best'], '--checkpoint best needs the folder of a run'),
    ('none', [], 'none-meta.json does not exist')])
def test_mistakes_are_one_sentence(folder, tmp_path, capsys, model, words, sentence):
    with pytest.raises(SystemExit) as left:
        visualize.main([
            str(folder / 'picture.png'), '--model',
            str(folder / model), '--out',
            str(tmp_path / 'out'), *words
        ])
    error = capsys.readouterr().err
    assert left.value.code == 2 and error.startswith('error: ') and error.count('\n') == 1
    assert sentence in error
    assert not (tmp_path / 'out').exists()
