"""Charts in a real browser: settings of their own, groups, merged metrics, whole window, held tooltips, undo."""

from __future__ import annotations

import re

from .conftest import Site
from .test_browser import Open, Picture, drawn, until


def test_a_chart_and_a_section_have_settings_of_their_own(open_page: Open, site: Site) -> None:
    page = open_page(f"/runs/{site.runs[0]}")
    drawn(page, 2)
    page.get_by_role("button", name="Settings of section train").click()
    page.get_by_label("Log y of section train").select_option("1")
    page.keyboard.press("Escape")
    log = page.get_by_role("button", name="Log scale of train/loss")
    assert log.get_attribute("aria-pressed") == "true"
    assert page.get_by_role("button", name="Log scale of val/loss").get_attribute("aria-pressed") == "false"
    log.click()
    assert log.get_attribute("aria-pressed") == "false"
    page.reload()
    assert log.get_attribute("aria-pressed") == "false"
    page.get_by_role("button", name="Settings of train/loss").click()
    page.get_by_role("button", name="Everything as the section has it").click()
    assert log.get_attribute("aria-pressed") == "true"


def test_a_browser_whose_language_is_no_valid_tag_draws_charts(open_page: Open, site: Site) -> None:
    """Chromium under LANG=C.UTF-8 says `en-US@posix`, which Intl refuses."""
    page = open_page("/")
    page.add_init_script("Object.defineProperty(navigator, 'language', {get: () => 'en-US@posix'})")
    page.goto(f"/runs/{site.runs[0]}")
    drawn(page, 2)


def test_changes_of_the_view_are_undone_and_done_again(open_page: Open, site: Site) -> None:
    page = open_page(f"/runs/{site.runs[0]}")
    drawn(page, 2)
    page.keyboard.press("l")
    until(page, "location.search.includes('log=1')")
    page.keyboard.press("Control+z")
    until(page, "!location.search.includes('log=1')")
    page.keyboard.press("Control+Shift+Z")
    until(page, "location.search.includes('log=1')")


def test_keys_of_a_single_letter_can_be_switched_off(open_page: Open, site: Site) -> None:
    page = open_page(f"/runs/{site.runs[0]}")
    drawn(page, 2)
    page.keyboard.press("?")
    page.get_by_label("keys of a single letter").uncheck()
    page.get_by_role("button", name="Close").click()
    page.keyboard.press("l")
    page.keyboard.press("?")
    assert "log=1" not in page.url
    assert not page.get_by_role("heading", name="Keys").is_visible()


def test_a_chart_over_the_whole_window_and_the_next_one(open_page: Open, site: Site) -> None:
    page = open_page(f"/runs/{site.runs[0]}")
    drawn(page, 2)
    page.get_by_label("train/loss", exact=True).hover()
    page.keyboard.press("f")
    dialog = page.get_by_role("dialog")
    dialog.get_by_label(re.compile("^Chart of train/loss")).wait_for()
    page.keyboard.press("ArrowRight")
    dialog.get_by_label(re.compile("^Chart of val/loss")).wait_for()
    page.keyboard.press("Escape")
    until(page, "!location.search.includes('full=')")


def test_groups_are_drawn_as_their_means(open_page: Open, site: Site, picture: Picture) -> None:
    page = open_page(f"/compare?runs={','.join(site.runs)}&m=val")
    drawn(page)
    page.get_by_label("group by").select_option("optimizer")
    page.get_by_role("button", name="optimizer adam (2)").wait_for()
    page.get_by_role("button", name="optimizer sgd (2)").wait_for()
    page.get_by_text("mean ± sd").first.wait_for()
    chart = page.get_by_label(re.compile("^Chart of val/loss"))
    box = chart.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    chart.locator(".tip").wait_for()
    assert re.search(r"± [\d.]+ n 2", chart.locator(".tip").inner_text())
    picture(page, "compare-groups-wide-light")


def test_metrics_of_one_name_are_merged_into_a_chart(open_page: Open, site: Site) -> None:
    page = open_page(f"/runs/{site.runs[0]}")
    drawn(page, 2)
    page.get_by_role("button", name="merge").click()
    page.get_by_label(re.compile("^Chart of train, val: loss")).wait_for()
    drawn(page, 1)


