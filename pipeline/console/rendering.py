"""Pages as HTML: Jinja templates with everything escaped, and the words and numbers that they share.

Pages(frame).page("parked.html", …)   a whole page
Pages(frame).part("_flow.html", …)    a part that the page's script replaces
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pipeline.transactions.any_drawing import draw_any
from pipeline.transactions.drawing import draw

HERE = Path(__file__).resolve().parent
# The views, in the order of the navigation: path and name. A project without transactions has fewer.
VIEWS = (
    ("/", "Pipeline"), ("/transaction", "Transaction"), ("/parked", "Parked"), ("/releases", "Releases"),
    ("/try", "Try it"),
)  # fmt: skip
VIEWS_OF_FUNCTIONS = (("/", "Functions"), ("/releases", "Releases"))
_GOOD, _BAD = {"APPROVED", "answered", "ok", "done"}, {"DECLINED", "REJECTED", "CONFLICT", "error", "failed", "refused"}


@dataclass(frozen=True, slots=True)
class Frame:
    """What every page says of the console itself. transactions: whether the project has the transaction pipeline."""

    environment: str
    target: str
    read_only: bool
    transactions: bool = True

    @property
    def views(self) -> tuple[tuple[str, str], ...]:
        return VIEWS if self.transactions else VIEWS_OF_FUNCTIONS


class Pages:
    """The templates of this folder. Safe to use from several threads."""

    def __init__(self, frame: Frame) -> None:
        self._jinja = Environment(
            loader=FileSystemLoader(HERE / "pages"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
            lstrip_blocks=True, auto_reload=False,
        )  # fmt: skip
        self._jinja.globals.update(frame=frame, picture=picture, picture_of_own=picture_of_own)
        self._jinja.filters.update(ms=milliseconds, clock=clock, tone=tone, pretty=pretty, digest=short_digest)

    def page(self, template: str, *, path: str, **values: Any) -> str:
        """path: of the view that is open."""
        return self._jinja.get_template(template).render(path=path, **values)

    def part(self, template: str, **values: Any) -> str:
        return self._jinja.get_template(template).render(**values)


def picture(definition: Mapping[str, Any], way: Any = (), title: str = "", notes: Any = None) -> Markup:
    """The state machine as SVG within a page; ``draw`` escapes what it is given."""
    return Markup(draw(definition, tuple(way), title, notes=notes, styled=False))  # noqa: S704


def picture_of_own(definition: Mapping[str, Any]) -> Markup:
    """A project's own state machine as SVG within a page; ``draw_any`` escapes what it is given."""
    return Markup(draw_any(definition, styled=False))  # noqa: S704


def milliseconds(value: float | None) -> str:
    """
    >>> milliseconds(12.34), milliseconds(2500.0), milliseconds(None)
    ('12 ms', '2.5 s', '–')
    """
    if value is None:
        return "–"
    return f"{value:.0f} ms" if value < 1000 else f"{value / 1000:.1f} s"


def clock(value: datetime | str) -> str:
    """A time of day of this machine's zone, with the date unless it is today; other text as it is."""
    try:
        moment = (value if isinstance(value, datetime) else datetime.fromisoformat(value)).astimezone()
    except ValueError:
        return str(value)
    today = datetime.now(UTC).astimezone().date()
    return f"{moment:%H:%M:%S}" if moment.date() == today else f"{moment:%Y-%m-%d %H:%M}"


def tone(word: object) -> str:
    """The class of a badge: an outcome or a state that is good, bad, or to be looked at."""
    return "good" if word in _GOOD else "bad" if word in _BAD else "warn"


def pretty(value: object) -> str:
    """JSON, indented; text that is JSON too, other text as it is."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return str(value)
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def short_digest(value: object) -> str:
    """``sha256:`` and twelve characters, without the prefix."""
    return str(value).removeprefix("sha256:")[:12]
