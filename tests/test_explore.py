"""The page of `sample.py RUN explore`: its server, and what a browser shows of it."""

import asyncio
import base64
import http.client
import io
import shutil
import sys
import threading
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from aaejax.ask import command
from aaejax.ask.explore import command as explore
from aaejax.ask.explore.view import MOST_UPLOAD, View
from aaejax.ask.question import Question
from aaejax.data import load
from aaejax.runs.restore import restore
from aaejax.types import UserError
from tests.conftest import tiny_options, train_tiny

pytest.importorskip("bokeh", reason="no Bokeh is installed")
from aaejax.ask.explore.layout import ClassChoice
from aaejax.ask.explore.plots import bars, bars_of


@pytest.fixture(scope="module")
def trained(finished_run):
    return restore(finished_run)


@pytest.fixture(scope="module")
def view(trained):
    return View(Question(trained))


@pytest.fixture(scope="module")
def served(trained):
    """A server in a thread of its own, as another process's would be."""
    found, started = [], threading.Event()

    def serve():
        try:
            found.append(explore.server(Question(trained)))
            started.set()
            found[0].serve()
            found[0].loop.close()
        finally:
            started.set()

    thread = threading.Thread(target=serve)
    thread.start()
    started.wait(120)
    yield found[0]
    found[0].stop()
    thread.join(60)
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def browser():
    webdriver = pytest.importorskip("selenium.webdriver", reason="no Selenium is installed")
    driver = shutil.which("chromedriver")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not (driver and chromium):
        pytest.skip("no Chromium with its chromedriver is installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage"):
        options.add_argument(f"--{flag}")
    options.add_argument("--window-size=1250,1000")
    service = webdriver.ChromeService(driver)
    opened = webdriver.Chrome(options=options, service=service)
    opened.set_script_timeout(60)
    yield opened
    opened.quit()


HELPERS = """
const model = name => Bokeh.documents[0].get_model_by_name(name);
const view = name => model(name) && Bokeh.index.find_one(model(name));
const inside = (name, what) => view(name) && view(name).el.shadowRoot.querySelector(what);
"""


class Open:
    """The page in the browser."""

    def __init__(self, browser, address):
        self.browser = browser
        browser.get(address)
        self.until(
            "return window.Bokeh && Bokeh.documents.length && !!inside('shown', 'img')"
        )

    def js(self, code):
        return self.browser.execute_script(HELPERS + code)

    def until(self, code):
        from selenium.webdriver.support.ui import WebDriverWait

        wait = WebDriverWait(self.browser, 120, poll_frequency=0.05)
        return wait.until(lambda b: b.execute_script(HELPERS + code))

    def pixels(self, number=0):
        """Of an image as the browser draws it: uint8 [H, W, 3]."""
        raw = self.browser.execute_async_script(
            f"""{HELPERS}
            const done = arguments[arguments.length - 1];
            const image = view("shown").el.shadowRoot.querySelectorAll("img")[{number}];
            image.decode().then(() => {{
                const canvas = document.createElement("canvas");
                canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
                canvas.getContext("2d").drawImage(image, 0, 0);
                done(canvas.toDataURL("image/png"));
            }});"""
        )
        content = base64.b64decode(raw.partition(",")[2])
        return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))

    def code(self):
        """Where the ring is: of codes of two dimensions the code."""
        x, y = self.js("const d = model('marks').data; return [d.x[0], d.y[0]]")
        return np.array([[x, y]], np.float32)

    def source(self):
        return self.js("return inside('shown', 'img').src")

    def changed(self, before):
        self.until(f"return inside('shown', 'img').src !== '{before}'")

    def point(self, x, y):
        """Of a place in the plane, where it is in the window."""
        return self.js(
            f"""const plane = view("plane"), box = plane.el.getBoundingClientRect();
            const frame = plane.frame;
            return [box.left + frame.x_scale.compute({x}),
                    box.top + frame.y_scale.compute({y})];"""
        )

    def actions(self):
        from selenium.webdriver.common.actions.action_builder import ActionBuilder

        return ActionBuilder(self.browser)


def shows(page, view, code):
    """Whether the page has, pixel by pixel, what the model decodes of a code."""
    made = np.rint(np.clip(view.model.decode(view.trained.variables, code)[0], 0, 1) * 255)
    # The browser's code is a float64: a pixel may be rounded to the next number.
    return np.abs(page.pixels() - made.astype(int)).max() <= 1


def test_click_and_drag_decode_that_place(browser, served, view):
    page = Open(browser, served.address)
    assert shows(page, view, view.start()[None])
    before = page.source()
    target = view.codes[np.abs(view.codes - view.start()[None]).sum(axis=1).argmax()]
    actions = page.actions()
    x, y = page.point(*target)
    actions.pointer_action.move_to_location(round(x), round(y)).click()
    actions.perform()
    page.changed(before)
    code = page.code()
    np.testing.assert_allclose(code[0], target, atol=0.1 * np.ptp(view.codes))
    assert shows(page, view, code)
    # Dragged back to the middle: it follows.
    before = page.source()
    actions = page.actions()
    actions.pointer_action.move_to_location(round(x), round(y)).pointer_down()
    x, y = page.point(*view.start())
    actions.pointer_action.move_to_location(round(x), round(y)).pointer_up()
    actions.perform()
    page.changed(before)
    assert shows(page, view, page.code())


