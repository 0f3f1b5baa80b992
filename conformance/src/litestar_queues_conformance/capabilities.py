"""What backends can differ in. Imports only the standard library, as the page of guarantees is made from it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

__all__ = ("Capabilities",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a backend can do beyond the core; every question has to be answered.

    A "no" is tested too: what is declared absent must be absent.
    """

    multi_process: bool = field(
        metadata={
            "says": (
                "Several processes see one store. Where they do not, bursts run as tasks of one process, and no worker outside "
                "the application can take part."
            )
        }
    )
    durable: bool = field(
        metadata={"says": "What was acknowledged is still there after every client process was killed."}
    )
    server_clock: bool = field(
        metadata={"says": "The store has a clock of its own, so that the clients' clocks do not matter."}
    )
    notifications: bool = field(
        metadata={
            "says": (
                "Clients that wait are woken by hints of the others (`wakeups`), in whichever process they are. Without it there "
                "are none, and workers poll."
            )
        }
    )
    transactional: bool = field(
        metadata={
            "says": (
                "Tasks can be enqueued in a transaction of the application's: the backend has `bind`, and the target makes sessions."
            )
        }
    )
    columns: bool = field(
        metadata={
            "says": (
                "Tasks are rows of a table that the application may have made itself: its columns may stand in another order, and "
                "there may be more of them."
            )
        }
    )

    dispatch: bool = field(
        metadata={
            "says": (
                "Tasks can run elsewhere: the backend keeps dispatched tasks, which their runs claim by id. Without it a "
                "reservation is refused with a typed error."
            )
        }
    )

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The names of all capabilities."""
        return tuple(one.name for one in fields(cls))
