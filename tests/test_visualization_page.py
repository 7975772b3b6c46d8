"""The page, in a real browser: what it shows are the numbers of `maps`."""
import base64
import json
import os
import re
import shutil

import numpy as np
import pytest

from gluon_a2.errors import UserError
from gluon_a2.visualization import Attention, BlockAttention, page, write_page
from gluon_a2.visualization.sheet import heat, percent

TOP, SHAPE = 4, (5, 40, 40)


def block(name, size, n, seed):
    rng = np.random.default_rng(seed)
    positions = int(np.prod(size))
    b, v = (rng.dirichlet(np.full(shape[1], 0.3), shape[0]).astype(np.float32)
            for shape in ((n, positions), (positions, n)))
    return BlockAttention(name, 'double attention', size, v, b)


def non_local(name, size, seed):
    positions = int(np.prod(size))
    v = np.random.default_rng(seed).dirichlet(np.full(positions, 0.3), positions).astype(np.float32)
    return BlockAttention(name, 'non-local', size, v)


@pytest.fixture(scope='module')
def seen():
    frames = np.random.default_rng(0).integers(0, 256, (*SHAPE, 3), np.uint8)
    return Attention('a2_net', frames, (('</script><b>cat', 0.75), ('dog', 0.25)), (block(
        'one', (3, 5, 7), 11, 1), block('two', (2, 3, 2), 13, 2), non_local('three', (2, 4, 3), 3)))


@pytest.fixture(scope='module')
def html(seen, tmp_path_factory):
    path = tmp_path_factory.mktemp('page') / 'page.html'
    write_page(seen, (20, 8, 2), [one.order() for one in seen.blocks], TOP, path, 'cat <1>.mp4')
    return path


def test_the_data_are_the_arrays(seen, html):
    (text, ) = re.findall(r'<script type="application/json" id="data">(.*)</script>',
                          html.read_text(encoding='utf-8'))
    data = json.loads(text)
    assert data['guesses'][0] == ['</script><b>cat', 0.75]
    for given, one in zip(data['blocks'], seen.blocks):
        assert base64.b64decode(given['v']) == one.v.tobytes()
        assert (one.b is None) == (given['b'] is None) and given['label'] == one.label
        assert one.b is None or base64.b64decode(given['b']) == one.b.tobytes()
        assert given['selected'] == one.selected.tolist()


def test_the_page_loads_nothing_else(html):
    text = html.read_text(encoding='utf-8')
    assert set(re.findall(r'(?:src|href)\s*=\s*"?([^"\s>]+)', text)) == {'data:,', 'uri;'}
    assert not re.search(r'https?:|@import|url\(|fetch\(|XMLHttpRequest|import\(', text)


