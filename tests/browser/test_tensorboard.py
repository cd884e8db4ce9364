"""TensorBoard as a person sees it: each of its pages, in chromium, over the runs of a sweep and their report."""

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lazytorch.runs import find

pytestmark = pytest.mark.browser
CHROMIUM = Path("/usr/bin/chromium")
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-3d-apis", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
ALPHAS, RATES = ("3", "20", "100", "inf"), ("0.1", "1")  # which as words would be sorted otherwise
RUN = re.compile(r"alpha=(3|20|100|inf),seed=0,")
CURVES = [f"report/tensorboard/over_alpha/{index} lr={rate}" for index, rate in enumerate(RATES)]
REPORT = {"report/tensorboard/figures", *CURVES}
GROUP, CELL = ".category-name", "tf-hparams-table-view vaadin-grid-cell-content"


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    if not CHROMIUM.exists():
        pytest.skip("needs Debian's chromium: apt install chromium")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def sweep(browser, tmp_path_factory):
    """The folder of a sweep over alpha and the learning rate, with its report in it."""
    folder = tmp_path_factory.mktemp("sweep")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    environment |= {"LAZYTORCH_PROGRESS": "0", "OMP_NUM_THREADS": "1"}

    def start(module, *arguments):
        command = [sys.executable, "-m", module, *arguments]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    tiny = ("model=mlp", "epochs=2", "data.train_size=40", "data.test_size=20", "probe_size=2", "name=tiny")
    start("lazytorch", "-m", f"alpha={','.join(ALPHAS)}", f"optimizer.lr={','.join(RATES)}", *tiny, "sweep.fused=true")
    start("lazytorch.reports.cli", "runs/tiny", "-o", "runs/tiny/report", "--tensorboard")
    return folder / "runs" / "tiny"


