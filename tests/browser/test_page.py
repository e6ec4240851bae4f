"""The report's page in a real browser, from file://."""

import sys
from itertools import pairwise
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import chromium
import made_reports as made
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from eval.report.report import write
from study.store.directory import Store

pytestmark = [pytest.mark.browser]

HEADLINE = "#scores ~ .scroll table.data"


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Three seeds, one score missing, hostile names."""
    place = tmp_path_factory.mktemp("site")
    runs, store = made.study(3), Store(place / "runs")
    made.publish_all(runs, store, skip=("ed_mlm-ed_mtf-s0-micro",))
    made.validate_all(runs, store)
    sweep = made.sweep_of(runs, place, title=made.HOSTILE)
    return write(sweep, store=store, out_dir=place / "reports" / "made")


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    with chromium.browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture
def page(driver, report):
    chromium.requests(driver)
    chromium.complaints(driver)
    chromium.scheme(driver, "light")
    chromium.resize(driver, 1280)
    driver.get(report.as_uri())
    yield driver
    assert chromium.complaints(driver) == []
    asked = {url.partition("#")[0] for url in chromium.requests(driver)}
    assert asked <= {report.as_uri(), "about:blank"}


def column(page, number, table=HEADLINE):
    """The texts of one column of the first such table, as they stand now."""
    return page.execute_script(
        "return [...document.querySelector(arguments[0]).tBodies[0].rows]"
        ".filter(r => !r.classList.contains('more') && !r.hidden)"
        ".map(r => r.cells[arguments[1]].textContent.trim())",
        table,
        number,
    )


def head(page, number, table=HEADLINE):
    return page.find_elements(By.CSS_SELECTOR, f"{table} thead tr:last-child th")[number]


def numbers(texts):
    return [float(each.replace("−", "-").replace(",", "")) for each in texts]


def test_a_table_sorts_by_each_press_of_a_heading(page):
    before = column(page, 2)
    button = head(page, 2).find_element(By.TAG_NAME, "button")
    assert len(set(before)) > 2
    for order, wanted in (
        ("ascending", sorted(numbers(before))),
        ("descending", sorted(numbers(before), reverse=True)),
        ("none", numbers(before)),
    ):
        button.click()
        assert head(page, 2).get_attribute("aria-sort") == order
        assert numbers(column(page, 2)) == wanted
    assert numbers(before) not in (sorted(numbers(before)), sorted(numbers(before))[::-1])


def test_signs_count_and_gaps_come_last(page):
    """`−` is a minus, `–` is nothing: over-chance scores of the second headline table."""
    table = page.find_elements(By.CSS_SELECTOR, HEADLINE)[1]
    page.execute_script("arguments[0].id = 'second'", table)
    heading = head(page, 7, "#second").find_element(By.TAG_NAME, "button")
    for _ in range(2):
        heading.click()
        found = column(page, 7, "#second")
        assert "–" in found
        assert found.index("–") == len([each for each in found if each != "–"])
    normal = head(page, 3).find_element(By.TAG_NAME, "button")
    normal.click()
    found = numbers(column(page, 3))
    assert found == sorted(found)
    assert found[0] < 0 < found[-1]


def test_the_keyboard_alone_sorts(page):
    button = head(page, 0).find_element(By.TAG_NAME, "button")
    page.execute_script("arguments[0].focus()", button)
    page.switch_to.active_element.send_keys(Keys.ENTER)
    assert head(page, 0).get_attribute("aria-sort") == "ascending"
    page.switch_to.active_element.send_keys(Keys.SPACE)
    assert head(page, 0).get_attribute("aria-sort") == "descending"
    assert column(page, 0) == sorted(column(page, 0), reverse=True)
    outline = page.execute_script("return getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"


def test_the_first_stop_of_the_keyboard_skips_to_the_report(page):
    page.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    link = page.switch_to.active_element
    assert link.text == "Skip to the report"
    assert link.rect["x"] >= 0
    link.send_keys(Keys.ENTER)
    assert page.execute_script("return document.activeElement.id") == "content"


def test_claims_keep_what_unfolds_under_them_when_sorted(page):
    table = "#claims ~ .scroll table.data"
    page.find_elements(By.CSS_SELECTOR, f"{table} thead button")[0].click()
    page.find_elements(By.CSS_SELECTOR, f"{table} thead button")[0].click()
    told = page.execute_script(CLAIMS, table)
    names = [name for more, name in told if not more]
    assert names[0] == "C18"
    for place, (more, name) in enumerate(told):
        if more:
            assert told[place - 1] == [False, name]


def test_the_filter_looks_at_every_table_and_says_what_it_found(page):
    field = page.find_element(By.ID, "filter")
    whole = len(column(page, 0))
    field.send_keys("ed:mlm")
    assert column(page, 0) == ["ED:MLM"]
    told = page.find_element(By.ID, "found")
    assert told.get_attribute("role") == "status"
    assert told.text.split()[1] == "of"
    field.send_keys(" nothing-is-called-so")
    assert column(page, 0) == []
    assert told.text.startswith("0 of")
    field.send_keys(Keys.ESCAPE)
    assert len(column(page, 0)) == whole
    assert told.text == ""


def ground(page):
    return page.execute_script("return getComputedStyle(document.body).backgroundColor")


def test_the_theme_follows_the_system_and_the_button_without_storage(page, report):
    light = ground(page)
    button = page.find_element(By.ID, "theme")
    assert button.text == "Dark page"
    button.click()
    dark = ground(page)
    assert dark != light
    assert button.text == "Light page"
    assert page.execute_script("return document.cookie.length") == 0
    button.click()
    assert ground(page) == light
    chromium.scheme(page, "dark")
    page.get(report.as_uri())
    assert ground(page) == dark
    page.find_element(By.ID, "theme").click()
    assert ground(page) == light


CONTRAST = """
const parse = (colour) => colour.match(/[0-9.]+/g).map(Number);
const channel = (value) => {
  const share = value / 255;
  return share <= 0.03928 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
};
const light = (colour) => {
  const [red, green, blue] = parse(colour).map(channel);
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
};
const under = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const colour = getComputedStyle(at).backgroundColor;
    const parts = parse(colour);
    if (parts.length === 3 || parts[3] > 0) return colour;
  }
  return "rgb(255, 255, 255)";
};
const found = [];
for (const each of document.querySelectorAll("body *")) {
  if (each.closest("svg") || !each.getClientRects().length) continue;
  const own = [...each.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
  if (!own) continue;
  const both = [light(getComputedStyle(each).color), light(under(each))];
  const ratio = (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
  if (ratio < 4.5) found.push([each.outerHTML.slice(0, 80), ratio]);
}
return found;
"""

BEYOND = """
return [...document.querySelectorAll("main *, header *, .bar *")]
  .filter((e) => e.getClientRects().length)
  .filter((e) => e.getBoundingClientRect().right > innerWidth + 1)
  .filter((e) => !e.closest(".scroll[tabindex], pre"))
  .map((e) => e.outerHTML.slice(0, 120));
"""

LETTERS = """
const size = (svg) => Math.min(...[...svg.querySelectorAll("text")].map(
  (text) => parseFloat(getComputedStyle(text).fontSize) * svg.getScreenCTM().a));
return [...document.querySelectorAll("figure")].map((figure) =>
  [...figure.querySelectorAll("svg")].filter((svg) => svg.getClientRects().length).map(size));
"""

CLAIMS = """
return [...document.querySelector(arguments[0]).tBodies[0].rows].map((row) => [
  row.classList.contains("more"),
  (row.querySelector("summary") ?? row.cells[0]).textContent.trim().split(":")[0],
]);
"""

READERS = """
const all = (selector) => [...document.querySelectorAll(selector)];
const told = (id) => document.getElementById(id)?.textContent.trim();
return {
  landmarks: ["header", "nav", "main", "footer"].map((name) => all(name).length),
  h1: all("h1").length,
  lang: document.documentElement.lang,
  figures: all("svg[role=img]").every(
    (svg) => svg.getAttribute("aria-labelledby").split(" ").every(told)),
  drawn: all("svg").length,
  named: all("svg[role=img]").length,
  tables: all("table").every((table) => table.caption && table.caption.textContent.trim()),
  rows: all("table.data > tbody > tr:not(.more)").every((row) => row.cells[0].scope === "row"),
  columns: all("table.data > thead > tr:last-child > *").every((head) => head.scope === "col"),
  levels: all("h1, h2, h3").map((head) => Number(head.tagName[1])),
  twice: all("[id]").length - new Set(all("[id]").map((each) => each.id)).size,
  fields: all("input").every((field) => field.labels.length === 1),
};
"""


@pytest.mark.parametrize("name", ["light", "dark"])
def test_text_stands_out_from_its_ground(page, report, name):
    """WCAG AA: 4.5 to 1, in both schemes."""
    chromium.scheme(page, name)
    page.get(report.as_uri())
    page.find_element(By.ID, "unfold").click()
    assert page.execute_script(CONTRAST) == []


@pytest.mark.parametrize("width", [400, 1280])
@pytest.mark.parametrize("name", ["light", "dark"])
def test_nothing_is_cut_off(page, report, tmp_path, width, name):
    chromium.scheme(page, name)
    chromium.resize(page, width)
    page.get(report.as_uri())
    for unfold in (False, True):
        if unfold:
            page.find_element(By.ID, "unfold").click()
        wide = page.execute_script(
            "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        )
        assert wide == [width, width]
        # what is wider than the page lies in a part that scrolls and that the keyboard reaches
        beyond = page.execute_script(BEYOND)
        assert beyond == []
    picture = chromium.picture(page, tmp_path / f"{name}-{width}.png")
    assert len(picture) > 20_000


@pytest.mark.parametrize("width", [400, 1280])
def test_a_figure_is_seen_once_and_its_letters_can_be_read(page, report, width):
    chromium.resize(page, width)
    page.get(report.as_uri())
    sizes = page.execute_script(LETTERS)
    assert len(sizes) > 3
    for visible in sizes:
        assert len(visible) == 1
        assert visible[0] >= 8.5, "pixels"


def test_a_number_leads_to_the_runs_behind_it(page, report):
    link = page.find_element(By.CSS_SELECTOR, f"{HEADLINE} tbody tr td a")
    target = link.get_attribute("href").partition("#")[2]
    link.click()
    row = page.find_element(By.ID, target)
    assert row.is_displayed()
    assert page.switch_to.active_element == row
    directory = row.find_element(By.CSS_SELECTOR, "td a").get_attribute("href")
    assert (report.parent / directory.removeprefix(report.parent.as_uri() + "/")).exists() or (
        Path(directory.removeprefix("file://")).is_dir()
    )


def test_every_link_of_the_page_leads_somewhere(page, report):
    """Anchors are in the page, files lie beside it."""
    places = page.execute_script(
        "return [...document.querySelectorAll('a')].map(a => a.getAttribute('href'))"
    )
    assert len(places) > 50
    for place in set(places):
        if place.startswith("#"):
            assert page.execute_script(
                "return document.getElementById(arguments[0]) !== null", place[1:]
            ), place
        else:
            assert (report.parent / place).exists(), place


def test_readers_that_do_not_see_the_page(page):
    """Landmarks, names of figures and tables, headings of rows and columns, one h1."""
    told = page.execute_script(READERS)
    assert told["landmarks"] == [1, 1, 1, 1]
    assert told["h1"] == 1
    assert told["lang"] == "en"
    assert told["figures"]
    assert told["drawn"] == told["named"] > 0
    assert told["tables"]
    assert told["rows"]
    assert told["columns"]
    assert told["fields"]
    assert told["twice"] == 0
    levels = told["levels"]
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_paper_shows_what_is_folded(page):
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    shown = page.execute_script(
        "dispatchEvent(new Event('beforeprint'));"
        "const found = [...document.querySelectorAll('details')].every(d => d.open);"
        "const bar = getComputedStyle(document.querySelector('.bar')).display;"
        "dispatchEvent(new Event('afterprint'));"
        "return [found, bar, document.querySelectorAll('details[open]').length]"
    )
    assert shown == [True, "none", 0]
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_names_of_a_run_are_text_and_no_script_but_the_page_s_runs(page):
    assert page.find_element(By.TAG_NAME, "h1").text == " ".join(made.HOSTILE.split())
    assert len(page.find_elements(By.TAG_NAME, "script")) == 1
    page.execute_script(
        "const s = document.createElement('script'); s.textContent = 'window.foreign = 1';"
        "document.body.append(s)"
    )
    assert page.execute_script("return window.foreign") is None
    refused = chromium.complaints(page)
    assert len(refused) == 1
    assert "Content Security Policy" in refused[0]