def test_a_slider_moves_its_dimension(browser, served, view):
    from selenium.webdriver import ActionChains

    page = Open(browser, served.address)
    before = page.source()
    handle = page.js("return inside('z2', '.noUi-handle')")
    ActionChains(browser).drag_and_drop_by_offset(handle, 50, 0).perform()
    page.changed(before)
    page.until("return model('z2').value > 0.5")
    value = page.js("return model('z2').value")
    expected = view.start()
    expected[1] += value * view.std[1]
    np.testing.assert_allclose(page.code()[0], expected, rtol=1e-4, atol=1e-4)
    assert shows(page, view, expected[None])


def test_a_dropped_picture_is_encoded(browser, served, view, tmp_path):
    page = Open(browser, served.address)
    given = np.rint(view.images[7] * 255).astype(np.uint8)
    Image.fromarray(given[..., 0]).save(tmp_path / "mine.png")
    before = page.source()
    page.js("return inside('upload', 'input')").send_keys(str(tmp_path / "mine.png"))
    page.changed(before)
    np.testing.assert_allclose(page.code()[0], view.codes[7], rtol=1e-3, atol=1e-3)
    assert shows(page, view, view.codes[7:8])
    assert (page.pixels(1) == given).all()
    (tmp_path / "mine.txt").write_text("no picture")
    page.js("return inside('upload', 'input')").send_keys(str(tmp_path / "mine.txt"))
    page.until("return model('message').text.includes('cannot be decoded as an image')")


