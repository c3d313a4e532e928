"""The documentation site: built without a warning, every link leads somewhere, nothing is fetched."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from chainrule import OPS
from chainrule.check import CAUSES

ROOT = Path(__file__).parents[1]
LOADS = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}


class Page(HTMLParser):
    """What a page links to and loads, the places in it, and its text."""

    def __init__(self, path):
        super().__init__()
        self.links, self.loads, self.anchors, self.words = [], [], set(), []
        self.feed(path.read_text())
        self.text = " ".join("".join(self.words).split())

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.anchors.add(given.get("id"))
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if (
            tag in LOADS
            and given.get(LOADS[tag])
            and given.get("rel") not in ("canonical", "index", "search", "next", "prev")
        ):
            self.loads.append(given[LOADS[tag]])

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("docs")
    done = subprocess.run([sys.executable, ROOT / "docs/site/build.py", folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return {path: Page(path) for path in (folder / "html").rglob("*.html")}


@pytest.mark.slow
def test_the_site(site):
    """One test, since the site is built once: by one of the processes that run the tests."""
    broken = [
        (page.name, link)
        for page, found in site.items()
        for link in found.links
        if not leads_somewhere(site, page, link)
    ]
    assert broken == []
    loaded = {link for found in site.values() for link in found.loads}
    assert loaded
    assert [link for link in loaded if urlsplit(link).netloc] == []
    assert all((page.parent / urlsplit(link).path).exists() for page, found in site.items() for link in found.loads)
    by_name = {page.parent.name + "/" + page.stem: found for page, found in site.items()}
    assert by_name.keys() >= {f"ops/{name}" for name in OPS} | {f"causes/{cause}" for cause in CAUSES}
    for name in OPS:
        assert f"def {name}(" in by_name[f"ops/{name}"].text
    softmax = by_name["ops/softmax"]
    assert "return -(y * (gy - (gy * y).sum(dim, keepdims=True)))" in softmax.text
    assert "../docs/causes/sign.html" in softmax.links
    of_ops = [found.text for page, found in site.items() if page.parent.name == "ops"]
    assert not [text for text in of_ops if re.search(r"\\(frac|sum|bar|delta)\b", text)]  # LaTeX as it is written


def leads_somewhere(site, page, link):
    """Is it a page of the site, and a place in it? Links to other sites are not followed."""
    parts = urlsplit(link)
    if parts.scheme in ("http", "https", "mailto"):
        return True
    target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if target not in site:
        return target.exists()
    return not parts.fragment or unquote(parts.fragment) in site[target].anchors
