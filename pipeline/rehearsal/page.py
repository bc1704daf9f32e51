"""The differences of a rehearsal as one web page, without scripts and without anything from elsewhere.

Ids, rules and messages come from what was submitted and from the functions, so all of it is escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import Any

from pipeline.core.shown import shown
from pipeline.rehearsal.comparison import Difference, Rehearsal, by_rules, grouped

_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem;
  color-scheme: light dark }}
table {{ border-collapse: collapse; width: 100%; margin-bottom: 1.5rem }}
th, td {{ text-align: left; vertical-align: top; padding: .3rem .6rem; border-bottom: 1px solid #8886 }}
td {{ overflow-wrap: anywhere }}
ul {{ margin: 0; padding-left: 1.1rem }}
.refused {{ color: #b00020; font-weight: 600 }}
ins {{ text-decoration: none; font-weight: 600 }}
</style>
</head>
<body>
"""


def render_page(title: str, rehearsal: Rehearsal, refusals: Sequence[str]) -> str:
    """The page. title: what was rehearsed, where."""
    return "".join(_parts(title, rehearsal, refusals))


def _parts(title: str, rehearsal: Rehearsal, refusals: Sequence[str]) -> Iterator[str]:
    yield _HEAD.format(title=_text(title))
    yield f"<h1>{_text(title)}</h1>\n<p>{_text(rehearsal.summary)}</p>\n"
    for refusal in refusals:
        yield f'<p class="refused">Refused: {_text(refusal)}</p>\n'
    yield _table(
        "Images", ("function", "digest"), ((name, digest) for name, digest in sorted(rehearsal.images.items()))
    )
    yield _table(
        "Milliseconds",
        ("function", "p50", "p99", "p50 of the running image", "p99 of the running image"),
        (
            (each.function, each.p50, each.p99, *(_number(value) for value in (each.running_p50, each.running_p99)))
            for each in rehearsal.speeds
        ),
    )
    for kind, differences in grouped(rehearsal.differences):
        changed = differences[0].outcome_changed
        name = kind if changed else f"{kind} with another score or other reasons"
        yield _differences(f"{len(differences):,} {name}{by_rules(differences)}", differences)
    if rehearsal.uncertain:
        yield _differences("Uncertain: decided at the same moment as others of the customer", rehearsal.uncertain)
    yield _table(
        "Errors",
        ("transaction", "line", "error"),
        ((each.transaction_id, each.line, each.why) for each in rehearsal.failures),
    )
    yield _table("Not compared", ("reason", "lines"), sorted(rehearsal.skipped.items()))
    yield _table("Malformed lines", ("line", "why"), rehearsal.malformed)
    yield "</body>\n</html>\n"


def _differences(title: str, differences: Sequence[Difference]) -> str:
    rows = "".join(
        f"<tr><td>{_text(each.transaction_id)}</td><td>{each.line}</td>"
        f"<td>{_answer(each.before, each.after)}</td><td>{_answer(each.after, each.before)}</td></tr>\n"
        for each in differences
    )
    head = "<tr><th>transaction</th><th>line</th><th>recorded</th><th>rehearsed</th></tr>"
    return f"<h2>{_text(title)}</h2>\n<table>\n<thead>{head}</thead>\n<tbody>\n{rows}</tbody>\n</table>\n"


def _answer(own: Any, other: Any) -> str:
    """An answer, with what the other one does not have marked."""
    score = f", score {_text(own['score'])}" if own.get("score") is not None else ""
    known = other.get("reasons") if isinstance(other.get("reasons"), list) else []
    reasons = own.get("reasons") if isinstance(own.get("reasons"), list) else []
    items = "".join(
        f"<li>{_reason(each)}</li>" if each in known else f"<li><ins>{_reason(each)}</ins></li>" for each in reasons
    )
    return f"{_text(own.get('outcome'))}{score}" + (f"<ul>{items}</ul>" if items else "")


def _reason(reason: Any) -> str:
    if not isinstance(reason, dict):
        return _text(reason)
    weight = reason.get("points", reason.get("action"))
    of = f" ({_text(weight)})" if weight is not None else ""
    return f"{_text(reason.get('source'))}/{_text(reason.get('rule'))}{of}: {_text(reason.get('message'))}"


def _table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; "" without rows."""
    body = "".join(f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in row)}</tr>\n" for row in rows)
    if not body:
        return ""
    head = "".join(f"<th>{_text(column)}</th>" for column in columns)
    return f"<h2>{_text(title)}</h2>\n<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>\n"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def _text(value: object) -> str:
    return escape(shown(str(value)))
