"""Dates and times that there are, of which llguidance's formats let more pass."""

from __future__ import annotations

from typing import Any

from .schema_keywords import all_schemas

#: The Gregorian calendar has no year 0.
_YEAR = "^(000[1-9]|00[1-9][0-9]|0[1-9][0-9]{2}|[1-9][0-9]{3})-"
_LEAP_YEAR = "([0-9]{2}(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)"
_DAY = f"^([0-9]{{4}}-(0[13-9]|1[0-2]|02-[01]|02-2[0-8])|{_LEAP_YEAR}-02-29)"
#: RFC 3339 has a second 60 in the minutes of leap seconds alone, and most who read times in none.
_SECOND = "^([^:]*:){2}[0-5]"
_PATTERNS = {
    "date": (_YEAR, _DAY),
    "date-time": (_YEAR, _DAY, _SECOND),
    "time": (_SECOND,),
}


def keep_to_calendar(schema: Any) -> None:
    """Change a schema so that its dates and times are such."""
    for _, found in list(all_schemas("$", schema)):
        kind = found.get("format")
        if isinstance(kind, str) and kind in _PATTERNS:
            patterns = [{"pattern": pattern} for pattern in _PATTERNS[kind]]
            found["allOf"] = [*found.get("allOf", ()), *patterns]