def test_too_much_attention_is_refused_before_it_is_written(seen, tmp_path, monkeypatch):
    monkeypatch.setattr(page, 'MAX_BYTES', 2 ** 10)
    with pytest.raises(UserError, match='^the page would hold 0 MB of attention, above 0: choose '
                                        'fewer `blocks`$'):
        write_page(seen, (0, 0, 0), [one.order()
                                     for one in seen.blocks], TOP, tmp_path / 'page.html', 'x')
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope='module')
def browser():
    """Headless Chromium. Where it is missing the tests are left out, but not in CI."""
    chromium = next(
        filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
    driver = shutil.which('chromedriver')
    if not (chromium and driver):
        message = 'no chromium and chromedriver (Debian: apt-get install chromium chromium-driver)'
        if os.environ.get('CI'):
            pytest.fail(message)
        pytest.skip(message)
    from selenium import webdriver
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for word in ('--headless=new', '--no-sandbox', '--disable-dev-shm-usage',
                 '--window-size=1200,1400'):
        options.add_argument(word)
    options.set_capability('goog:loggingPrefs', {'browser': 'ALL'})
    chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield chrome
    chrome.quit()


def label_of(one, j):
    """What the page calls a descriptor."""
    t, row, column = np.unravel_index(one.gathered(j).argmax(), one.size)
    name = f'row {row}, column {column}' if one.b is None else f'descriptor {j}'
    return f'{name}, frame {int(np.ceil(t * SHAPE[0] / one.size[0]))}'


class Page:
    """The page opened anew, and what a person does with it."""

    def __init__(self, browser, path):
        from selenium.webdriver.support.ui import WebDriverWait
        self.browser = browser
        browser.get(path.as_uri())
        WebDriverWait(browser,
                      20).until(lambda _: self.one('body').get_attribute('data-ready') == 'yes')
        self.view = self.one('#view')

    def one(self, selector):
        return self.browser.find_element('css selector', selector)

    def all(self, selector):
        return self.browser.find_elements('css selector', selector)

    def text(self, selector):
        return self.one(selector).text

    def actions(self):
        from selenium.webdriver.common.action_chains import ActionChains
        return ActionChains(self.browser, duration=0)

    def point(self, size, row, column, click=False):
        """Move to the middle of a cell of a map of `size`."""
        width, height = self.view.size['width'], self.view.size['height']
        x, y = ((at + 0.5) / cells * side - side / 2
                for at, cells, side in ((column, size[2], width), (row, size[1], height)))
        actions = self.actions().move_to_element_with_offset(self.view, round(x), round(y))
        (actions.click() if click else actions).perform()

    def press(self, *keys):
        self.actions().send_keys(*keys).perform()

    def choose_block(self, number):
        from selenium.webdriver.support.ui import Select
        Select(self.one('#block')).select_by_index(number)

    def shows(self, one, t, row, column, pinned=False):
        """Whether the words and numbers are those of a position."""
        position = (t * one.size[1] + row) * one.size[2] + column
        reads, shares = one.reads(position), one.v[position]
        most = reads.argmax()
        at, y, x = np.unravel_index(most, one.size)
        assert self.text('#position') == (f'Row {row}, column {column} of '
                                       f'{one.size[1]}×{one.size[2]}, time {t} of '
                                       f'{one.size[0]}' + ', pinned' * pinned)
        assert self.text('#reading').startswith(
            f'It reads most, {percent(reads[most])}, from row {y}, column {x} at time {at}')
        best = np.argsort(-shares, kind='stable')[:TOP]
        shown = [item.text.split('\n') for item in self.all('#shares li')]
        assert [share for _, share in shown] == [percent(shares[j]) for j in best]
        assert [label for label, _ in shown] == [label_of(one, j) for j in best]
        assert self.text('#most') == f'max {percent(reads.max())}'

    def picture(self):
        """The large picture as it is drawn, uint8 512×512×3."""
        values = self.browser.execute_script(
            'const view = document.getElementById("view");return '
            'Array.from(view.getContext("2d").getImageData(0, 0, view.width, view.height).data)')
        return np.array(values, np.uint8).reshape(512, 512, 4)[..., :3]


@pytest.fixture
def opened(browser, html):
    page = Page(browser, html)
    yield page
    assert [entry['message'] for entry in browser.get_log('browser')] == []


def test_it_opens_at_the_position_and_names_what_was_said(opened, seen):
    assert opened.text(
        '#said') == 'a2_net says of cat <1>.mp4: </script><b>cat (75.0 %), dog (25.0 %)'
    assert opened.browser.title == 'cat <1>.mp4: what each position reads'
    # (20, 8, 2) of 40×40, 5 frames; 7 columns, 5 rows, 3 times
    opened.shows(seen.blocks[0], 1, 1, 3)
    assert [option.text for option in opened.all('#block option')] == [
        'one: 3×5×7, 11 descriptors', 'two: 2×3×2, 13 descriptors', 'three: 2×4×3, non-local']


@pytest.mark.parametrize('row, column', [(0, 0), (4, 6), (2, 5), (3, 1)])
def test_pointing_shows_the_numbers_of_the_position(opened, seen, row, column):
    opened.point(seen.blocks[0].size, row, column)
    opened.shows(seen.blocks[0], 1, row, column)


def test_every_cell_has_the_colour_of_the_sheet(opened, seen):
    one = seen.blocks[0]
    opened.point(one.size, 2, 5)
    reads = one.reads(one.position((29, 16, 2), SHAPE))
    expected = 255 * heat(one.at_time(reads / reads.max(), 1), seen.frames[seen.first_frame(one,
                                                                                            1)])
    drawn = opened.picture()
    # pixels of the 40×40 frame
    middles = [(2 * np.arange(cells) + 1) * 20 // cells for cells in one.size[1:]]
    seen_at, drawn_at = (np.ix_(*(np.int64((at + 0.5) * scale) for at in middles))
                         for scale in (1, 512 / 40))
    np.testing.assert_allclose(drawn[drawn_at], expected[seen_at], atol=3)


def test_clicking_pins_until_it_is_clicked_again(opened, seen):
    one = seen.blocks[0]
    opened.point(one.size, 3, 4, click=True)
    opened.shows(one, 1, 3, 4, pinned=True)
    opened.point(one.size, 0, 0)
    opened.shows(one, 1, 3, 4, pinned=True)
    opened.point(one.size, 2, 2, click=True)
    opened.shows(one, 1, 2, 2, pinned=True)
    opened.point(one.size, 2, 2, click=True)
    opened.point(one.size, 0, 1)
    opened.shows(one, 1, 0, 1)


def test_the_keyboard_does_all_of_it(opened, seen):
    from selenium.webdriver.common.keys import Keys
    one = seen.blocks[0]
    opened.browser.execute_script('document.getElementById("view").focus()')
    opened.press(Keys.ARROW_LEFT, Keys.ARROW_LEFT, Keys.ARROW_DOWN)
    opened.shows(one, 1, 2, 1)
    opened.press(*[Keys.ARROW_RIGHT] * 9, *[Keys.ARROW_DOWN] * 9)
    opened.shows(one, 1, 4, 6)
    opened.press(Keys.ARROW_UP, Keys.ENTER)
    opened.shows(one, 1, 3, 6, pinned=True)
    opened.press(Keys.PAGE_DOWN)
    opened.shows(one, 2, 3, 6, pinned=True)
    opened.press(Keys.PAGE_UP, Keys.PAGE_UP, Keys.PAGE_UP, Keys.ESCAPE)
    opened.shows(one, 0, 3, 6)


def test_another_block_shows_the_same_point(opened, seen):
    opened.point(seen.blocks[0].size, 4, 6)
    opened.choose_block(1)
    opened.shows(seen.blocks[1], 1, 2, 1)
    assert opened.text(
        '#ranked') == 'The 13 strongest of 13 descriptors, with their share of all reading'
    opened.point(seen.blocks[1].size, 0, 0)
    opened.shows(seen.blocks[1], 1, 0, 0)
    opened.choose_block(2)
    opened.point(seen.blocks[2].size, 3, 2)
    opened.shows(seen.blocks[2], 1, 3, 2)
    assert opened.text('#words').startswith('In a non-local block')


def test_pointing_at_a_descriptor_shows_its_map(opened, seen):
    one = seen.blocks[0]
    strongest = int(one.order()[0])
    button = opened.one(f'#strongest [data-descriptor="{strongest}"]')
    assert button.text == f'{strongest}: {percent(one.strength[strongest])}'
    opened.actions().move_to_element(button).perform()
    assert opened.text('#drawn') == f'where {label_of(one, strongest)} is gathered'
    assert opened.text('#most') == f'max {percent(one.b[strongest].max())}'
    opened.actions().move_to_element(opened.one('h1')).perform()
    assert opened.text('#drawn') == 'what the marked position reads'


def test_the_selection_and_the_times(opened, seen):
    one = seen.blocks[0]
    opened.one('[value=selected]').click()
    votes = np.bincount(one.selected) / len(one.v)
    assert [item.text for item in opened.all('#key li')] == [
        *(f'{label_of(one, j)}: {percent(votes[j])} of the positions' for j in one.favourites(7)),
        'all others: grey']
    assert [button.text for button in opened.all('#film button')] == ['frame 0', 'frame 2', 'frame '
                                                                                            '4']
    opened.all('#film button')[2].click()
    assert opened.text('#position') == 'Row 1, column 3 of 5×7, time 2 of 3'
    opened.one('[value=nothing]').click()
    at = np.int64((np.arange(30, 40) + 0.5) * 512 / 40)  # where nothing is marked
    np.testing.assert_array_equal(opened.picture()[np.ix_(at, at)], seen.frames[4][30:, 30:])
