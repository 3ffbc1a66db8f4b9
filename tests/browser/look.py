"""What a real Chromium makes of pages: on four widths, light and dark, by keyboard; and pictures. Prints what is wrong.

Runs in an environment of its own, which has playwright and not batcher.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator

WIDTHS: Final = (320, 768, 1440)
SCHEMES: Final = ("light", "dark")
VIEWS: Final = (*((scheme, width, 100) for scheme in SCHEMES for width in WIDTHS), ("light", 768, 200))
"""Scheme, width, and how large the text is, in percent of its usual size."""
LARGEST: Final = 3_000_000
"""Bytes of a page."""
PICTURES: Final = (("light", 1200, 3, "light"), ("dark", 1200, 3, "dark"), ("narrow", 390, 2, "dark"))
"""Name, width, after which chart it ends, and scheme."""
MOST_TABS: Final = 600
OVERFLOW: Final = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
OVERLAPS: Final = """() => {
  const found = [], seen = element => element.checkVisibility() && element.getBoundingClientRect().width > 0;
  for (const figure of document.querySelectorAll('figure')) {
    const texts = [...figure.querySelectorAll(
      'svg text, figcaption h3, figcaption p, .keys li, .unit, .across, .note, summary')];
    const boxes = texts.filter(seen).map(text => [text.textContent, text.getBoundingClientRect()]);
    const outer = figure.getBoundingClientRect();
    for (const [words, box] of boxes)
      if (box.left < outer.left - 0.5 || box.right > outer.right + 0.5) found.push(`outside of its figure: ${words}`);
    for (let i = 0; i < boxes.length; i++) for (let j = i + 1; j < boxes.length; j++) {
      const [a, b] = [boxes[i][1], boxes[j][1]];
      const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (wide > 0.5 && high > 1.5) found.push(`overlap: ${boxes[i][0]} / ${boxes[j][0]}`);
    }
  }
  for (const box of document.querySelectorAll('.tiles div, .tiles dd, .parameters div, summary, h1, h2, h3, p'))
    if (seen(box) && box.scrollWidth > box.clientWidth + 1) found.push(`overflow: ${box.textContent.slice(0, 60)}`);
  for (const row of document.querySelectorAll('.charts')) {
    const [last, all] = [row.lastElementChild.getBoundingClientRect(), row.getBoundingClientRect()];
    if (last.right < all.right - 0.5) found.push(`half of a row is empty beside ${row.lastElementChild.id}`);
  }
  for (const chart of document.querySelectorAll('.plot'))
    if (![...chart.querySelectorAll('.area, .bar, .failure, .dot')].some(one => one.getBBox().height > 0))
      found.push(`nothing is drawn: ${chart.ariaLabel}`);
  for (const cell of document.querySelectorAll('th, td'))
    if (seen(cell) && cell.scrollWidth > cell.clientWidth + 1) found.push(`cut off: ${cell.textContent.slice(0, 60)}`);
  return found;
}"""
CONTRAST: Final = """() => {
  const lightness = color => { const [r, g, b] = color.match(/[\\d.]+/g).slice(0, 3).map(x => x / 255)
    .map(x => x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const behind = element => { for (let e = element; e; e = e.parentElement) {
    const color = getComputedStyle(e).backgroundColor; if (!/, 0\\)$|transparent/.test(color)) return color; }
    return 'rgb(255,255,255)'; };
  const found = new Set();
  for (const element of document.querySelectorAll('h1,h2,h3,h4,p,dt,dd,th,td,summary,li,a,pre,text')) {
    if (!element.checkVisibility()) continue;
    const style = getComputedStyle(element), color = element.tagName === 'text' ? style.fill : style.color;
    const [a, b] = [lightness(color), lightness(behind(element))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    const style_of = element.className.baseVal ?? element.className;
    if (ratio < 4.5) found.add(`contrast ${ratio.toFixed(2)}: ${element.tagName} ${style_of}`);
  }
  return [...found];
}"""
MISSED: Final = """() => [...document.querySelectorAll('summary, .scroll, a[href]')]
  .filter(element => element.checkVisibility() && !element.dataset.reached)
  .map(element => element.textContent.slice(0, 60))"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chromium", help="the browser (default: playwright's own)")
    parser.add_argument("--pictures", type=Path, help="where pictures of the first page go")
    parser.add_argument("pages", nargs="+", type=Path)
    args = parser.parse_args()
    faults = 0
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=args.chromium, args=["--no-sandbox"])
        print(f"chromium {browser.version}")
        for page in args.pages:
            found = [*_looked(browser, page)]
            print(f"{page.name}: {page.stat().st_size // 1000:,} KB, {len(found) or 'no'} faults")
            print("".join(f"  {fault}\n" for fault in found[:40]), end="")
            faults += len(found)
        if args.pictures:
            _draw(browser, args.pages[0], args.pictures)
        browser.close()
    return 1 if faults else 0


