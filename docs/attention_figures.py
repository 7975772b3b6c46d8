#!/usr/bin/env python
"""Draw the pictures of the attention: the sheet of a digit, and its page as a browser
shows it, of the weights that come along.

    python docs/attention_figures.py

Needs Chromium and its driver (Debian: apt-get install chromium chromium-driver) and selenium, of
the `dev` extra.
"""
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.support.ui import Select, WebDriverWait

from gluon_a2.data import Preprocessing
from gluon_a2.deploy import write_bundle
from gluon_a2.deploy.gluon import from_gluon
from gluon_a2.models import get_model
from gluon_a2.models.released import RELEASES

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
AT = '22,30'  # the foot of the 2: row 7, column 5 of the 8×8 maps
BLOCK = 1  # conv3_unit2
TOP = '1'  # gathering maps of a block: more would be wider than a page shows it
WIDTH, HEIGHT = 1180, 900


def look(folder, model):
    """Write the sheet and the page of docs/digit.png into `folder`."""
    script, digit = ROOT / 'scripts' / 'visualize_attention.py', HERE / 'digit.png'
    subprocess.run([sys.executable, str(script), str(digit), '--model', model, '--at', AT, '--top',
                    TOP, '--out', str(folder)], check=True)


def photograph(page, png):
    """What Chromium shows of a page, its position pinned in another block."""
    options = webdriver.ChromeOptions()
    for word in ('--headless=new', '--no-sandbox', '--disable-dev-shm-usage', '--hide-scrollbars'):
        options.add_argument(word)
    options.binary_location = shutil.which('chromium')
    with webdriver.Chrome(options=options, service=webdriver.ChromeService(
            shutil.which('chromedriver'))) as browser:
        browser.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', {
            'width': WIDTH, 'height': HEIGHT, 'deviceScaleFactor': 1, 'mobile': False})
        browser.get(page.as_uri())
        WebDriverWait(browser, 20).until(
            lambda _: browser.find_element('tag name', 'body').get_attribute('data-ready') == 'yes')
        Select(browser.find_element('id', 'block')).select_by_index(BLOCK)
        view = browser.find_element('id', 'view')
        offset = [round((at / 8 - 0.5) * view.size['width']) for at in (5.5, 7.5)]
        ActionChains(browser).move_to_element_with_offset(view, *offset).click().perform()
        browser.save_screenshot(str(png))


if __name__ == '__main__':
    with tempfile.TemporaryDirectory() as folder:
        write_bundle(from_gluon(get_model('a2_resnet26', pretrained=True), 'a2_resnet26',
                                RELEASES['digits'].classes, Preprocessing(32, crop_ratio=1.0)),
                     Path(folder, 'digits'))
        look(folder, str(Path(folder, 'digits')))
        shutil.copy(Path(folder) / 'sheet.png', HERE / 'attention.png')
        photograph(Path(folder) / 'page.html', HERE / 'attention_page.png')
