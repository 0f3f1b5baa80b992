from __future__ import annotations

import dataclasses
import enum
import functools
import math
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal, NoReturn

import msgspec
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from litestar_queues.codec import Signature, decode, encode
from litestar_queues.errors import EncodingError, InvalidTaskError, QueueConfigurationError, TaskArgumentError


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int
    at: datetime


class Parcel(msgspec.Struct):
    id: uuid.UUID
    points: list[Point]


class Order(pydantic.BaseModel):
    id: uuid.UUID
    total: Decimal
    placed: datetime
    parts: dict[str, int] = {}


POINT = Point(1, datetime(2030, 1, 2, 3, 4, 5, 678901, tzinfo=UTC))
ID = uuid.UUID("01890a5d-ac96-774b-bcce-b302099a8057")
ORDER = Order(id=ID, total=Decimal("10.50"), placed=POINT.at, parts={"a": 1})
INT64_MIN, UINT64_MAX = -(2**63), 2**64 - 1


def signature_of(annotation: Any) -> Signature:
    def function(value: Any) -> Any: ...

    function.__annotations__ = {"value": annotation, "return": annotation}
    return Signature.of(function, "shop.ship")


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (uuid.UUID, ID),
        (datetime, POINT.at),
        (date, date(2030, 1, 2)),
        (timedelta, timedelta(days=1, microseconds=1)),
        (Decimal, Decimal("0.10")),
        (Colour, Colour.RED),
        (Point, POINT),
        (Parcel, Parcel(ID, [POINT])),
        (Order, ORDER),
        (list[Order], [ORDER]),
        (Order | None, None),
        (dict[uuid.UUID, Point], {ID: POINT}),
        (tuple[int, str], (1, "a")),
        (set[int], {1, 2}),
        (bytes, b"\x00\xff"),
        (Literal["a", "b"], "a"),
        (int, INT64_MIN),
        (int, UINT64_MAX),
        (float, 1.7976931348623157e308),
        (float, 5e-324),
        (str, ""),
        (str, "null"),
        (str, '{"looks":"like JSON"}'),
        (str, r"\u0000 is written out"),
        (Any, {"a": [None, True, 1, 1.5, "ü😀\u2028", {}]}),
    ],
)
def test_a_value_comes_back_as_its_annotation_has_it(annotation: Any, value: Any) -> None:
    signature = signature_of(annotation)
    for args, kwargs in ([value], {}), ([], {"value": value}):
        texts = signature.encode(args, kwargs)
        (read_args, read_kwargs) = signature.decode(*texts)
        read = read_args[0] if read_args else read_kwargs["value"]
        assert read == value
        assert type(read) is type(value)
    result = signature.result.decode(encode(value, "the result"))
    assert (result, type(result)) == (value, type(value))


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(INT64_MIN, UINT64_MAX)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_characters="\x00", exclude_categories=("Cs",))),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(exclude_characters="\x00", exclude_categories=("Cs",))), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(json_values)
@settings(max_examples=150, deadline=None)
def test_every_json_value_comes_back_exactly(value: Any) -> None:
    assert repr(decode(encode(value, "it"))) == repr(value)


@given(json_values, st.sampled_from([math.nan, math.inf, -math.inf, UINT64_MAX + 1, INT64_MIN - 1, "\x00", "a\ud800"]))
@settings(max_examples=100, deadline=None)
def test_what_would_not_come_back_is_refused_wherever_it_hides(around: Any, bad: Any) -> None:
    for value in (bad, [around, {"deep": [bad, around]}], {"k": around, "l": (bad,)}):
        with pytest.raises(EncodingError):
            encode(value, "it")


@functools.cache
def broken() -> dict[str, Any]:
    class Opaque: ...

    class Rude(msgspec.Struct):
        value: float

    class Model(pydantic.BaseModel):
        value: float

    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    return {
        "NaN": (math.nan, "holds NaN or an infinity"),
        "NaN in a struct": (Rude(math.nan), "holds NaN or an infinity"),
        "an infinity in a model": (Model(value=math.inf), "holds NaN or an infinity"),
        "an infinity": ([1, -math.inf], "holds NaN or an infinity"),
        "too large": ({"a": 2**64}, "an integer beyond 64 bits"),
        "too small": (-(2**63) - 1, "an integer beyond 64 bits"),
        "far too large": (10**4000, "it "),
        "NUL": ("a\x00b", "the NUL character"),
        "NUL in a key": ({"\x00": 1}, "the NUL character"),
        "NUL after a backslash": ("\\\x00", "the NUL character"),
        "a lone surrogate": ("\udfff", "cannot be written as JSON"),
        "an object": (Opaque(), "values of the type 'broken.<locals>.Opaque' have no JSON form"),
        "a function": (len, "have no JSON form"),
        "a class": (Model, "cannot be written as JSON"),
        "a key that is none": ({(1, 2): 3}, "cannot be written as JSON"),
        "too deep": (deep, "cannot be written as JSON"),
        "a generator": ((x for x in ()), "have no JSON form"),
    }


@pytest.mark.parametrize("case", broken())
def test_a_value_without_a_json_form_is_refused_with_its_reason(case: str) -> None:
    value, words = broken()[case]
    with pytest.raises(EncodingError, match=r"^it .*") as refused:
        encode(value, "it")
    assert words in str(refused.value)
    assert isinstance(refused.value, InvalidTaskError)


