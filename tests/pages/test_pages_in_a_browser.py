"""The report and the review page as people use them, in a real Chromium."""

from __future__ import annotations

import threading

import pytest
from browser import TIMEOUT_MS, chromium, find_chromium
from looked_at import FOUND, PREDICTED, N, looked_at, predicted

from cascade.pages.report import write_report
from cascade.pages.review import ReviewSession
from cascade.pages.review.app import review_app
from cascade.runs.run import open_run
from cascade.runs.verdicts import opinions, read_verdicts

CHROMIUM = find_chromium()
SIZES = {"desktop": (1920, 1080), "laptop": (1366, 768)}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        CHROMIUM is None,
        reason="NO BROWSER: the pages were not tried; install Chromium (apt-get install chromium) and playwright",
    ),
    # Playwright's own event loop outlives the test that started it.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def browser():
    with chromium(CHROMIUM) as opened:
        yield opened


@pytest.fixture
def page(browser):
    """A page on which nothing may go wrong, and which may ask nobody else."""
    context = browser.new_context(viewport=dict(zip(("width", "height"), SIZES["laptop"], strict=True)))
    opened = context.new_page()
    opened.set_default_timeout(TIMEOUT_MS)
    problems, asked = [], []
    opened.on(
        "console", lambda message: problems.append(message.text) if message.type in ("error", "warning") else None
    )
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("request", lambda request: asked.append(request.url))
    yield opened
    # A test cuts the connection.
    assert [problem for problem in problems if "net::ERR_FAILED" not in problem] == []
    assert all(url.startswith(("file://", "data:", "http://127.0.0.1:")) for url in asked)
    context.close()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return looked_at(tmp_path_factory.mktemp("looked-at"))


@pytest.fixture(scope="module")
def report(run, tmp_path_factory):
    out = tmp_path_factory.mktemp("report") / "report"
    write_report(run, out)
    return out


