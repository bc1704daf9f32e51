"""The page of a rehearsal."""

from __future__ import annotations

from html.parser import HTMLParser

from pipeline.rehearsal.comparison import Failure, Rehearsal, Speed, compare
from pipeline.rehearsal.page import render_page

HOSTILE = "<script>alert(1)</script>\x1b[2J\"'&"


class Tags(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        assert not {name for name, _value in attrs} & {"src", "href", "onload", "style"}

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_page_escapes_everything_and_asks_for_nothing() -> None:
    reason = {"source": HOSTILE, "rule": HOSTILE, "points": HOSTILE, "message": HOSTILE}
    before = {"outcome": HOSTILE, "score": HOSTILE, "reasons": [reason, HOSTILE]}
    found = compare(HOSTILE, 1, before, {"outcome": "REVIEW", "reasons": "none"})
    assert found is not None
    rehearsal = Rehearsal(
        1, (found,), (found,), (Failure(HOSTILE, 2, HOSTILE),), {HOSTILE: 1}, ((3, HOSTILE),),
        (Speed(HOSTILE, 1, 2, 3, None),), {HOSTILE: HOSTILE},
    )  # fmt: skip
    page = render_page(HOSTILE, rehearsal, (HOSTILE,))
    seen = Tags(page)
    assert "script" not in seen.tags
    assert "\x1b" not in page
    assert "alert(1)" in seen.text
    assert "default-src 'none'" in page


def test_what_only_one_answer_has_is_marked() -> None:
    shared, new = ({"source": "f", "rule": rule, "message": ""} for rule in ("shared", "new"))
    found = compare(
        "t-1", 1, {"outcome": "APPROVED", "reasons": [shared]}, {"outcome": "REVIEW", "reasons": [shared, new]}
    )
    assert found is not None
    page = render_page("title", Rehearsal(1, (found,)), ())
    assert page.count("<ins>") == 1
    assert "<ins>f/new" in page
