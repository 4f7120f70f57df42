"""The report tells what the database holds; a browser draws it without a network."""

import csv
import re
import shutil
from typing import cast

import numpy as np
import pytest
from ase import Atoms
from ase.io import read

from equicalc.data.smiles import atoms_from_smiles
from equicalc.design import Record, RunDatabase
from equicalc.design.report import write_report
from equicalc.design.report.plots import pareto_front
from equicalc.design.report.summary import summarise

STEPS = [
    {"valid": {}},
    {"top": {"n": 2}},
    {"pack": {}},
    {"score": {"goals": {"density": {"weight": 1.0, "target": None}}}},
]


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """Three molecules of which one is packed into two crystals."""
    database = RunDatabase(tmp_path_factory.mktemp("run") / "run.db")
    database.settings = {"design": {"steps": STEPS, "seed": 0}}
    urea, ethanol, argon = (atoms_from_smiles(s) for s in ("NC(=O)N", "CCO", "[Ar]"))
    first = Record("000-000000", urea, 0, 0, status="expanded", step="pack")
    records = [
        first,
        Record("000-000001", ethanol, 0, 0).rejected("top", "not among the best 2"),
        Record("000-000002", argon, 0, 0).rejected("valid", "no radius <script>"),
    ]
    for k in range(4):
        atoms = urea.copy()
        atoms.set_cell([6 + k, 6, 6])
        atoms.pbc = True
        atoms.info |= {
            "score": 1.5 - k,
            "density": 1.5 - k / 10,
            "lattice_energy": -50.0 - 7 * (k % 2),
            "sa_score": 3.0 - k,
            "spacegroup": 1,
            "embedding": np.array([k, k**2, 1.0]),
        }
        key = f"000-000000.g1-{k}"
        records.append(Record(key, atoms, 0, 0, ("000-000000",), 2, 3, step="score"))
    database.write(records)
    return database


@pytest.fixture(scope="module")
def page(database, tmp_path_factory):
    return write_report(database, tmp_path_factory.mktemp("report"), n_best=3)


def test_a_folder_may_be_a_text(database, tmp_path):
    page = write_report(database, f"{tmp_path}/report", n_best=1)
    assert page == tmp_path / "report" / "index.html"


def test_the_funnel_adds_up(database):
    funnel = summarise(database, 3).funnel
    found = [(one.name, one.passed, one.rejected) for one in funnel]
    assert found == [
        ("propose", 3, 0),
        ("valid", 2, 1),
        ("top", 1, 1),
        ("pack", 4, 0),
        ("score", 4, 0),
    ]
    assert funnel[2].reasons == (("not among the best", 1),)


def test_the_table_has_every_structure(page, database):
    with (page.parent / "structures.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["key"] for row in rows} == database.keys()
    [argon] = [row for row in rows if row["formula"] == "Ar"]
    assert argon["reason"] == "no radius <script>"


def test_the_page_needs_nothing_else(page):
    text = page.read_text()
    sources = re.findall(r'(?:src|href)="([^"]{0,40})', text)
    assert all(
        s.startswith(("data:", "structures/", "structures.csv")) for s in sources
    )
    links = [s for s in sources if s.startswith("structures/")]
    assert len(links) == 3
    assert all((page.parent / link).is_file() for link in links)
    assert "$" not in text.split("<script>")[0]
    assert "no radius <script>" not in text


def test_crystals_are_written_whole(page):
    atoms = cast("Atoms", read(page.parent / "structures" / "000-000000.g1-0.cif"))
    assert len(atoms) == 8
    assert atoms.pbc.all()


def test_all_plots_are_written(page):
    names = {path.stem for path in page.parent.glob("*.png")}
    assert names == {
        "distributions-of-properties",
        "pareto-front",
        "map-of-embeddings",
        "lattice-energy-against-density",
    }


def test_a_run_without_results_has_a_report(tmp_path):
    database = RunDatabase(tmp_path / "run.db")
    database.settings = {"design": {"steps": STEPS, "seed": 0}}
    assert write_report(database, tmp_path / "report").is_file()


def test_other_databases_are_refused(tmp_path):
    with pytest.raises(ValueError, match="not the database of a design"):
        write_report(RunDatabase(tmp_path / "other.db"), tmp_path)


def test_the_front_is_that_of_brute_force():
    points = np.random.default_rng(0).integers(0, 20, (100, 2)).astype(float)
    beaten = [
        any((q >= p).all() and (q > p).any() for q in points) or p.tolist() in before
        for k, p in enumerate(points)
        for before in [points[:k].tolist()]
    ]
    assert set(pareto_front(points)) == set(np.flatnonzero(~np.array(beaten)))
    assert len(pareto_front(np.zeros((0, 2)))) == 0


@pytest.fixture
def browser(tmp_path):
    """A browser without a window."""
    webdriver = pytest.importorskip("selenium.webdriver")
    paths = shutil.which("chromium"), shutil.which("chromedriver")
    if None in paths:
        pytest.skip("chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = paths[0]
    for flag in (
        *("headless", "no-sandbox", "disable-gpu", "no-first-run"),
        *("disable-background-networking", "disable-component-update", "disable-sync"),
        *(f"user-data-dir={tmp_path}", "window-size=1200,1600"),
    ):
        options.add_argument(f"--{flag}")
    service = webdriver.ChromeService(executable_path=paths[1])
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()


PIXELS = """
const canvas = arguments[0];
return Array.from(canvas.getContext('2d')
  .getImageData(0, 0, canvas.width, canvas.height).data);
"""


@pytest.mark.browser
def test_a_browser_draws_models_that_turn(browser, page):
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.by import By

    browser.get(page.as_uri())
    canvases = browser.find_elements(By.CSS_SELECTOR, "canvas[data-key]")
    assert len(canvases) == 3
    for canvas in canvases:
        pixels = np.array(browser.execute_script(PIXELS, canvas)).reshape(-1, 4)
        drawn = pixels[pixels[:, 3] > 0]
        assert 0.01 < len(drawn) / len(pixels) < 0.9
        assert len(np.unique(drawn, axis=0)) > 100  # shaded
    before = browser.execute_script(PIXELS, canvases[0])
    drag = ActionChains(browser).click_and_hold(canvases[0])
    drag.move_by_offset(60, 20).release().perform()
    after = browser.execute_script(PIXELS, canvases[0])
    assert np.mean(np.array(before) != np.array(after)) > 0.01


@pytest.mark.browser
def test_a_browser_shows_pictures_and_sorts_tables(browser, page):
    from selenium.webdriver.common.by import By

    browser.get(page.as_uri())
    images = browser.find_elements(By.TAG_NAME, "img")
    assert len(images) == 4
    assert all(image.get_property("naturalWidth") > 100 for image in images)
    drawings = browser.find_elements(By.CSS_SELECTOR, ".card svg path")
    assert len(drawings) > 3
    headers = browser.find_elements(By.CSS_SELECTOR, "table.sortable th")
    column = [header.text for header in headers].index("density")

    def shown():
        rows = browser.find_elements(By.CSS_SELECTOR, "table.sortable tbody tr")
        return [row.find_elements(By.TAG_NAME, "td")[column].text for row in rows]

    for order in (False, True):
        headers[column].click()
        assert shown() == sorted(shown(), key=float, reverse=order)
    assert browser.get_log("browser") == []
