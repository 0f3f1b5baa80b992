"""From a call of a task to what a schedule enqueues."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from litestar_queues.errors import InvalidScheduleError, InvalidTaskError
from litestar_queues.records import NewTask, seconds
from litestar_queues.schedules.model import Definition, Template, check_size, record_name
from litestar_queues.schedules.options import ScheduleSettings

if TYPE_CHECKING:
    from litestar_queues.task import TaskCall

__all__ = ("checked_call", "definition_of")


def checked_call(name: str, call: TaskCall[Any], settings: ScheduleSettings) -> None:
    """Refuse what no schedule can be made of, as far as that is known without a store.

    Raises:
        InvalidScheduleError: The name, the options, or the arguments of the task's function.
    """
    record_name(name)
    call.task.signature.encode(call.args, call.kwargs)
    if not settings.says_when:
        raise InvalidScheduleError(f"schedule {name!r} has to say when: give it cron=... or interval=...")
    for option in ("delay", "run_after", "expires_at"):
        if getattr(call.options, option) is not None:
            raise InvalidScheduleError(
                f"{option} cannot be an option of schedule {name!r}: its occurrences start at the times of its fires. "
                "expires_in counts from each of them"
            )
    settings.definition(Template(task=call.task.name))


def definition_of(name: str, call: TaskCall[Any], new: NewTask, settings: ScheduleSettings) -> Definition:
    """The definition of a schedule that enqueues `call`.

    Args:
        name: The schedule's.
        call: The call.
        new: The task that it makes at this moment.
        settings: When.

    Raises:
        InvalidScheduleError: It is too large, or means no time that comes.
    """
    expires_in = call.options.expires_in
    template = Template.of(new, None if expires_in is None else seconds(expires_in).total_seconds())
    try:
        definition = settings.definition(template)
    except InvalidTaskError as error:
        raise InvalidScheduleError(f"schedule {name!r}: {error}") from None
    check_size(name, definition)
    return definition