@pytest.fixture(scope="module")
def address(sweep):
    """Of a TensorBoard on the sweep."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", sweep, "--host", "127.0.0.1", "--port", "0"]
    with subprocess.Popen([*command, "--load_fast=false"], stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        try:
            yield next(found[0] for line in server.stderr if (found := re.search(r"http://127\.0\.0\.1:\d+/", line)))
        finally:
            server.terminate()
            server.stderr.read()


@pytest.fixture
def show(browser, address):
    """show(name, content) -> that page, once it has what ``content`` selects; nothing that it asks for may fail."""
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    page.set_default_timeout(60_000)
    failed = []
    page.on("response", lambda response: failed.append(response.url) if response.status >= 400 else None)

    def show(name, content):
        page.goto("about:blank")
        page.goto(f"{address}#{name}")
        page.locator(content).first.wait_for()
        return page

    yield show
    page.close()
    assert not failed


def texts(page, selector):
    return [text.strip() for text in page.locator(selector).all_inner_texts() if text.strip()]


def unfold(page, group):
    page.locator(f"button.heading:has({GROUP}[title='{group}'])").click()


def wait_for_curve(page, tag):
    """Until the card of ``tag`` has drawn one."""
    page.locator(f"tf-scalar-card:has([itemprop=tag]:text-is('{tag}')) :is(canvas, svg)").first.wait_for()


@pytest.mark.parametrize(
    ("name", "runs"),
    [
        ("scalars", ".name-row span"),
        ("custom_scalars", ".name-row span"),
        ("images", ".name-row span"),
        ("timeseries", "runs-data-table tb-data-table-content-cell"),
        ("hparams", CELL),
    ],
)
def test_the_names_of_runs_begin_with_alpha_and_seed(show, name, runs):
    page = show(name, f"{runs}:has-text('alpha=inf')")
    found = {text for text in texts(page, runs) if "/tensorboard" in text}
    assert len(found - REPORT) == len(RATES) * len(ALPHAS) and all(map(RUN.match, found - REPORT))
    assert name == "hparams" or found > REPORT


def test_accuracy_and_laziness_come_first(show):
    first = ["accuracy", "laziness", "laziness_log10"]
    last = "per_layer_stability"
    assert texts(show("scalars", f"{GROUP}[title={last}]"), GROUP)[:3] == first
    groups = "metrics-card-groups .group-title"
    assert texts(show("timeseries", f"{groups}[title={last}]"), groups)[:3] == first


def test_what_spans_decades_has_its_logarithm(show):
    page = show("scalars", f"{GROUP}[title=laziness_log10]")
    unfold(page, "laziness_log10")
    for name in ("displacement", "ntk_drift"):
        wait_for_curve(page, f"laziness_log10/{name}")


def test_hparams_show_alpha_what_is_swept_and_seed_and_sort_by_alpha(show):
    page = show("hparams", f"{CELL}:has-text('alpha=inf')")
    first = ["alpha", "alpha_log10", "settings.optimizer.lr", "seed"]
    assert texts(page, ".hparam-checkbox[checked]")[:4] == first
    header = texts(page, CELL)
    assert header[header.index("alpha") :][:4] == first
    assert {"accuracy/test", "laziness/displacement"} <= set(header)
    for menu, choice in (("Sort by", "alpha_log10"), ("Direction", "Ascending")):
        page.locator(f"tf-hparams-query-pane paper-dropdown-menu[label='{menu}']").click()
        with page.expect_response("**/session_groups"):
            page.locator("tf-hparams-query-pane paper-item").filter(has_text=choice).click()
    rows = page.locator(f"{CELL}:has-text('alpha=')")
    sought, shown = [alpha for alpha in ALPHAS for _ in RATES], []
    for _ in range(50):
        ordered = sorted((row.bounding_box()["y"], row.inner_text().strip()) for row in rows.all())
        shown = [name.partition(",")[0].removeprefix("alpha=") for _, name in ordered]
        if shown == sought:
            break
        page.wait_for_timeout(200)
    assert shown == sought


def test_figures_are_shown_whole_at_their_own_size(show, sweep):
    page = show("images", "tf-image-loader img")
    page.locator(f"{GROUP}[title=per_layer]").wait_for()
    assert texts(page, GROUP) == ["overview", "per_layer"]
    names = [name for name in texts(page, "tf-image-loader .name") if name.startswith("overview/")]
    assert names == [f"overview/{file.stem}" for file in sorted((sweep / "report").glob("*.png"))] and len(names) == 5
    page.get_by_text("Show actual image size").click()
    for image in page.locator("tf-image-loader img").all():
        image.wait_for()
        natural, shown, right = image.evaluate("i => [i.naturalWidth, i.width, i.getBoundingClientRect().right]")
        assert 600 < natural == shown and right <= 1400


def test_the_sweep_is_a_curve_over_alpha(show, address, sweep):
    page = show("scalars", f"{GROUP}[title=over_alpha]")
    unfold(page, "over_alpha")
    wait_for_curve(page, "over_alpha/test_accuracy")

    results = {(run.config["optimizer"]["lr"], run.config["alpha"]): run.summary or {} for run in find([sweep])}
    # Infinity is a decade and a half right of 10^2, the largest decade.
    steps = {48: 3.0, 130: 20.0, 200: 100.0, 350: math.inf}
    for run, rate in zip(CURVES, RATES, strict=True):
        for name in ("test_accuracy", "activation_stability", "displacement", "ntk_drift"):
            path = f"{address}data/plugin/scalars/scalars?run={run}&tag=over_alpha/{name}"
            curve = {step: value for _, step, value in json.loads(page.request.get(path).text())}
            sought = {step: results[float(rate), alpha][name] for step, alpha in steps.items()}
            assert curve == pytest.approx(sought, rel=1e-6)


def test_custom_scalars_are_laid_out(show):
    page = show("custom_scalars", f"{GROUP}[title^='over alpha']")
    assert texts(page, GROUP)[:3] == ["accuracy", "laziness", "optimisation"]
    cards = "tf-custom-scalar-multi-line-chart-card"
    page.locator(f"{cards} .matches-text:has-text('({len(RATES) * len(ALPHAS)})')").first.wait_for()
    assert texts(page, f"{cards} .heading-label.name")[:2] == ["test accuracy", "train accuracy"]
