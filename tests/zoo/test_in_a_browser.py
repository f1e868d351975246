"""The zoo page works in Chromium, opened as a file."""

import shutil

import pytest

from detrex_hub import catalogue
from detrex_hub.zoo import write_page

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")

KNOWN = catalogue.load_entries()


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    path = tmp_path_factory.mktemp("zoo") / "zoo.html"
    return write_page(path, KNOWN.values()).as_uri()


@pytest.fixture
def opened(browser, address):
    """`opened("#q=swin", width=390)` opens the page. At the end the page must have logged no error
    and sent no request."""
    contexts, complaints = [], []

    def asked(request):
        if not request.url.startswith(("file:", "data:")):
            complaints.append(request.url)

    def _open(hash="", *, width=1280, **options):
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", asked)
        page.goto(address + hash)
        return page

    yield _open
    for context in contexts:
        context.close()
    assert complaints == []


def shown(page):
    return page.eval_on_selector_all(
        "tbody", "all => all.filter(one => !one.hidden).map(one => one.id)"
    )


def points(page):
    return page.eval_on_selector_all(".point", "all => all.map(one => one.dataset.row)")


def test_search_and_filters_choose_the_rows_and_the_points(opened):
    page = opened()
    assert {*shown(page)} == KNOWN.keys()
    page.fill("#q", "DINO swin large")
    found = shown(page)
    assert "dino_swin_large_384_5scale_36ep" in found
    assert all("swin_large" in name for name in found)
    assert sorted(points(page)) == sorted(found)
    page.fill("#q", "")
    page.select_option("#arch", "dino")
    page.select_option("#backbone", "ResNet")
    page.fill("#min", "50")
    expected = {
        name
        for name, entry in KNOWN.items()
        if entry.architecture == "dino"
        and entry.hyper_parameters["backbone"] == "resnet"
        and entry.box_ap.value >= 50
    }
    assert {*shown(page)} == expected == {*points(page)}
    assert page.inner_text("#count") == f"{len(expected)} of {len(KNOWN)} weights"
    page.check("#auto")
    assert {*shown(page)} == {name for name in expected if KNOWN[name].downloads}
    page.click("#reset")
    assert len(shown(page)) == len(KNOWN)


def test_a_search_without_matches_says_so(opened):
    page = opened()
    page.fill("#q", "no such weights")
    assert page.is_visible("#none") and not page.is_visible("#plots")
    page.fill("#q", "")
    assert page.is_visible("#plots")


def test_columns_sort_both_ways(opened):
    page = opened()
    page.click("thead [data-sort=parameters] button")
    assert page.get_attribute("[data-sort=parameters]", "aria-sort") == "ascending"
    counts = page.eval_on_selector_all("tbody", "all => all.map(one => +one.dataset.parameters)")
    assert counts == sorted(counts)
    page.click("thead [data-sort=parameters] button")
    assert page.get_attribute("[data-sort=parameters]", "aria-sort") == "descending"
    counts = page.eval_on_selector_all("tbody", "all => all.map(one => +one.dataset.parameters)")
    assert counts == sorted(counts, reverse=True)
    page.click("thead [data-sort=name] button")
    assert shown(page)[0] == "aligndetr_k2_r50_4scale_12ep"
    page.click("thead [data-sort=accuracy] button")
    assert KNOWN[shown(page)[0]].box_ap.value == 62.9


def test_the_address_keeps_the_filter(opened):
    page = opened()
    page.fill("#q", "swin")
    page.check("text=Backbones", force=True)
    page.click("thead [data-sort=size] button")
    hash = page.evaluate("location.hash")
    again = opened(hash)
    assert shown(again) == shown(page)
    assert again.input_value("#q") == "swin"
    assert again.is_checked("input[value=backbone]")
    assert again.get_attribute("[data-sort=size]", "aria-sort") == "ascending"
    page.evaluate("location.hash = '#arch=detr'")
    page.wait_for_function("document.getElementById('arch').value === 'detr'")
    assert all(KNOWN[name].architecture == "detr" for name in shown(page))


