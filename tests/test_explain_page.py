"""The page in a real browser: from the disk, with the network off, by mouse and by keyboard."""

from pathlib import Path

import numpy as np
import pytest

from chainrule.explain import explain
from chainrule.explain.examples import example
from chainrule.explain.page import page

CHROMIUM = next(
    (p for p in ("/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome") if Path(p).exists()), None
)
QUIET = [
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync",
]  # fmt: skip
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")
playwright = pytest.importorskip("playwright.sync_api", reason="no playwright here: pip install playwright")


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        running = started.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield running
        running.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The file of an example's page, written once."""
    folder, written = tmp_path_factory.mktemp("pages"), {}

    def file(name):
        if name not in written:
            written[name] = folder / f"{name}.html"
            written[name].write_text(page(example(name)), encoding="utf-8")
        return written[name]

    return file


@pytest.fixture
def opened(browser, files):
    """Opens an example's page; every complaint of the browser fails the test."""
    contexts, complaints = [], []

    def visit(name, width=1280, height=900, scheme="light"):
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, offline=True, reduced_motion="reduce"
        )
        contexts.append(context)
        tab = context.new_page()
        tab.on("console", lambda message: complaints.append(message.text) if message.type != "log" else None)
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("request", lambda request: None if request.url.startswith("file:") else complaints.append(request.url))
        tab.goto((files(name) if isinstance(name, str) else name).as_uri())
        return tab

    yield visit
    for context in contexts:
        context.close()
    assert not complaints


def numbers(tab, figure):
    """The full numbers that a heat map holds."""
    return [
        float(value) for value in tab.eval_on_selector_all(f"{figure} .grid i", "all => all.map(e => e.dataset.value)")
    ]


def test_nothing_in_the_page_comes_from_elsewhere(files):
    text = files("vu-2023").read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    for foreign in ("http:", "https:", "//cdn", "@import", "url("):
        assert foreign not in text.replace("http://www.w3.org/", "")


def test_the_numbers_are_those_of_the_json(opened):
    tab, found = opened("vu-2023"), example("vu-2023").to_dict()["nodes"]
    ops = [node for node in found if node["op"]]
    for step, node in enumerate(ops, 1):
        tab.keyboard.press("ArrowRight")
        assert tab.text_content("article h2") == node["name"]
        assert f"{step} / {2 * len(ops)}" in tab.text_content("#now")
        if node["value"]["shape"]:
            assert numbers(tab, ".out") == np.ravel(node["value"]["values"]).tolist()
        else:
            assert float(tab.get_attribute(".out .big", "title")) == node["value"]["values"]
        assert tab.query_selector(".incoming") is None
    for node in ops[::-1]:
        tab.keyboard.press("ArrowRight")
        if node["gradient"]["shape"]:
            assert numbers(tab, ".incoming") == np.ravel(node["gradient"]["values"]).tolist()
        else:
            assert float(tab.get_attribute(".incoming .big", "title")) == node["gradient"]["values"]


def test_stepping_changes_the_graph_and_the_slider_goes_anywhere(opened):
    tab = opened("vu-2023")
    assert tab.eval_on_selector_all(".card.has-gradient", "all => all.length") == 0
    values = tab.eval_on_selector_all(".card.has-value", "all => all.length")
    tab.click("#next")
    assert tab.eval_on_selector_all(".card.has-value", "all => all.length") == values + 1
    tab.fill("#slider", "18")
    gradients = sum(node.gradient is not None for node in example("vu-2023").nodes)
    assert tab.eval_on_selector_all(".card.has-gradient", "all => all.length") == gradients
    tab.click("#back")
    assert tab.input_value("#slider") == "17"


def test_a_leaf_has_its_gradient_when_its_last_contribution_is_there(opened):
    tab = opened("attention")
    tab.fill("#slider", "17")
    tab.click(".card[data-nodes='0']")
    assert "The gradient arrives in step 18" in tab.text_content("article")
    tab.keyboard.press("End")
    tab.click(".card[data-nodes='0']")
    x = example("attention")["x"]
    assert numbers(tab, ".incoming") == x.gradient.ravel().tolist()
    assert tab.text_content("article").count("from ") == 3


