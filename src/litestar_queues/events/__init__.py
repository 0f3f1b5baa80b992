"""Lifecycle events: what happened to tasks, told to whoever listens."""

from litestar_queues.events.base import EventSink, TaskEvent, TaskEventKind
from litestar_queues.events.dispatcher import EventDispatcher

__all__ = ("EventDispatcher", "EventSink", "TaskEvent", "TaskEventKind")
