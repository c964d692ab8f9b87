"""The EPUB: well-formed, complete, every link lands, and the same bytes every time."""

from __future__ import annotations

import posixpath
import zipfile
from xml.etree import ElementTree

import pytest
from typeset_sample import built, write_sample

from scripts.typeset import typeset
from scripts.typeset.book import EPUB
from scripts.typeset.mathematics import katex
from scripts.typeset.memo import Memo

XHTML = "{http://www.w3.org/1999/xhtml}"
OPF = "{http://www.idpf.org/2007/opf}"


def parts() -> dict[str, bytes]:
    with zipfile.ZipFile(built() / "_book" / EPUB) as archive:
        first = archive.infolist()[0]
        assert first.filename == "mimetype" and first.compress_type == zipfile.ZIP_STORED
        return {name: archive.read(name) for name in archive.namelist()}


def trees() -> dict[str, ElementTree.Element]:
    return {name: ElementTree.fromstring(data) for name, data in parts().items() if name.endswith(".xhtml")}


def test_every_link_and_picture_is_there():
    pages, names = trees(), set(parts())
    ids = {name: {element.get("id") for element in page.iter()} for name, page in pages.items()}
    for name, page in pages.items():
        for image in page.iter(f"{XHTML}img"):
            assert posixpath.join("EPUB", image.get("src")) in names and image.get("alt")
        for link in page.iter(f"{XHTML}a"):
            target, _, id = link.get("href").partition("#")
            if "://" in target:
                continue
            home = posixpath.join("EPUB", target) if target else name
            assert home in pages and (not id or id in ids[home]), (name, link.get("href"))


def test_ids_are_unique():
    for page in trees().values():
        ids = [element.get("id") for element in page.iter() if element.get("id")]
        assert len(ids) == len(set(ids))


def test_the_package_lists_every_file_once():
    found = parts()
    package = ElementTree.fromstring(found["EPUB/package.opf"])
    listed = ["EPUB/" + item.get("href") for item in package.iter(f"{OPF}item")]
    assert sorted(listed) == sorted(set(found) - {"mimetype", "META-INF/container.xml", "EPUB/package.opf"})
    ids = {item.get("id") for item in package.iter(f"{OPF}item")}
    assert all(item.get("idref") in ids for item in package.iter(f"{OPF}itemref"))


def test_formulas_are_mathml_and_formats_chosen():
    text = parts()["EPUB/chapters-27-positional-encodings.xhtml"].decode()
    assert "<math " in text and "katex-html" not in text and "<details" not in text
    assert (
        "Anywhere but on the web." in text and "Only on the web." not in text and "Only on paper." not in text
    )


@pytest.mark.parametrize("tex", [r"\lambda_{\min}", r"\lambda_{\max}^2", r"x^{\log}", r"\frac{\log}{\exp x}"])
def test_mathml_has_as_many_children_as_it_may(tex):
    """KaTeX writes an operator's name and its invisible sign side by side, where one child is allowed."""
    ns = "{http://www.w3.org/1998/Math/MathML}"
    tree = ElementTree.fromstring(katex.mathml(katex.render(tex, False, Memo())))
    counts = {"msub": 2, "msup": 2, "mfrac": 2, "msubsup": 3}
    found = [(each.tag.removeprefix(ns), len(each)) for each in tree.iter() if each.tag.removeprefix(ns) in counts]
    assert found and all(n == counts[name] for name, n in found)


def test_the_same_bytes_again(tmp_path):
    project = write_sample(tmp_path / "build" / "book")
    typeset(project, tmp_path / "_book", ("epub",))
    assert (tmp_path / "_book" / EPUB).read_bytes() == (built() / "_book" / EPUB).read_bytes()