def test_by_keyboard_alone(opened):
    tab = opened("vu-2023")
    tab.keyboard.press("End")
    assert tab.text_content("article h2") == "x @ W"
    tab.keyboard.press("Home")
    assert tab.query_selector("article") is None
    tab.focus(".card[data-nodes='5']")
    assert tab.evaluate("getComputedStyle(document.activeElement.querySelector('.box')).strokeWidth") == "3px"
    tab.keyboard.press("Enter")
    assert tab.text_content("article h2") == "h"
    tab.keyboard.press("ArrowRight")  # now within the heat map that has the focus
    assert tab.text_content("article h2") == "h"
    assert tab.text_content("#tip") == "k[1] = 2"
    tab.focus("#slider")
    tab.keyboard.press("ArrowRight")
    assert tab.text_content("article h2") == "h @ V"


def test_space_plays_to_the_next_step(opened):
    tab = opened("vu-2023")
    tab.keyboard.press(" ")
    assert tab.get_attribute("#play", "aria-label") == "Stop"
    tab.wait_for_selector("article", timeout=4000)
    tab.keyboard.press(" ")
    assert tab.get_attribute("#play", "aria-label") == "Play"


def test_a_number_is_read_out_under_the_pointer(opened):
    tab = opened("vu-2023")
    tab.fill("#slider", "15")
    tab.locator("[aria-label^='gradient of V,'] i").last.hover()
    value = float(example("vu-2023")["V"].gradient[2, 1])
    assert tab.text_content("#tip") == f"gradient of V[2, 1] = {value}"


def test_formulas_and_derivation_are_drawn(opened):
    tab = opened("vu-2023")
    tab.fill("#slider", "13")
    assert tab.locator("article .formula math").count() >= 3
    tab.click("summary")
    box = tab.locator("details .formula math").first.bounding_box()
    assert box["width"] > 60
    assert box["height"] > 15
    tab.keyboard.press("ArrowLeft")
    assert tab.locator("details[open]").count() == 1  # stays open from step to step


def test_a_small_op_shows_its_jacobian(opened):
    tab = opened("vu-2023")
    tab.fill("#slider", "13")
    jacobian = tab.locator("figure", has_text="∂y / ∂o").locator(".grid i")
    cells = [float(value) for value in jacobian.evaluate_all("all => all.map(e => e.dataset.value)")]
    np.testing.assert_allclose(cells, [0.25, -0.25, -0.25, 0.25])


@pytest.mark.parametrize("name", ["vu-2023", "attention", "nyu-2021-sigmoid-sigmoid-bce", "conv-net"])
def test_a_phone_scrolls_in_one_direction_only(opened, name):
    tab = opened(name, 390, 844)
    for step in (0, 1, 6, 10):
        tab.fill("#slider", str(step))
        assert tab.evaluate("document.documentElement.scrollWidth") == 390
        assert tab.eval_on_selector(".reader", "reader => reader.scrollWidth - reader.clientWidth") == 0


def test_dark_and_light(opened):
    def paper(tab):
        return tab.evaluate("getComputedStyle(document.body).backgroundColor")

    light, dark = opened("vu-2023"), opened("vu-2023", scheme="dark")
    assert paper(light) != paper(dark)
    first = paper(light)
    light.click("#theme")
    assert paper(light) == paper(dark)
    light.click("#theme")
    assert paper(light) == first


def test_the_course_tables_stand_on_the_first_page(opened):
    tab = opened("nyu-2021-sigmoid-sigmoid-mse")
    assert tab.locator(".course").count() == 3
    assert tab.locator(".course math").count() > 20
    tab.click("[data-open='1']")
    assert tab.text_content("article h2") == "W1"


def test_what_a_user_names_is_never_markup(opened, tmp_path):
    nasty = "</script><img src=x onerror=alert(1)>"
    found = explain(lambda x: x * x, np.array([1.0, 2.0]), names={nasty: (w := np.ones(2))}, title=nasty)
    found = explain(lambda x: (x * w).sum(), np.array([1.0, 2.0]), names={nasty: w}, title=nasty)
    file = tmp_path / "nasty.html"
    file.write_text(page(found), encoding="utf-8")
    tab = opened(file)
    tab.keyboard.press("End")
    assert tab.locator("img").count() == 0
    assert nasty in tab.text_content("article")


@pytest.mark.slow
def test_a_large_network_can_be_stepped_through(opened):
    tab = opened("resnet18")
    for step in (1, 10, 70, 71, 140):
        tab.fill("#slider", str(step))
        assert tab.locator("article .heat").count() >= 2
    tab.fill("#slider", "10")
    assert tab.text_content(".parts button[aria-current]") == "add"
    tab.click(".parts button >> nth=0")
    assert tab.text_content("article h2") == "layer1.0.conv1"
