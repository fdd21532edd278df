"""The transport's exceptions, as the causes of errors: nothing of them leads to a secret."""

from __future__ import annotations

import pytest

from masivo._protocol.errors import MasivoNetworkError
from masivo._protocol.reporting.redaction import chain, stripped
from protocol.simulator import Driver, error_of

SECRET = "client-key-0123456789"


def failing() -> BaseException:
    """An exception with a cause and a context, whose frames and attributes hold the secret."""

    def connect(headers: dict[str, str]) -> None:
        error = OSError(f"no connection, with {headers}")
        error.request = headers  # type: ignore[attr-defined]
        raise error

    def send(headers: dict[str, str]) -> None:
        try:
            connect(headers)
        except OSError as error:
            raise ValueError(SECRET, headers) from error

    try:
        send({"x-api-key": SECRET})
    except ValueError as error:
        return error
    raise AssertionError


def test_what_leads_to_a_secret_is_taken_away() -> None:
    """No traceback, no object but texts and numbers, no secret in a text is left."""
    error = stripped(failing(), [SECRET])
    assert error is not None
    everything = list(chain(error))
    assert [type(each) for each in everything] == [ValueError, OSError]
    for each in everything:
        assert each.__traceback__ is None
        assert SECRET not in repr((each, each.args, vars(each)))
    assert everything[0].args == ("[redacted]", None)
    assert vars(everything[1]) == {"request": None}


def test_groups_are_searched_too() -> None:
    """The exceptions of a group are stripped as the group is."""
    group = BaseExceptionGroup("two", [failing(), KeyboardInterrupt()])
    assert stripped(group, [SECRET]) is group
    assert SECRET not in repr([(each, each.__traceback__) for each in chain(group)])


def test_what_came_from_a_group_is_searched_too() -> None:
    """A group among the causes ends the search of no other exception."""
    error = OSError(f"sent {SECRET}")
    error.__cause__ = ExceptionGroup("two", [OSError(), OSError()])
    assert stripped(error, [SECRET]) is error
    assert error.args == ("sent [redacted]",)


def test_a_group_that_shows_a_secret_is_no_cause() -> None:
    """The text of a group cannot be changed."""
    assert stripped(ExceptionGroup(f"sent {SECRET}", [OSError()]), [SECRET]) is None
    error = OSError("outer")
    error.__cause__ = ExceptionGroup(f"sent {SECRET}", [OSError()])
    assert stripped(error, [SECRET]) is None


class SlottedError(Exception):
    """An exception that has a text outside its dict and its arguments."""

    __slots__ = ("_own", "told")

    def __init__(self, told: str) -> None:
        super().__init__()
        self._own = told
        self.told = told


def test_what_an_exception_holds_in_slots_is_taken_away() -> None:
    """Secrets in ``__slots__`` are replaced too; what holds none stays as it is."""
    error = SlottedError(f"x {SECRET} y {SECRET}")
    assert stripped(error, [SECRET, "other"]) is error
    assert (error.told, error._own) == ("x [redacted] y [redacted]",) * 2
    assert stripped(fine := SlottedError("fine"), [SECRET]) is fine
    assert fine.told == "fine"
    failed = OSError(5, f"no {SECRET}", "file")
    assert stripped(failed, [SECRET]) is failed
    assert (failed.errno, failed.strerror, failed.filename) == (5, "no [redacted]", "file")


def test_an_exception_that_another_was_made_of_becomes_its_text() -> None:
    """httpcore's say nothing of their own: they are made of what was caught."""
    cause = failing()
    error = OSError(cause)
    error.__cause__ = cause
    assert stripped(error, [SECRET]) is error
    assert error.args == ("('[redacted]', None)",)


@pytest.mark.parametrize("how", ["__cause__", "__context__"])
def test_a_circle_of_causes_ends(how: str) -> None:
    """Two exceptions that are each other's cause are each looked at once."""
    one, two = ValueError("one"), ValueError("two")
    setattr(one, how, two)
    setattr(two, how, one)
    assert list(chain(one)) == [one, two]


class StubbornError(Exception):
    """An exception that lets nobody change it."""

    @property
    def args(self) -> tuple[object, ...]:  # type: ignore[override]
        """Its arguments."""
        return ()

    def __setattr__(self, name: str, value: object) -> None:
        raise TypeError(name, value)


def test_an_exception_that_cannot_be_changed_is_no_failure() -> None:
    """Whatever a transport raises, it can be reported; one that cannot be stripped is no cause."""
    error = StubbornError()
    driver = Driver(max_retries=0)
    (delivery,) = driver.send_numbers(1)
    driver.break_off("refused", cause=error)
    assert type(error_of(delivery)) is MasivoNetworkError
    assert error_of(delivery).__cause__ is None


def test_a_slot_that_holds_nothing_stays_empty() -> None:
    """What an exception does not have is not given to it."""
    error = SlottedError("x")
    del error._own
    assert stripped(error, [SECRET]) is error
    assert not hasattr(error, "_own")
