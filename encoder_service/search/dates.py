"""Dates as people write them in filters: a day, a month, a year, or a time. Without a time zone they are UTC."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from kosearch.errors import InvalidRequestError

_WHOLE = re.compile(r"(?P<year>\d{4})(-(?P<month>\d{2})(-(?P<day>\d{2}))?)?", re.ASCII)
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?([Zz]|[+-]\d{2}:\d{2})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Period:
    """What a written date means: from `start` to before `end`. A time is an instant: both are the same.

    end: of the year 9999 its last moment: no later one can be written
    """

    start: datetime
    end: datetime

    @property
    def is_instant(self) -> bool:
        """Tell whether it is a time and not a day, month or year."""
        return self.start == self.end


def parse_date(written: str) -> Period:
    """Return what is meant. Raises InvalidRequestError."""
    try:
        if whole := _WHOLE.fullmatch(written):
            return _whole_period(int(whole["year"]), whole["month"], whole["day"])
        if _TIME.fullmatch(written):
            moment = datetime.fromisoformat(written.upper())
            moment = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
            return Period(moment, moment)
    except (ValueError, OverflowError):  # the 30th of February, the 13th month, before the year 1
        pass
    raise InvalidRequestError(
        f"{written[:40]!r} is no date; write 2020-03-01, 2020-03, 2020 or a time such as 2020-03-01T09:00:00+09:00"
    )


def _whole_period(year: int, month: str | None, day: str | None) -> Period:
    start = datetime(year, int(month or 1), int(day or 1), tzinfo=UTC)
    try:
        if day:
            return Period(start, start + timedelta(days=1))
        if month:
            return Period(start, start.replace(year=year + (start.month == 12), month=start.month % 12 + 1))
        return Period(start, start.replace(year=year + 1))
    except (ValueError, OverflowError):
        return Period(start, datetime.max.replace(tzinfo=UTC))
