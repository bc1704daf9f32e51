"""The console of a project without transactions, which was released twice: compare, verify, roll back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.functional.browser import Browser, driven_browser
from tests.functional.conftest import EmbeddedAws
from tests.functional.console.served import serve_console
from tests.functional.projects.project import Project


@pytest.fixture(scope="module")
def project(embedded_aws: EmbeddedAws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    made = Project(tmp_path_factory.mktemp("rolled"), embedded_aws)
    made.run("init")
    made.run("up")
    handler = made.folder / "images" / "hello" / "handler.py"
    handler.write_text(handler.read_text().replace("Hello, ", "Good morning, "))
    made.run("up")
    yield made
    made.run("down", "--yes")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with driven_browser(tmp_path_factory.mktemp("browser")) as started:
        yield started


def test_a_console_that_only_reads_offers_no_rollback(project: Project, browser: Browser) -> None:
    with serve_console(project.variables, project.folder) as served:
        page = served.enter(browser)
        assert "Roll back" not in page.open(served.base + "/releases").text("main")
        assert "--allow-changes" in page.open(served.base + "/releases/rollback?to=1").text("main")


def test_releases_are_compared_and_rolled_back(project: Project, browser: Browser) -> None:
    assert project.invoke("hello", {"name": "Ada"}) == {"greeting": "Good morning, Ada!"}
    with serve_console(project.variables, project.folder, "--allow-changes") as served:
        page = served.enter(browser)
        assert "hello" in page.text("#functions + div")
        assert page.text("nav").split() == ["Functions", "Releases"]
        for path in ("/transaction", "/parked", "/try"):
            assert "Not Found" in page.open(served.base + path).text("main"), path
        page.open(served.base + "/releases?from=1&to=2")
        assert "handler.py" in page.text("pre")
        assert page.text("main").rstrip().endswith("why-changed 1 2")
        page.open(served.base + "/releases")
        page.click("tbody a.button")
        assert "rollback --to 1" in page.text("pre")
        page.click("main button")
        page.wait("document.querySelector('.badge.good')?.innerText === 'done'")
        assert page.open(served.base + "/releases").text("tbody tr th").split() == ["3", "runs"]
        assert project.invoke("hello", {"name": "Ada"}) == {"greeting": "Hello, Ada!"}
        for wrong in ("0", "-1", "x", ""):
            page.open(served.base + f"/releases/rollback?to={wrong}")
            assert "a release has a number" in page.text("main"), wrong
        page.open(served.base + "/releases/rollback?to=99")
        page.click("main button")
        page.wait("document.querySelector('.badge.bad')?.innerText === 'failed'")
        assert "99" in page.text("main")