def test_names_are_part_of_every_message() -> None:
    signature = signature_of(Any)
    with pytest.raises(EncodingError, match=r"an argument of task 'shop.ship'"):
        signature.encode([object()], {})
    with pytest.raises(EncodingError, match=r"a keyword argument of task 'shop.ship'"):
        signature.encode([], {"value": object()})


def pay(order: int, /, amount: float, *more: uuid.UUID, note: str = "", **extra: int) -> None: ...


@pytest.mark.parametrize(
    ("args", "kwargs", "words"),
    [
        ([], {}, "missing a required argument: 'order'"),
        ([1], {}, "missing a required argument: 'amount'"),
        ([1, "x"], {}, "the argument 'amount' of task 'shop.pay' does not fit: Expected `float`, got `str`"),
        ([1, 2.0, "no-uuid"], {}, "the argument 'more' of task 'shop.pay' does not fit: Invalid UUID"),
        ([1, 2.0], {"note": 5}, "the argument 'note'"),
        ([1, 2.0], {"tip": "x"}, r"the argument .extra\['tip'\]."),
        ([True, 2.0], {}, "the argument 'order' of task 'shop.pay' does not fit: Expected `int`, got `bool`"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_by_name(args: list[Any], kwargs: dict[str, Any], words: str) -> None:
    with pytest.raises(TaskArgumentError, match=words):
        Signature.of(pay, "shop.pay").encode(args, kwargs)


def test_the_message_shows_the_signature() -> None:
    with pytest.raises(TaskArgumentError, match=r"its signature is shop\.pay\(order: "):
        Signature.of(pay, "shop.pay").encode([], {})


def test_arguments_of_every_kind_come_back() -> None:
    signature = Signature.of(pay, "shop.pay")
    texts = signature.encode([1, 2.5, ID], {"note": "n", "tip": 3})
    assert signature.decode(*texts) == ([1, 2.5, ID], {"note": "n", "tip": 3})


def test_arguments_stored_before_the_function_changed_are_refused_where_they_do_not_fit() -> None:
    def once(a: int) -> None: ...
    def now(a: int, b: int) -> None: ...
    def less() -> None: ...
    def other(a: str) -> None: ...
    def more(a: int, b: int = 2) -> None: ...

    stored = Signature.of(once, "t").encode([1], {})
    for changed, words in ((now, "missing a required argument: 'b'"), (less, "too many"), (other, "'a' of task 't'")):
        with pytest.raises(TaskArgumentError, match=words):
            Signature.of(changed, "t").decode(*stored)
    assert Signature.of(more, "t").decode(*stored) == ([1], {})


def test_an_annotation_that_cannot_be_resolved_is_refused_when_the_task_is_made() -> None:
    def missing(a: NoSuchType) -> None: ...  # type: ignore[name-defined]  # noqa: F821
    def torn(a: int) -> None: ...

    torn.__annotations__["a"] = "int |"
    for function in (missing, torn):
        with pytest.raises(QueueConfigurationError, match="annotations of task 't' cannot be resolved"):
            Signature.of(function, "t")


def test_a_type_that_json_cannot_be_read_into_is_refused_when_the_task_is_made() -> None:
    def bad(a: int | dict[tuple[int], int] | Point | Parcel) -> None: ...

    with pytest.raises(QueueConfigurationError, match="the parameter 'a' of task 't' is annotated"):
        Signature.of(bad, "t")


def test_a_task_that_never_returns_may_say_so() -> None:
    def never() -> NoReturn: ...

    Signature.of(never, "t")


class Opaque: ...


UNPASSABLE = Opaque()


def send(to: str, copies: int = 1, *, how: Any = UNPASSABLE, **extra: Any) -> None: ...


@pytest.mark.parametrize(
    ("args", "kwargs", "same"),
    [
        (["a"], {}, True),
        ([], {"to": "a"}, True),
        (["a", 1], {}, True),
        (["a"], {"copies": 1}, True),
        (["a", 2], {}, False),
        (["b"], {}, False),
        (["a"], {"how": None}, False),
        (["a"], {"x": 1}, False),
    ],
)
def test_calls_with_the_same_arguments_are_the_same_however_they_are_written(
    args: list[Any], kwargs: dict[str, Any], *, same: bool
) -> None:
    signature = Signature.of(send, "t")
    assert (signature.same_call(args, kwargs) == signature.same_call(["a"], {})) is same


def test_the_order_of_keywords_makes_no_other_call() -> None:
    signature = Signature.of(send, "t")
    assert signature.same_call(["a"], {"x": 1, "y": {"b": 1, "a": 2}}) == signature.same_call(
        [], {"y": {"a": 2, "b": 1}, "x": 1, "to": "a"}
    )


def test_an_error_inside_a_users_validation_is_told_as_what_does_not_fit() -> None:
    class Picky(pydantic.BaseModel):
        n: int

        @pydantic.field_validator("n")
        @classmethod
        def small(cls, value: int) -> int:
            if value > 3:
                raise ValueError("too large for us")
            return value

    check: Callable[[Any], Any] = lambda value: signature_of(Picky).encode([value], {})  # noqa: E731
    check({"n": 3})
    with pytest.raises(TaskArgumentError, match="too large for us"):
        check({"n": 4})
