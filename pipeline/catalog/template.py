"""File name templates: ``LC8{path:3}{row:3}{date:%Y%j}LGN00_{asset}.tif`` and what a name tells by it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from pipeline.errors import ConfigurationError

_FIELD = re.compile(r"\{([^{}]*)\}")
_DIRECTIVES = {
    "%Y": r"\d{4}",
    "%y": r"\d{2}",
    "%m": r"\d{2}",
    "%d": r"\d{2}",
    "%j": r"\d{3}",
    "%b": r"[A-Za-z]{3}",
    "%H": r"\d{2}",
    "%M": r"\d{2}",
    "%S": r"\d{2}",
}


@dataclass(frozen=True)
class Name:
    """What a file name tells.

    Parameters
    ----------
    id : str
        The name without extension and asset: equal for the files of one item.
    asset : str or None
        Key of the asset.
    instant : datetime or None
        From the fields with a date format; naive, in UTC.
    has_time : bool
        The format told the hour.
    """

    id: str
    asset: str | None
    instant: datetime | None
    has_time: bool


class Template:
    """A pattern of file names, relative to a folder.

    Parameters
    ----------
    text : str
        Literal text with fields in braces: ``{asset}`` is the key of the asset; ``{name:%Y%j}`` a date or a part of it, in
        strptime's directives; ``{name:3}`` three characters; ``{name}`` any characters; ``{*}`` any characters that do
        not tell items apart. A ``/`` separates folders; no field reaches over one.

    Raises
    ------
    ConfigurationError
        If a field is not one of these.

    Examples
    --------
    >>> Template("LC8{path:3}{row:3}{date:%Y%j}LGN00_{asset}.tif").match("LC81250382015104LGN00_ndvi.tif")
    Name(id='LC81250382015104LGN00', asset='ndvi', instant=datetime.datetime(2015, 4, 14, 0, 0), has_time=False)
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._formats: list[str] = []
        pattern, position, names = "", 0, set[str]()
        for index, field in enumerate(_FIELD.finditer(text)):
            name, _, form = field.group(1).partition(":")
            if name in names:
                raise ConfigurationError(f"template {text!r} has the field {name!r} twice", "give each field its own name, or {*}")
            pattern += re.escape(text[position : field.start()]) + self._group(index, name, form)
            position = field.end()
            names |= {name} - {"*"}
        self._pattern = re.compile(pattern + re.escape(text[position:]))

    def _group(self, index: int, name: str, form: str) -> str:
        if name == "*":
            return f"(?P<ignored{index}>[^/]*?)"
        if name == "asset":
            return "(?P<asset>[A-Za-z0-9][A-Za-z0-9_-]*?)" if not form else self._wrong(name, form)
        if not re.fullmatch(r"[A-Za-z_]\w*", name):
            return self._wrong(name, form)
        if form.isdigit():
            return f"[^/]{{{form}}}"
        if not form:
            return "[^/]+?"
        self._formats.append(form)
        literals = re.split(r"(%[A-Za-z])", form)
        if any(part.startswith("%") and part not in _DIRECTIVES for part in literals):
            return self._wrong(name, form)
        expression = "".join(_DIRECTIVES.get(part, re.escape(part)) for part in literals)
        return f"(?P<date{len(self._formats)}>{expression})"

    def _wrong(self, name: str, form: str) -> str:
        field = name + (f":{form}" if form else "")
        raise ConfigurationError(
            f"template {self.text!r}: field {{{field}}} is not understood",
            f"expected {{asset}}, {{name}}, {{name:3}}, {{*}} or a date such as {{date:%Y%j}} with {' '.join(_DIRECTIVES)}",
        )

    def match(self, path: str) -> Name | None:
        """What a path (relative, with ``/``) tells; None when it is not of this form or its date is none."""
        match = self._pattern.fullmatch(path)
        if match is None:
            return None
        groups = match.groupdict()
        instant = None
        if self._formats:
            text = " ".join(groups[f"date{number}"] for number in range(1, len(self._formats) + 1))
            try:
                instant = datetime.strptime(text, " ".join(self._formats))
            except ValueError:
                return None
        cut = sorted((match.span(key) for key in groups if key == "asset" or key.startswith("ignored")), reverse=True)
        stem = path
        for start, end in cut:
            stem = stem[:start] + stem[end:]
        stem = re.sub(r"\.[A-Za-z]{2,5}$", "", stem)
        return Name(
            id=_safe(stem.replace("/", "_")),
            asset=groups.get("asset"),
            instant=instant,
            has_time=any("%H" in form for form in self._formats),
        )


def _safe(text: str) -> str:
    """`text` as an item id: runs of separators become their first one, other characters a dash."""
    return re.sub(r"([._-])[._-]+", r"\1", re.sub(r"[^A-Za-z0-9._-]+", "-", text)).strip("._-")