def test_a_held_tooltip_hides_its_run(open_page: Open, site: Site) -> None:
    page = open_page(f"/compare?runs={','.join(site.runs[:2])}&m=val")
    drawn(page, 1)
    chart = page.get_by_label(re.compile("^Chart of val/loss"))
    box = chart.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    chart.locator(".tip").wait_for()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    chart.get_by_role("button", name="Hide").click()
    until(page, "location.search.includes('hide=')")


def test_shift_and_drag_pan_all_charts_and_back_undoes_it(open_page: Open, site: Site) -> None:
    page = open_page(f"/runs/{site.runs[0]}")
    drawn(page, 2)
    box = page.get_by_label(re.compile("^Chart of train/loss")).bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.keyboard.down("Shift")
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 20, y, steps=4)
    with page.expect_response(re.compile("/api/v1/charts.*from=")) as answer:
        page.mouse.move(x - 90, y, steps=8)
        page.mouse.up()
    page.keyboard.up("Shift")
    assert answer.value.ok
    until(page, "Number(new URLSearchParams(location.search).get('from')) > 100")
    view = page.evaluate("Object.fromEntries(new URLSearchParams(location.search))")
    assert int(view["to"]) - int(view["from"]) == 4999  # as many steps as before
    page.go_back()
    until(page, "!location.search.includes('from=')")


PAN = """async () => {
    const width = Object.getOwnPropertyDescriptor(HTMLCanvasElement.prototype, 'width');
    let painted = 0;
    Object.defineProperty(HTMLCanvasElement.prototype, 'width', {
        ...width,
        set(value) { if (!this.isConnected) painted += 1; width.set.call(this, value); },
    });
    const chart = document.querySelector('.chart .u-over');
    const { left, top } = chart.getBoundingClientRect();
    const send = (to, kind, x) => to.dispatchEvent(new PointerEvent(kind, {
        bubbles: true, cancelable: true, shiftKey: true, button: 0, pointerType: 'mouse',
        clientX: left + x, clientY: top + 40,
    }));
    send(chart, 'pointerdown', 200);
    for (let frame = 1; frame <= 20; frame++) {
        send(window, 'pointermove', 200 - frame);
        for (let turn = 0; turn < 50; turn++) await null;  // Svelte and uPlot do their work
    }
    send(window, 'pointerup', 180);
    return painted;
}"""


def test_a_pan_moves_the_picture_of_compared_runs(open_page: Open, site: Site) -> None:
    """Drawing them anew in each frame is what makes a pan of many runs slow."""
    page = open_page(f"/compare?runs={','.join(site.runs)}&hide={site.runs[1]}&m=loss")
    drawn(page, 2)
    painted = page.evaluate(PAN)
    until(page, "Number(new URLSearchParams(location.search).get('from')) > 0")
    assert painted <= 2, "a picture of each of the two charts"


def test_tabs_share_one_stream_and_the_next_takes_over(open_page: Open, site: Site) -> None:
    first = open_page("/")
    first.get_by_role("status").get_by_text("live", exact=True).wait_for()
    second = first.context.new_page()
    streams: list[str] = []
    second.on("request", lambda request: streams.append(request.url) if "/events" in request.url else None)
    second.goto(site.url)
    second.get_by_role("link", name="run-0").wait_for()
    second.get_by_role("status").get_by_text("live", exact=True).wait_for()
    assert not streams
    with second.expect_request(lambda request: "/events" in request.url):
        first.close()
    second.get_by_role("status").get_by_text("live", exact=True).wait_for()


TITLES = "[...document.querySelectorAll('[aria-label=Charts] h3')].map(title => title.textContent)"


def test_charts_are_searched_by_their_names(open_page: Open) -> None:
    page = open_page("/?q=experiment:sweep&pane=right")
    drawn(page, 2)
    page.keyboard.press("m")
    page.keyboard.type("val")
    until(page, f"(titles => titles.length && titles.every(title => title.includes('val')))({TITLES})")
    assert "m=val" in page.url
    box = page.get_by_role("searchbox", name="Search metrics")
    box.fill("/^train.*s$/")
    until(page, f"(titles => titles.length && titles.every(title => title.startsWith('train')))({TITLES})")
    box.fill("nothing of that name")
    page.get_by_text("No metric matches").wait_for()
    page.get_by_role("button", name="Clear the search").click()
    until(page, f"{TITLES}.includes('val/loss')")