def _looked(browser: Any, path: Path) -> Iterator[str]:
    """What is wrong with a page."""
    if path.stat().st_size > LARGEST:
        yield f"{path.stat().st_size} bytes"
    for scheme, width, size in VIEWS:
        where = f"{scheme}, {width} px, text at {size} %"
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        view = context.new_page()
        heard: list[str] = []
        view.on("console", lambda message, heard=heard: heard.append(f"console: {message.text}"))
        view.on("pageerror", lambda error, heard=heard: heard.append(f"error: {error}"))
        view.on("request", lambda sent, heard=heard: heard.append(sent.url))
        view.goto(path.resolve().as_uri())
        view.evaluate(f"document.documentElement.style.fontSize = '{size}%'")
        for is_open in (False, True):
            if is_open:
                view.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
            told = [*view.evaluate(OVERLAPS), *view.evaluate(CONTRAST)]
            if (wide := view.evaluate(OVERFLOW)) > 0:
                told.append(f"{wide} px wider than the screen")
            yield from (f"{where}{', all open' if is_open else ''}: {fault}" for fault in told)
        if view.evaluate("document.querySelectorAll('script, img, iframe, link, form').length"):
            yield f"{where}: an element that no report has"
        yield from (f"{where}: {words}" for words in heard if words != path.resolve().as_uri())
        context.close()
    yield from _by_keyboard(browser, path)


def _by_keyboard(browser: Any, path: Path) -> Iterator[str]:
    """Tab reaches everything that opens or scrolls, in its order; Enter opens it, and closes what is open."""
    view = browser.new_page(viewport={"width": 1440, "height": 900})
    view.goto(path.resolve().as_uri())
    last = -1.0
    for _ in range(MOST_TABS):
        view.keyboard.press("Tab")
        told = view.evaluate("""() => { const at = document.activeElement;
          if (at === document.body || at.dataset.reached) return null;
          at.dataset.reached = 1; const all = [...document.querySelectorAll('summary, .scroll, a[href]')];
          return {place: all.indexOf(at), is_summary: at.tagName === 'SUMMARY', name: at.textContent.slice(0, 60),
                  outline: getComputedStyle(at).outlineStyle}; }""")
        if told is None:
            break
        if told["place"] < last:
            yield f"keyboard: {told['name']} comes out of order"
        if told["outline"] == "none":
            yield f"keyboard: nothing shows that {told['name']} has the focus"
        last = told["place"]
        if told["is_summary"]:
            is_open = "document.activeElement.parentElement.open"
            was_open = view.evaluate(is_open)
            view.keyboard.press("Enter")
            if view.evaluate(is_open) == was_open:
                yield f"keyboard: {told['name']} does not {'close' if was_open else 'open'}"
            elif was_open:
                view.keyboard.press("Enter")
                if not view.evaluate(is_open):
                    yield f"keyboard: {told['name']} does not open again"
    yield from (f"keyboard: {name} is not reached" for name in view.evaluate(MISSED))
    view.close()


def _draw(browser: Any, path: Path, where: Path) -> None:
    """Pictures for the documents: as small as they can be and still be read."""
    for name, width, charts, scheme in PICTURES:
        view = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        view.goto(path.resolve().as_uri())
        end = view.evaluate(f"document.querySelectorAll('.chart')[{charts - 1}].getBoundingClientRect().bottom")
        view.set_viewport_size({"width": width, "height": int(end) + 16})
        view.screenshot(path=where / f"report-{name}.png")
        view.close()


if __name__ == "__main__":
    sys.exit(main())