def until(page, condition):
    """Wait for a condition; Playwright's own way is to evaluate a text, which the pages' policy forbids."""
    for _ in range(TIMEOUT_MS // 50):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    pytest.fail(f"in vain: {condition}")


def no_overlap(page):
    """Texts and controls that lie over each other, or stick out of the window sideways."""
    return page.evaluate(
        """() => {
          const kinds = "button, input, select, h1, h2, h3, figcaption, header p, dt, dd";
          const shown = [...document.querySelectorAll(kinds)]
            .filter((e) => e.checkVisibility() && !e.closest("dialog:not([open])"))
            .map((e) => [e, e.getBoundingClientRect()]).filter(([, b]) => b.width && b.height);
          const wrong = shown.filter(([, b]) => b.right > innerWidth + 1)
            .map(([e]) => `out: ${e.outerHTML.slice(0, 80)}`);
          for (let i = 0; i < shown.length; i += 1) for (let j = i + 1; j < shown.length; j += 1) {
            const [[a, p], [b, q]] = [shown[i], shown[j]];
            if (a.contains(b) || b.contains(a)) continue;
            const w = Math.min(p.right, q.right) - Math.max(p.left, q.left);
            const h = Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top);
            if (w > 2 && h > 2) wrong.push(`over: ${a.outerHTML.slice(0, 60)} ${b.outerHTML.slice(0, 60)}`);
          }
          return wrong;
        }"""
    )


def test_a_report_is_filtered_and_opened_from_disk(report, page):
    page.goto((report / "index.html").as_uri())
    assert page.inner_text("#n-shown") == f"{len(FOUND)} of {len(FOUND)}"
    assert page.inner_text("#n-rows") == f"{N} of {N}"
    until(page, "document.querySelectorAll('#gallery img').length > 3")
    for width, height in SIZES.values():
        page.set_viewport_size({"width": width, "height": height})
        assert no_overlap(page) == []
    page.select_option("#class", "rays")
    assert page.inner_text("#n-shown").startswith(f"{sum(2 in found.classes for found in FOUND.values())} of")
    page.click("text=Clear")
    page.fill("#find", "700002")
    until(page, "document.getElementById('n-rows').textContent.startsWith('1 of')")
    page.focus("#gallery")
    page.keyboard.press("Enter")
    page.wait_for_selector("#one[open] img")
    assert page.inner_text("#one-title") == "Exposure 700002"
    assert page.get_attribute("#one img", "alt").startswith("Exposure 700002, band i: faint 0.97, rays 0.90;")
    assert page.locator("#one path.artifact").count() == 2
    page.keyboard.press("m")
    assert not page.locator("#one path.artifact").first.is_visible()
    page.keyboard.press("Escape")
    page.wait_for_selector("#one:not([open])", state="attached")


def test_a_single_file_works_alone(run, page, tmp_path):
    write_report(run, tmp_path / "report.html", single=True)
    page.goto((tmp_path / "report.html").as_uri())
    page.wait_for_selector("#gallery img")
    assert page.evaluate("document.querySelector('#gallery img').decode().then(() => true)")


def test_the_gallery_holds_only_what_is_seen(report, page):
    page.goto((report / "index.html").as_uri())
    page.evaluate("gallery.count = 3000; table.count = 76000")
    assert page.evaluate("table.draw(), table.shown.size") < 60


def test_predictions_are_a_layer_and_filters_of_a_report(run, page, tmp_path):
    write_report(run, tmp_path / "report", predicted=predicted(tmp_path / "PREDICTED", run))
    page.goto((tmp_path / "report" / "index.html").as_uri())
    n_shown = len({*FOUND, *PREDICTED})
    assert page.inner_text("#n-shown") == f"{n_shown} of {n_shown}"
    for width, height in SIZES.values():
        page.set_viewport_size({"width": width, "height": height})
        assert no_overlap(page) == []
    page.select_option("#status", "flagged")
    assert page.inner_text("#n-shown").startswith(f"{len(FOUND)} of")
    page.select_option("#status", "")
    page.select_option("#prediction", "CCDs predicted, not found")
    assert page.inner_text("#n-rows") == f"3 of {N}"
    page.select_option("#prediction", "predicted, not found")
    assert page.inner_text("#n-shown") == f"2 of {n_shown}"
    page.focus("#gallery")
    page.keyboard.press("Enter")
    page.wait_for_selector("#one[open] path.predicted")
    assert "bright, probability 0.550: HIP 20885, 3.8 mag" in page.inner_text("#one-body")
    page.keyboard.press("p")
    assert not page.locator("#one path.predicted").first.is_visible()
    page.keyboard.press("p")
    assert page.locator("#one path.predicted").first.is_visible()


@pytest.fixture
def review(tmp_path):
    """A review server of this process, with predictions, and its run."""
    import uvicorn

    run = looked_at(tmp_path)
    session = ReviewSession(run, predicted=predicted(tmp_path / "PREDICTED", run))
    app = review_app(session, hosts=frozenset({"127.0.0.1"}), token="s3cret")
    server = uvicorn.Server(uvicorn.Config(app, port=0, lifespan="off", ws="none", log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        thread.join(0.05)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield run, f"http://127.0.0.1:{port}/?token=s3cret"
    server.should_exit = True
    thread.join()


def begin(page, address, name):
    page.goto(address)
    page.fill("#name", name)
    page.click("text=Begin")
    page.wait_for_selector("#overlay svg")


def judged(page):
    return int(page.inner_text("#progress").split()[0])


def test_ten_are_accepted_a_polygon_drawn_and_undone_and_all_is_there_after_reloading(review, page):
    run, address = review
    begin(page, address, "Ada <b>")
    for width, height in SIZES.values():
        page.set_viewport_size({"width": width, "height": height})
        assert no_overlap(page) == []
    for n in range(10):
        page.keyboard.press("a")
        until(page, f"document.getElementById('progress').textContent.startsWith('{n + 1} of')")
        until(page, "!busy")
    page.keyboard.press("d")
    box = page.locator("#overlay svg").bounding_box()
    for x, y in ((0.3, 0.3), (0.5, 0.3), (0.5, 0.5), (0.3, 0.5)):
        page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])
    page.keyboard.press("3")
    page.wait_for_selector("text=rays, drawn by you")
    until(page, "!busy")
    drawn_on = page.evaluate("current.exposure")
    page.keyboard.press("u")
    until(page, "!current.mine")
    page.keyboard.press("u")
    until(page, "document.getElementById('progress').textContent.startsWith('9 of')")
    page.keyboard.press("r")
    until(page, "document.getElementById('progress').textContent.startsWith('10 of')")
    page.reload()
    page.wait_for_selector("#overlay svg")
    assert judged(page) == 10
    assert page.inner_text("#who") == "Reviewer: Ada <b>"
    said = opinions(read_verdicts(run.storage))
    assert drawn_on not in said
    assert sorted(by["Ada <b>"].judgement for by in said.values()) == ["accepted"] * 9 + ["rejected"]


def test_a_polygon_is_drawn_by_keys_alone(review, page):
    run, address = review
    begin(page, address, "Bob")
    page.keyboard.press("d")
    for key in (" ", *["ArrowRight"] * 9, " ", *["ArrowDown"] * 9, " ", "1"):
        page.keyboard.press(key)
    page.wait_for_selector("text=bright, drawn by you")
    page.keyboard.press("x")
    until(page, "!busy && !current.mine")
    assert [v.action for v in read_verdicts(run.storage)] == ["draw", "delete"]
    polygon = read_verdicts(run.storage)[0].polygon
    assert polygon == ((200, 200), (236, 200), (236, 236))


def test_two_reviewers_at_once_keep_their_own(review, page, browser):
    run, address = review
    begin(page, address, "Ada")
    other = browser.new_page()
    begin(other, address, "Bob")
    first = page.evaluate("current.exposure")
    page.keyboard.press("a")
    other.keyboard.press("r")
    for one in (page, other):
        until(one, "document.getElementById('progress').textContent.startsWith('1 of')")
    other.close()
    said = opinions(read_verdicts(run.storage))[first]
    assert {name: opinion.judgement for name, opinion in said.items()} == {"Ada": "accepted", "Bob": "rejected"}
    write_report(open_run(run.storage), run.storage.folder / "report")
    page.goto((run.storage.folder / "report" / "index.html").as_uri())
    assert "Cohen's kappa" in page.inner_text("main")


def test_a_verdict_waits_for_a_server_that_is_away(review, page):
    run, address = review
    begin(page, address, "Ada")
    page.route("**/api/verdicts", lambda route: route.abort())
    page.keyboard.press("a")
    page.wait_for_selector("text=not saved yet: 1")
    assert read_verdicts(run.storage) == []
    page.unroute("**/api/verdicts")
    until(page, "document.getElementById('progress').textContent.startsWith('1 of')")
    assert len(read_verdicts(run.storage)) == 1


def test_predictions_are_a_layer_and_filters_of_the_review_page(review, page):
    _, address = review
    begin(page, address, "Ada")
    for exposure in (3, 4):
        page.select_option("#scope", "predicted, not found")
        assert page.locator(".entry").count() == 2
        page.click(f".entry:has-text('{700000 + exposure}')")
        until(page, f"current.exposure === {exposure} && !busy")
        assert "HIP 20885, 3.8 mag" in page.inner_text("#predicted-list")
        assert page.locator("path.predicted").count() == 1
        assert no_overlap(page) == []
    page.keyboard.press("p")
    assert not page.locator("path.predicted").is_visible()
    page.keyboard.press("a")
    until(page, "queue.mine[placeOf(4)] === 'accepted' && !busy")
    page.select_option("#scope", "all")
    assert page.locator(".entry").count() > 2
