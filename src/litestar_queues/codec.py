"""Users' values to JSON text and back, by msgspec.

What is written comes back as it was, given the annotations of the task's function; what would not is refused here, before
anything is stored: values that JSON has no form for (NaN and the infinities), integers beyond 64 bits, and the NUL
character, which PostgreSQL's JSONB cannot hold.
"""

from __future__ import annotations

import functools
import inspect
import math
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Never, NoReturn, get_type_hints

import msgspec

from litestar_queues.errors import EncodingError, QueueConfigurationError, TaskArgumentError

__all__ = ("Signature", "decode", "decoder", "encode")

_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
_SUSPECT = re.compile(r"null|[0-9]{19}")
"""What NaN looks like once msgspec wrote it, and what an integer beyond 64 bits cannot avoid."""
_INT_MIN, _INT_MAX = -(2**63), 2**64 - 1


def _enc_hook(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)  # Pydantic's models, without importing Pydantic
    if callable(dump):
        return dump(mode="json")
    raise TypeError(f"values of the type {type(value).__qualname__!r} have no JSON form")


def _dec_hook(wanted: type[Any], value: Any) -> Any:
    validate = getattr(wanted, "model_validate", None)
    if callable(validate):
        return validate(value)
    if isinstance(value, wanted):
        return value
    raise TypeError(f"values of the type {getattr(wanted, '__qualname__', wanted)!r} cannot be made from JSON")


_ENCODER = msgspec.json.Encoder(enc_hook=_enc_hook)
_CANONICAL = msgspec.json.Encoder(enc_hook=_enc_hook, order="deterministic")


def encode(value: Any, what: str) -> str:
    """The value as JSON text.

    Raises:
        EncodingError: The value has no JSON form that would come back as it was; the text begins with `what`.
    """
    try:
        text = _ENCODER.encode(value).decode()
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        raise EncodingError(f"{what} cannot be written as JSON: {error}") from error
    if _SUSPECT.search(text):
        _check_numbers(value, what)
    if "\\u0000" in text and _NUL.search(text):
        raise EncodingError(f"{what} holds the NUL character, which not every database can store: remove it")
    return text


def _check_numbers(value: Any, what: str) -> None:
    todo: list[Any] = [msgspec.to_builtins(value, enc_hook=_enc_hook, str_keys=True)]
    while todo:
        one = todo.pop()
        if isinstance(one, float) and not math.isfinite(one):
            raise EncodingError(f"{what} holds NaN or an infinity, which JSON cannot write: use None or a string")
        if isinstance(one, int) and not _INT_MIN <= one <= _INT_MAX:
            raise EncodingError(f"{what} holds an integer beyond 64 bits, which not every database keeps: use a string")
        if isinstance(one, dict):
            todo.extend(one.values())  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]  # plain JSON
        elif isinstance(one, (list, tuple)):
            todo.extend(one)  # pyright: ignore[reportUnknownArgumentType]  # plain JSON


def decoder(annotation: Any) -> msgspec.json.Decoder[Any]:
    """What reads JSON text as a value of the annotated type.

    Raises:
        TypeError: msgspec cannot read such a type.
    """
    return msgspec.json.Decoder(annotation, dec_hook=_dec_hook)


_ANY = decoder(Any)
_ARGS = msgspec.json.Decoder(list[msgspec.Raw])
_KWARGS = msgspec.json.Decoder(dict[str, msgspec.Raw])


def decode(text: str) -> Any:
    """The plain value (dict, list, str, int, float, bool, None) of JSON text."""
    return _ANY.decode(text)


