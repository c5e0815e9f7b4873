"""The charts of the console's first page, as data: what `static/js/home.js` draws, and the same as tables. Pure."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from tenants import dashboard_words as words
from tenants.dashboard import Dashboard, Figures, Timings
from tenants.dashboard_question import GROUPS, View
from tenants.latency import PERCENTILES

type Unit = Literal["count", "money", "time"]

OTHERS = "Others"


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One line, or one colour of bars; None: nothing there."""

    label: str
    colour: str  # of a variable in home.css
    values: list[float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One chart."""

    name: str
    title: str
    note: str = ""
    kind: Literal["bar", "line"] = "bar"
    unit: Unit = "count"
    currency: str = ""
    labels: list[str]
    titles: list[str]  # the same in full
    series: list[Series] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not any(value for each in self.series for value in each.values)

    @property
    def data_id(self) -> str:
        """Where the page has its data."""
        return f"chart-{self.name}-data"

    @property
    def data(self) -> dict[str, Any]:
        """For the script."""
        return {
            "kind": self.kind,
            "unit": self.unit,
            "currency": self.currency,
            "labels": self.labels,
            "titles": self.titles,
            "series": [{"label": each.label, "colour": each.colour, "values": each.values} for each in self.series],
        }

    @property
    def headings(self) -> list[str]:
        """Of the table."""
        return ["Time (UTC)", *(each.label for each in self.series)]

    @property
    def rows(self) -> list[list[str]]:
        """Of the table, the newest first."""
        columns = zip(*(each.values for each in self.series), strict=True)
        found = [[title, *map(self._written, values)] for title, values in zip(self.titles, columns, strict=True)]
        return found[::-1]

    def _written(self, value: float | None) -> str:
        if value is None:
            return words.NOTHING
        match self.unit:
            case "money":
                return words.amount(Decimal(str(value)))
            case "time":
                return words.duration(value)
        return f"{value:,.0f}"


def charts(view: View, board: Dashboard) -> list[Chart]:
    """Return the page's charts in order."""
    moments = view.span.moments
    times: dict[str, Any] = {
        "labels": [_label(view, each) for each in moments],
        "titles": [_title(view, each) for each in moments],
    }
    return [
        Chart(name="requests", title="Requests and errors", series=_requests(board, moments), **times),
        _spend(view, board, moments, times),
        _timed("latency", "Latency", "to the last byte", board, moments, times, lambda found: found.latency),
        _timed("first-token", "Time to first token", "", board, moments, times, lambda found: found.first_token),
        Chart(name="tokens", title="Tokens", series=_tokens(board, moments), **times),
    ]


def _label(view: View, moment: datetime) -> str:
    return f"{moment:%H:%M}" if view.span.step == "hour" else words.day(moment)


def _title(view: View, moment: datetime) -> str:
    if view.span.step == "hour":
        return f"{moment:%a} {words.day(moment)}, {moment:%H}:00-{moment:%H}:59"
    return f"{moment:%a} {words.day(moment)}"


def _requests(board: Dashboard, moments: Iterable[datetime]) -> list[Series]:
    figures = [board.series.get(moment, Figures()) for moment in moments]
    return [
        Series(label="Answered", colour="c1", values=[each.requests - each.errors for each in figures]),
        Series(label="Errors", colour="bad", values=[each.errors for each in figures]),
    ]


def _tokens(board: Dashboard, moments: Iterable[datetime]) -> list[Series]:
    figures = [board.series.get(moment, Figures()) for moment in moments]
    return [
        Series(label="In", colour="c1", values=[each.input_tokens + each.cache_write_tokens for each in figures]),
        Series(label="Cached", colour="c3", values=[each.cache_read_tokens for each in figures]),
        Series(label="Out", colour="c2", values=[each.output_tokens for each in figures]),
    ]


def _spend(view: View, board: Dashboard, moments: list[datetime], times: Any) -> Chart:
    currency = board.currency
    all_of_it = [_cost(board.series.get(moment), currency) for moment in moments]
    series, rest = [], list(all_of_it)
    for number, group in enumerate(board.groups.get(view.group_by, [])):
        values = [_cost(board.parts.get(moment, {}).get(group.key), currency) for moment in moments]
        rest = [left - value for left, value in zip(rest, values, strict=True)]
        series.append(_series(group.name or "none", f"c{number + 1}", values))
    others = [max(value, Decimal(0)) for value in rest]
    if any(others):
        only: str = getattr(view, view.group_by)  # where all of it is of one, no table of them was made
        series.append(_series(only, "c1", others) if only else _series(OTHERS, "others", others))
    return Chart(
        name="spend",
        title="Spend",
        note=f"{currency}, by {GROUPS[view.group_by].lower()}",
        unit="money",
        currency=currency,
        series=[each for each in series if any(each.values)],
        **times,
    )


def _cost(figures: Figures | None, currency: str) -> Decimal:
    return Decimal(0) if figures is None else figures.cost.get(currency, Decimal(0))


def _series(label: str, colour: str, values: Iterable[Decimal]) -> Series:
    # For drawing alone: what is billed is never a float.
    return Series(label=label, colour=colour, values=[float(value) for value in values])


def _timed(
    name: str,
    title: str,
    note: str,
    board: Dashboard,
    moments: Iterable[datetime],
    times: Any,
    of: Callable[[Timings], dict[int, float | None]],
) -> Chart:
    found = [board.timed_series.get(moment) for moment in moments]
    series = [
        Series(
            label=f"p{per_cent}",
            colour=colour,
            values=[
                None if each is None or (value := of(each)[per_cent]) is None else round(value, 1) for each in found
            ],
        )
        for per_cent, colour in zip(PERCENTILES, ("c1", "c2", "c4"), strict=True)
    ]
    return Chart(name=name, title=title, note=note, kind="line", unit="time", series=series, **times)
