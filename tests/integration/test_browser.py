"""The pages as a person sees them: opened in Chromium, and clicked through."""

import json
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import running

from parse_p2p.lab.analysis.slice_pictures import pictures
from parse_p2p.lab.report.page import page as written
from parse_p2p.lab.report.run_data import RunData
from parse_p2p.launch.run_folder import RunFolder

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
             "--disable-sync", "--no-first-run"]  # fmt: skip
HOSTILE = "</script><script>hacked=1</script><img src=x onerror=hacked=1>"


@contextmanager
def opened(browser, url, **options):
    """A page on which nothing must go wrong, and from which nothing but itself is asked for."""
    page = browser.new_page(viewport={"width": 1280, "height": 900}, **options)
    page.set_default_timeout(running.GUARD * 1000)
    wrong, asked = [], []
    page.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(url)
    yield page, wrong
    assert wrong == []
    assert [address for address in asked if not address.startswith((url, "data:", "blob:"))] == []
    page.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run in which a3 comes late and a note is hostile."""
    path = tmp_path_factory.mktemp("run")
    plan = running.plan(rounds=3, events=[{"round": 1, "agent": "a3", "join": True}])
    running.over_memory(plan, path)
    RunFolder(path).write(plan.run)
    with RunFolder(path).events("a0").open("a") as file:
        for event in (
            {"event": "refused", "round": 1, "peer": HOSTILE, "kind": "malformed", "why": HOSTILE},
            {"event": "lost", "round": 2, "peer": "a1"},
        ):
            file.write(json.dumps({"time": 5e9, **event}) + "\n")
    (path / "pid.json").write_text(
        json.dumps({"pooled": [{"sources": "audio, motion", "redundant": 0.125, HOSTILE: HOSTILE}]})
    )
    return path


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """A run with a coordinator."""
    path = tmp_path_factory.mktemp("other")
    plan = running.plan(rounds=2, method="fedavg")
    running.over_memory(plan, path)
    RunFolder(path).write(plan.run)
    return path


@pytest.fixture(scope="module")
def browser(folder, other):
    """Comes after the runs: while it is open, this thread has an event loop, and no other may be run in it."""
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield opened
        opened.close()


def report(path, *folders):
    runs = []
    for folder in folders:
        runs.append(RunData(folder))
        runs[-1].read()
    path.write_text(written([run.plain() for run in runs]))
    return path.as_uri()


def curves(page, id):
    """The names of the lines of a chart that plotly drew."""
    return page.evaluate(f"document.getElementById('{id}').data.map(trace => trace.name).filter(Boolean)")


def wait(page, condition):
    """For something that is bound to come."""
    late = time.monotonic() + running.GUARD
    while not page.evaluate(condition):
        assert time.monotonic() < late, f"waited for nothing: {condition}"
        page.wait_for_timeout(30)


def slide(page, to):
    page.locator("#round").fill(str(to))


def test_a_report_is_clicked_through(browser, folder, tmp_path):
    with opened(browser, report(tmp_path / "report.html", folder)) as (page, _):
        assert page.locator("#status").inner_text() == "parse on bits · 5 agents (5 done) · 3 of 3 rounds"
        assert page.locator("#types tbody tr").count() == 3
        assert set(curves(page, "accuracy")) >= {"audio", "motion", "audio+motion"}
        page.get_by_role("button", name="by agent").click()
        assert len(curves(page, "accuracy")) == 5
        page.get_by_role("button", name="test", exact=True).click()
        assert page.evaluate("document.getElementById('loss').layout.yaxis.title.text") == "test loss"
        totals = page.evaluate("document.getElementById('bytes').data.map(trace => trace.y.at(-1))")
        page.get_by_role("button", name="in all").click()
        assert sum(page.evaluate("document.getElementById('bytes').data.map(trace => trace.y.at(-1))")) > 2 * sum(
            totals
        )
        page.locator("#consensus-slice").select_option("head.redundant@all")
        assert curves(page, "consensus") == ["before mixing", "after mixing", "theory allows"]
        page.get_by_text("Every slice against theory").click()
        row = page.locator("#contraction tr", has_text="head.redundant@all")
        assert row.locator("td").nth(5).inner_text() == "3 of 3"


def test_whether_agents_pull_a_slice_apart_is_drawn(browser, folder, tmp_path):
    """Of the one agent with several modalities there is no pair."""
    with opened(browser, report(tmp_path / "report.html", folder)) as (page, _):
        page.locator("#conflict-slice").select_option("head.redundant@all")
        assert curves(page, "conflict") == ["one modality – several", "among those with one"]
        assert "±0.18" in page.locator("#conflict-hint").inner_text()
        assert page.locator("#pictures-box").is_hidden(), "of a page that is not saved there are none"


def test_slices_are_drawn_where_there_are_checkpoints(browser, folder, tmp_path):
    runs = []
    for kept in (True, False):
        there = shutil.copytree(folder, tmp_path / str(kept))
        for each in there.glob("agents/*/checkpoints") if not kept else ():
            shutil.rmtree(each)
        run = RunData(there)
        run.read()
        runs.append(run.plain() | {"pictures": pictures(run.folder)})
    runs[0]["pictures"]["classes"][0] = HOSTILE
    (tmp_path / "report.html").write_text(written(runs))
    with opened(browser, (tmp_path / "report.html").as_uri()) as (page, _):
        assert (
            page.locator("#pictures .chart").count() == 7 and HOSTILE in page.locator("#pictures-legend").inner_text()
        )
        names = [each.get_attribute("aria-label") for each in page.locator("#pictures .chart").all()]
        assert names[0].startswith("redundant, audio and motion: a") and "held-out samples by class" in names[0]
        assert page.evaluate("document.getElementById('picture-0').data.length") == 2
        assert page.evaluate("typeof hacked") == "undefined"
        page.get_by_label("show False in detail").check()
        assert page.locator("#pictures .chart").count() == 0
        assert "Not drawn: the folder has no checkpoint" in page.locator("#pictures-hint").inner_text()


def test_where_theory_says_nothing_none_is_drawn(browser, folder, tmp_path):
    run = RunData(folder).run
    there = shutil.copytree(folder, tmp_path / "run")
    RunFolder(there).write(run.model_copy(update={"options": {"mixer": "median"}}))
    with opened(browser, report(tmp_path / "report.html", there)) as (page, _):
        page.locator("#consensus-slice").select_option("head.redundant@all")
        assert curves(page, "consensus") == ["before mixing", "after mixing"]
        page.get_by_text("Every slice against theory").click()
        cells = page.locator("#contraction tr", has_text="head.redundant@all").locator("td").all_inner_texts()
        assert cells[2] == cells[5] == "" and cells[3]
        assert "options.mixer: median" in page.locator("#notes").inner_text()


def test_the_network_of_a_round_is_clicked_through(browser, folder, tmp_path):
    with opened(browser, report(tmp_path / "report.html", folder)) as (page, _):
        assert page.locator("#round-name").inner_text() == "round 2 of 0–2"
        assert page.locator("#network .node.there").count() == 5
        everything = page.locator("#network .wire").count()
        slide(page, 0)
        assert page.locator("#network .node.absent text").all_text_contents() == ["a3"]
        slide(page, 2)
        page.locator("#slice").select_option("head.unique.audio@audio")
        assert 0 < page.locator("#network .wire").count() < everything
        page.locator("#network .node", has_text="a0").click()
        said = page.locator("#crossing").inner_text()
        assert (
            "a0 (audio)" in said
            and "sends to" in said
            and "head.unique.audio@audio" in said
            and "lost its neighbour a1" in said
        )
        assert "trunk.audio@audio" not in said
        page.locator("#agent").select_option("a1")
        assert "a1 (" in page.locator("#crossing h3").inner_text()
        page.locator("#slice").select_option("all")
        page.locator("#network .wire").first.focus()
        page.keyboard.press("Enter")
        assert "what crossed" in page.locator("#crossing").inner_text()
        page.locator("#round").focus()
        page.keyboard.press("ArrowLeft")
        assert page.locator("#round-name").inner_text() == "round 1 of 0–2"
        slide(page, 2)
        page.get_by_role("button", name="play").click()
        wait(page, "document.getElementById('round').value === '0'")
        wait(page, "document.getElementById('round').value === '2'")
        page.get_by_role("button", name="play").wait_for()


def test_what_is_hostile_is_shown_as_it_stands(browser, folder, tmp_path):
    evil = tmp_path / "<b onclick=hacked=1>"
    with opened(browser, report(tmp_path / "report.html", folder, shutil.copytree(folder, evil))) as (page, _):
        page.get_by_role("button", name="by agent").click()
        assert HOSTILE in page.locator("#events").inner_text() and HOSTILE in page.locator("#pid").inner_text()
        assert "0.125" in page.locator("#pid").inner_text()
        assert evil.name in page.locator("#runs").inner_text()
        assert page.evaluate("typeof hacked") == "undefined" and page.locator("img").count() == 0
        assert page.locator("b").count() == 0
        page.locator("#kinds button[value=peers]").click()
        assert "lost its neighbour a1" not in page.locator("#events").inner_text()
        assert "parse-agent --topology" in page.locator("#command").inner_text()
        page.get_by_role("button", name="copy").click()
        page.get_by_text("Resolved configuration").click()
        assert "dataset: bits" in page.locator("#config").inner_text()


def test_several_runs_stand_side_by_side(browser, folder, other, tmp_path):
    with opened(browser, report(tmp_path / "two.html", folder, other), color_scheme="dark") as (page, _):
        assert len([name for name in curves(page, "accuracy") if name.endswith(f"· {other.name}")]) == 4
        assert page.locator("#types th.group").all_inner_texts() == [folder.name, other.name]
        page.get_by_label(f"show {other.name} in detail").check()
        assert page.locator("#round-name").inner_text() == "round 1 of 0–1"
        assert page.locator("#network .wire").count() == 5
        page.get_by_label(f"draw {folder.name} in the curves").uncheck()
        assert set(curves(page, "accuracy")) == {"audio", "motion", "audio+motion", "coordinator"}
        page.set_viewport_size({"width": 400, "height": 800})
        wait(page, "document.documentElement.scrollWidth <= 400")


def test_a_page_follows_a_run_that_goes_on(browser, tmp_path):
    plan, out = running.lengthy(400), tmp_path / "run"  # its end is not awaited
    command = [Path(sys.executable).with_name("parse-lab"), "watch", out]
    with running.started(running.write(plan, tmp_path), out, "--quiet", "--no-alone"):
        running.until(lambda: (out / "run.yaml").exists())
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as watching:
            try:
                url = next(word for word in watching.stdout.readline().split() if word.startswith("http://127.0.0.1:"))
                with opened(browser, url) as (page, wrong):
                    running.until_round(out, "a0", 1)
                    wait(page, "page.runs[0].last >= 1")
                    wait(page, "document.querySelectorAll('#network .wire').length > 0")
                    seen = page.evaluate("page.runs[0].last")
                    wait(page, f"page.runs[0].last > {seen} && page.runs[0].rounds.at(-1) > {seen}")
                    wait(page, f"Number(document.getElementById('round').value) > {seen}")
                    wait(page, f"document.querySelectorAll('#accuracy .points path').length > 3 * ({seen} + 1)")
                    assert (
                        page.locator("#status.live").count() == 1
                        and "5 running" in page.locator("#status").inner_text()
                    )
                    page.get_by_role("button", name="by agent").click()
                    slide(page, 0)
                    wait(page, f"page.runs[0].last > {seen + 1}")
                    assert page.locator("#round-name").inner_text() == "round 0 of 0–399"
                    watching.send_signal(signal.SIGINT)
                    assert watching.wait(running.GUARD) == 0
                    page.locator("#status.lost").wait_for()
                    wrong.clear()  # that nobody answers any more is an error to the browser
            finally:
                watching.kill()