@dataclass(frozen=True, slots=True)
class Signature:
    """How a function's arguments and result are written and read."""

    name: str
    signature: inspect.Signature
    parameters: Mapping[str, msgspec.json.Decoder[Any]]
    result: msgspec.json.Decoder[Any]
    _by_position: tuple[str, ...] = field(init=False, repr=False)
    _by_name: frozenset[str] = field(init=False, repr=False)
    _needed: frozenset[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        single = [
            one for one in self.signature.parameters.values() if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
        ]
        names = {
            "_by_position": tuple(one.name for one in single if one.kind is not one.KEYWORD_ONLY),
            "_by_name": frozenset(one.name for one in single if one.kind is not one.POSITIONAL_ONLY),
            "_needed": frozenset(one.name for one in single if one.default is one.empty),
        }
        for name, value in names.items():
            object.__setattr__(self, name, value)

    @property
    def takes_any_keyword(self) -> bool:
        """Whether the function has a `**kwargs` parameter."""
        return any(one.kind is one.VAR_KEYWORD for one in self.signature.parameters.values())

    @classmethod
    def of(cls, function: Callable[..., Any], name: str) -> Signature:
        """Read a function's annotations, once.

        Raises:
            QueueConfigurationError: An annotation cannot be resolved, or names a type that JSON cannot be read into.
        """
        try:
            hints = get_type_hints(_annotated(function), include_extras=True)
        except (NameError, AttributeError, SyntaxError, TypeError) as error:
            raise QueueConfigurationError(
                f"the annotations of task {name!r} cannot be resolved ({error}): "
                "import the type at run time, not only under TYPE_CHECKING"
            ) from error
        signature = inspect.signature(function)
        decoders: dict[str, msgspec.json.Decoder[Any]] = {}
        for parameter in signature.parameters.values():
            decoders[parameter.name] = _decoder_for(
                name, f"parameter {parameter.name!r}", hints.get(parameter.name, Any)
            )
        returns = hints.get("return", Any)
        if returns in (Never, NoReturn):
            returns = None
        return cls(name, signature, decoders, _decoder_for(name, "result", returns))

    def encode(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[str, str]:
        """The arguments as JSON text, certain to be readable again.

        Raises:
            TaskArgumentError: They do not fit the function's parameters or annotations.
            EncodingError: One of them has no JSON form.
        """
        if not self._fits(len(args), kwargs):
            try:
                self.signature.bind(*args, **kwargs)
            except TypeError as error:
                raise TaskArgumentError(
                    f"the arguments do not fit task {self.name!r}: {error}; its signature is {self.name}{self.signature}"
                ) from error
        text = (
            encode(list(args), f"an argument of task {self.name!r}"),
            encode(dict(kwargs), f"a keyword argument of task {self.name!r}"),
        )
        self.decode(*text)
        return text

    def same_call(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        """A text that is the same for calls with the same arguments, however they are passed, ordered or left out."""
        arguments = self.signature.bind(*args, **kwargs).arguments
        for parameter in self.signature.parameters.values():
            if parameter.name not in arguments and parameter.default is not parameter.empty:
                with suppress(EncodingError):  # nobody can pass such a default, so that leaving it out is unmistakable
                    encode(parameter.default, "a default")
                    arguments[parameter.name] = parameter.default
        return _CANONICAL.encode(arguments).decode()

    def decode(self, args: str, kwargs: str) -> tuple[list[Any], dict[str, Any]]:
        """The arguments, as the function's annotations have them.

        Raises:
            TaskArgumentError: What was stored does not fit the function as it is now.
        """
        raw_args, raw_kwargs = _ARGS.decode(args), _KWARGS.decode(kwargs) if kwargs != "{}" else {}
        if self._fits(len(raw_args), raw_kwargs):
            return (
                [self._read(self.parameters[name], name, raw) for name, raw in zip(self._by_position, raw_args)],  # noqa: B905  # those that are left out have defaults
                {name: self._read(self.parameters[name], name, raw) for name, raw in raw_kwargs.items()},
            )
        try:
            bound = self.signature.bind(*raw_args, **raw_kwargs)
        except TypeError as error:
            raise TaskArgumentError(
                f"the stored arguments do not fit task {self.name!r} any more: {error}; "
                f"its signature is {self.name}{self.signature}"
            ) from error
        for name, value in bound.arguments.items():
            read = self.parameters[name]
            kind = self.signature.parameters[name].kind
            if kind is inspect.Parameter.VAR_POSITIONAL:
                bound.arguments[name] = tuple(self._read(read, name, one) for one in value)
            elif kind is inspect.Parameter.VAR_KEYWORD:
                bound.arguments[name] = {key: self._read(read, f"{name}[{key!r}]", one) for key, one in value.items()}
            else:
                bound.arguments[name] = self._read(read, name, value)
        return list(bound.args), bound.kwargs

    def _fits(self, args: int, kwargs: Mapping[str, Any]) -> bool:
        """Whether so many arguments, and these by name, are certain to fit one parameter each.

        Says it in a tenth of the time that `bind` takes. Where it says no, `bind` may still say yes.
        """
        given = {*self._by_position[:args], *kwargs}
        return (
            len(given) == args + len(kwargs)  # no more than there are parameters, and none twice
            and self._by_name.issuperset(kwargs)
            and self._needed.issubset(given)
        )

    def _read(self, read: msgspec.json.Decoder[Any], what: str, value: msgspec.Raw) -> Any:
        try:
            return read.decode(value)
        except (msgspec.MsgspecError, ValueError, TypeError) as error:
            raise TaskArgumentError(f"the argument {what!r} of task {self.name!r} does not fit: {error}") from error


def _annotated(function: Callable[..., Any]) -> Callable[..., Any]:
    """Where the annotations of something callable stand."""
    while isinstance(function, functools.partial):
        function = function.func
    return function if inspect.isroutine(function) else type(function).__call__


def _decoder_for(name: str, what: str, annotation: Any) -> msgspec.json.Decoder[Any]:
    try:
        return decoder(annotation)
    except TypeError as error:
        raise QueueConfigurationError(
            f"the {what} of task {name!r} is annotated {annotation!r}, which JSON cannot be read into: {error}"
        ) from error