def test_pins_samples_and_what_is_saved(browser, served, view):
    page = Open(browser, served.address)
    page.js("inside('Pin A', 'button').click()")
    page.until("return model('marks').data.x.length == 2")
    before = page.source()
    page.js("inside('Samples', 'button').click()")
    page.until("return !!inside('row', 'img')")
    page.js("model('take').active = 3")
    page.changed(before)
    sample = view.samples(10, 0, view.start())[3]
    assert shows(page, view, sample[None])
    page.js("inside('Pin B', 'button').click()")
    page.until("return !model('between').disabled")
    before = page.source()
    page.js("model('between').value = 0.5")
    page.changed(before)
    middle = (view.start() + sample) / 2
    assert shows(page, view, middle[None])
    page.js("inside('Save NPZ', 'button').click()")
    page.until("return model('download').data.name[0] == 'explored.npz'")
    raw = base64.b64decode(page.js("return model('download').data.content[0]"))
    with np.load(io.BytesIO(raw)) as saved:
        np.testing.assert_allclose(saved["code"], middle, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(saved["pin_B"], sample)
        assert saved["row"].shape == (10, 28, 28, 1)
    page.js("inside('Nearest training examples', 'button').click()")
    # This run's data were a part of mnist5k, which can't be had again by name.
    page.until("return model('message').text.includes('are not at hand')")


def asked(served, path=None, host=None):
    """Status and text of a request."""
    parts = urlsplit(served.address)
    connection = http.client.HTTPConnection("127.0.0.1", parts.port, timeout=60)
    try:
        headers = {"Host": host or parts.netloc}
        connection.request("GET", parts.path if path is None else path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_the_server_is_for_this_machine_and_who_has_the_address(served):
    parts = urlsplit(served.address)
    assert parts.hostname == "127.0.0.1" and len(parts.path) > 20
    status, text = asked(served)
    assert status == 200
    assert "cdn." not in text  # it works without a network
    token = parts.path
    for path in ("/", "/favicon.txt", "/explore", f"{token}x"):
        status, text = asked(served, path)
        assert status == 404 and token not in text
    for host in (
        "evil.example",
        f"evil.example:{parts.port}",
        f"127.0.0.1.evil:{parts.port}",
    ):
        assert asked(served, host=host)[0] == 404
    assert asked(served, host=f"localhost:{parts.port}")[0] == 200


def test_a_port_in_use_is_refused_and_two_pages_have_two(served, trained):
    port = urlsplit(served.address).port

    async def others():
        with pytest.raises(UserError, match=f"port {port} can't be had .* give another"):
            explore.server(Question(trained), port)
        second = explore.server(Question(trained))
        second.end()
        return second.address

    second = urlsplit(asyncio.run(others()))
    assert second.port != port and second.path != urlsplit(served.address).path


def test_pictures_from_outside_are_bounded(view):
    with pytest.raises(UserError, match="give one of at most 8 MiB"):
        view.encode_picture(bytes(MOST_UPLOAD + 1), view.start())
    with pytest.raises(UserError, match="the file cannot be decoded as an image"):
        view.encode_picture(b"none", view.start())
    coloured, file = np.zeros((50, 40, 3), np.uint8), io.BytesIO()
    Image.fromarray(coloured).save(file, "PNG")
    image, code = view.encode_picture(file.getvalue(), view.start())
    assert image.shape == (28, 28, 1) and code.shape == (2,)


@pytest.mark.parametrize("axes", [None, (0, 1)])
def test_a_place_in_the_plane_is_that_of_its_code(view, axes):
    moved = view.moved(view.codes[0], axes, 0.25, -0.5)
    np.testing.assert_allclose(view.places(moved[None], axes), [[0.25, -0.5]], atol=1e-5)


def test_a_page_in_a_file(browser, finished_run, view, tmp_path, monkeypatch):
    out = tmp_path / "page.html"
    words = ["sample.py", str(finished_run), "explore", "--out", str(out)]
    monkeypatch.setattr("sys.argv", words)
    assert command.main() == 0
    # To be sent to someone: it does not say where on this machine the run is.
    assert str(finished_run.parent) not in out.read_text()
    browser.get(out.as_uri())
    page = Open.__new__(Open)
    page.browser = browser
    from selenium.webdriver.support.ui import WebDriverWait

    ready = "return document.body.dataset.ready === 'yes'"
    WebDriverWait(browser, 30).until(lambda b: b.execute_script(ready))
    actions = page.actions()
    canvas = browser.execute_script(
        "const b = document.getElementById('plane').getBoundingClientRect();"
        "return [b.left, b.top, b.width]"
    )
    left, top, width = canvas
    # The middle of the cell of column 30 and row 10.
    actions.pointer_action.move_to_location(
        round(left + width * 30.5 / 40), round(top + width * 10.5 / 40)
    )
    actions.perform()
    low_x, high_x, low_y, high_y = browser.execute_script("return about.range")
    code = [
        low_x + 30.5 / 40 * (high_x - low_x),
        high_y - 10.5 / 40 * (high_y - low_y),
    ]
    raw = browser.execute_script("return shown.toDataURL('image/png')")
    content = base64.b64decode(raw.partition(",")[2])
    found = np.asarray(Image.open(io.BytesIO(content)).convert("L"))
    made = view.model.decode(view.trained.variables, np.array([code], np.float32))[0]
    made = np.rint(np.clip(np.asarray(made), 0, 1) * 255)[..., 0]
    assert np.abs(found - made).max() <= 1
    assert not [line for line in browser.get_log("browser") if line["level"] == "SEVERE"]


@pytest.mark.parametrize("count", [20, 21])
def test_classes_are_buttons_or_where_they_are_many_a_list(count):
    changed = []
    choice = ClassChoice([f"class {number}" for number in range(count)])
    choice.watch(changed.append)
    choice.choose(count - 1)
    choice.choose(None)
    assert changed == [count - 1, None]
    shown = getattr(choice.widget, "labels" if count == 20 else "options")
    assert f"class {count - 1}" in str(shown[-1])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--out", "x.png"], "the name must end in .html"),
        (["--port", "70000"], "give 1 to 65535"),
        (["--out", "x.html", "--port", "9"], "--out needs not"),
        (["--count", "5"], "--count has no meaning for explore"),
    ],
)
def test_mistakes_are_one_line(words, message, finished_run, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["sample.py", str(finished_run), "explore", *words])
    assert command.main() == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_options_of_the_page_are_for_explore(finished_run, monkeypatch, capsys, tmp_path):
    for words in (["--port", "9"], ["--no-browser"]):
        out = ["--out", str(tmp_path / "x.png")]
        words = ["sample.py", str(finished_run), "samples", *out, *words]
        monkeypatch.setattr("sys.argv", words)
        assert command.main() == 2
        assert "has no meaning for samples" in capsys.readouterr().err


def test_a_missing_extra_is_one_line(finished_run, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "bokeh.server.server", None)
    words = ["sample.py", str(finished_run), "explore", "--no-browser"]
    monkeypatch.setattr("sys.argv", words)
    assert command.main() == 2
    error = capsys.readouterr().err
    assert "pip install 'aaejax[explore]', or pip install bokeh, or write" in error
    assert error.count("\n") == 1


def test_bars_are_standardised_and_beside_them_stands_what_the_table_has(tmp_path):
    rows = np.random.default_rng(0).normal([5.0, 1000.0], [0.1, 300.0], (60, 2))
    table = "small,large\n" + "".join(f"{a},{b}\n" for a, b in rows)
    (tmp_path / "two.csv").write_text(table)
    options = tiny_options("vae", output="linear", reconstruction="squared-error")
    path = str(tmp_path / "two.csv")
    read = {"dataset": path, "standardise": True}
    train_tiny(
        tmp_path / "run",
        load(path, tmp_path, standardise=True),
        model=options,
        devices=1,
        epochs=4,
        save_every=2,
        log_every=2,
        **read,
    )
    view = View(Question(restore(tmp_path / "run")))
    plot, _ = bars(view)
    example = np.array([1.5, -1.0], np.float32)
    found = bars_of(view, example, plot.y_range)
    assert found["name"] == ["1 small", "2 large"]
    assert found["length"] == [1.5, -1.0] and found["end"] == [1.5, 0.0]
    expected = rows[:54].mean(axis=0) + example * rows[:54].std(axis=0)
    values = [float(value) for value in found["value"]]
    np.testing.assert_allclose(values, expected, rtol=0.05)
