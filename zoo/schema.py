"""Check the content of a file against a schema. Errors name the first wrong entry and what is legal there."""

import re
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Union

from zoo.errors import ZooError, nearest

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError

Location = tuple[str | int, ...]  # path of an entry: names in mappings, positions in lists, "<names>" of alternatives

_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
# how pydantic and `one_of` name one of several types
_ALTERNATIVE = re.compile(r"<.*>|[\w-]+\[.*\]|(constrained-)?(int|float|str)|bool|none")
_NAMES = {"string": "str", "model": "dict", "dataclass": "dict"}


def validate(
    schema: "TypeAdapter[Any]",
    value: Any,
    where: str,
    *,
    noun: str = "entry",
    known: Callable[[Location], Iterable[str]] | None = None,
) -> Any:
    """Validate plain data against a schema, and return the value that the schema makes of it.

    Args:
        schema: the schema of the whole value.
        value: JSON as text or bytes, or data that were read from a file of another format.
        where: the name of the file, for error messages.
        noun: the word for an entry of such a file.
        known: a function from the location of an unknown name to the names that are legal there.

    Raises:
        ZooError: if the value does not fit the schema; the message names the first entry that does not.

    >>> from pydantic import ConfigDict, TypeAdapter
    >>> schema = TypeAdapter(dict[str, list[int]], config=ConfigDict(strict=True))
    >>> validate(schema, '{"ranks": [1, "many"]}', "here")
    Traceback (most recent call last):
    zoo.errors.ZooError: here: ranks[1] = 'many' must be int
    """
    from pydantic import ValidationError

    try:
        return schema.validate_json(value) if isinstance(value, str | bytes) else schema.validate_python(value)
    except ValidationError as error:
        raise ZooError(f"{where}: {_describe(error, noun, known)}") from None


def one_of(entry: str, classes: Mapping[str, type], key: Callable[[str], str] = str) -> Any:
    """The type of an entry that may be any of several classes. Its sub-entry called `entry` says which.

    Args:
        entry: the name of the sub-entry that decides.
        classes: the classes, by the value of that sub-entry, after `key` is applied.
        key: a function of the sub-entry's value.
    """
    from pydantic import Discriminator, Tag

    def choose(value: Any) -> str | None:
        return f"<{key(str(value[entry]))}>" if isinstance(value, dict) and entry in value else None

    choose.__name__ = entry  # pydantic's errors show this name
    tagged: Any = tuple(Annotated[one, Tag(f"<{name}>")] for name, one in classes.items())
    return Annotated[Union[tagged], Discriminator(choose)]  # noqa: UP007 - of a tuple


def shortened(value: Any) -> str:
    """A value as text for an error message, cut if it is long."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = 120
    short.maxlist = short.maxtuple = short.maxdict = 20
    try:
        return " ".join(short.repr(value).split())  # tensors are printed on several lines
    except ValueError:  # Python refuses to print integers of more than 4,300 digits
        return "a number with thousands of digits"


def _describe(error: "ValidationError", noun: str, known: Callable[[Location], Iterable[str]] | None) -> str:
    """One sentence about the first error."""
    errors = error.errors(include_url=False)
    first = errors[0]
    kind, location, value, context = first["type"], first["loc"], first["input"], first.get("ctx", {})
    *parents, name = location or ("",)
    inside = entry_name(parents) + ": " if parents else ""
    if kind == "json_invalid":
        return f"it is damaged ({first['msg'].removeprefix('Invalid JSON: ')})"
    if kind == "value_error":
        return f"{entry_name(location)}: {context['error']}".removeprefix(": ")
    if kind == "missing":
        return f"{inside}the {noun} {name!r} is missing"
    if kind == "union_tag_not_found" and isinstance(value, dict):
        return f"{entry_name(location)}: the {noun} {context['discriminator'].removesuffix('()')!r} is missing"
    if kind == "union_tag_invalid":
        entry, choices = context["discriminator"].removesuffix("()"), re.findall("<(.+?)>", context["expected_tags"])
        choice = context["tag"].strip("<>")
        return f"{entry_name(location)}.{entry} = {shortened(choice)} is unknown; {nearest(choice, choices)}"
    if kind == "union_tag_not_found" or not location:
        return f"{entry_name(location)}: {noun}s are needed, got {shortened(value)}".removeprefix(": ")
    if kind in _UNKNOWN:
        remedy = nearest(str(name), known(location)) if known else "remove it"
        return f"{inside}no {noun} {name!r}; {remedy}"
    # an entry that may have any of several types has several errors
    same = [each for each in errors if entry_name(each["loc"]) == entry_name(location)]
    legal = dict.fromkeys(_legal(each["type"], each["msg"], each.get("ctx", {})) for each in same)
    return f"{entry_name(location)} = {shortened(value)} {' or '.join(legal)}"


def _legal(kind: str, message: str, context: dict[str, Any]) -> str:
    """The part of a message that says what is legal."""
    if kind == "literal_error":
        return f"must be one of {context['expected'].replace(' or ', ', ')}"
    if kind.endswith("_type"):
        name = kind.removesuffix("_type")
        return f"must be {_NAMES.get(name, name)}"
    return message.replace("Input should be", "must be")


def entry_name(location: Sequence[str | int]) -> str:
    """The path of an entry in Python's notation.

    >>> entry_name(("training", "steps")), entry_name(("hidden", 0))
    ('training.steps', 'hidden[0]')
    """
    name = ""
    for part in location:
        if isinstance(part, str) and _ALTERNATIVE.fullmatch(part):
            continue
        name += f"[{part}]" if isinstance(part, int) else f".{part}" if name else part
    return name