def test_an_invalid_address_shows_all_rows(opened):
    page = opened("#arch=%3Cb%3E&sort=constructor&row=q&min=x&kind=__proto__&%E0%A4%A=1")
    assert len(shown(page)) == len(KNOWN)


def test_one_click_copies_the_line(opened):
    page = opened("#q=r101_v2")
    page.click("#r101_v2 .copy")
    page.wait_for_selector("#r101_v2 .copy.done")
    line = 'train.init_checkpoint = from_hub("detrex/r101_v2", model=model, dataloader=dataloader)'
    assert page.evaluate("navigator.clipboard.readText()") == line
    assert page.inner_text("#said") == f"Copied: {line}"


def test_a_click_on_a_point_opens_its_row(opened):
    page = opened()
    page.hover(".point[data-row=r152_v2]", force=True)
    assert page.inner_text(".tip:not([hidden])") == "r152_v2: 82.3 acc@1, 58.3 M parameters"
    page.hover("#r18_v1 .title")
    assert page.get_attribute(".point.on", "data-row") == "r18_v1"
    page.click(".point[data-row=dino_eva_01_1280_4scale_12ep]", force=True)
    assert page.is_visible("#more-dino_eva_01_1280_4scale_12ep")
    assert page.evaluate("document.activeElement.closest('tbody').id") == (
        "dino_eva_01_1280_4scale_12ep"
    )
    assert "row=dino_eva_01_1280_4scale_12ep" in page.evaluate("location.hash")


def test_every_action_works_by_keyboard(opened):
    page = opened("#arch=detr")
    page.focus("#commercial")
    focused = "document.activeElement.className.baseVal ?? document.activeElement.className"
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate(focused) == "point":
            break
    row = "document.activeElement.dataset.row"
    first = page.evaluate(row)
    page.keyboard.press("ArrowRight")
    second = page.evaluate(row)
    assert first != second
    page.keyboard.press("ArrowLeft")
    assert page.evaluate(row) == first
    page.keyboard.press("Enter")
    assert page.is_visible(f"#more-{first}")
    page.keyboard.press("Enter")
    assert not page.is_visible(f"#more-{first}")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector(f"#{first} .copy.done")
    assert first in page.evaluate("navigator.clipboard.readText()")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone(opened, scheme):
    page = opened(width=390, color_scheme=scheme, has_touch=True)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert not page.is_visible("#license")
    page.tap("#extra")
    assert page.is_visible("#license") and page.is_visible("#sort")
    page.select_option("#sort", "size")
    assert shown(page)[0] == "r18_v1"
    page.tap("#r18_v1 .name")
    assert page.is_visible("#more-r18_v1")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.tap("#r18_v1 .copy")
    page.wait_for_selector("#r18_v1 .copy.done")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast(opened, scheme):
    page = opened(color_scheme=scheme)
    contrast = """
    (selector) => {
      const numbers = (colour) => colour.match(/[\\d.]+/g).slice(0, 3).map(Number);
      const light = (colour) => {
        const [r, g, b] = numbers(colour).map((one) => {
          const part = one / 255;
          return part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const element = document.querySelector(selector);
      let ground = element;
      while (getComputedStyle(ground).backgroundColor === "rgba(0, 0, 0, 0)") {
        ground = ground.parentElement;
      }
      const pair = [getComputedStyle(element).color, getComputedStyle(ground).backgroundColor];
      const [low, high] = pair.map(light).sort((a, b) => a - b);
      return (high + 0.05) / (low + 0.05);
    }
    """
    for selector in (".title", ".name", ".unit", ".badge.good", ".badge.warn", ".badge", ".copy"):
        assert page.evaluate(contrast, selector) >= 4.5, selector
    for selector in ("header p", "footer p", "figcaption small", "thead button", "#count"):
        assert page.evaluate(contrast, selector) >= 4.5, selector


def test_the_table_is_visible_without_scripts(browser, address):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    assert page.is_visible("#r101_v2") and not page.is_visible("#filters")
    context.close()
