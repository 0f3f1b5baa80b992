"""Background tasks for Litestar, kept in the database that the application already has."""

from litestar_queues.background import QueuedBackgroundTask
from litestar_queues.backoff import Backoff, ExponentialBackoff, FixedBackoff
from litestar_queues.config import QueueConfig, register_execution_backend, register_queue_backend
from litestar_queues.context import Progress, TaskContext, current_task, non_retryable, snooze
from litestar_queues.errors import (
    BackendError,
    BackendUnavailableError,
    DispatchNotSupportedError,
    EncodingError,
    InvalidScheduleError,
    InvalidTaskError,
    KeyHeldError,
    MissingDependencyError,
    NonRetryableError,
    QueueConfigurationError,
    QueueError,
    RefusedError,
    ScheduleNotFoundError,
    StoreReplacedError,
    TaskArgumentError,
    TaskNotFinishedError,
    TaskNotFoundError,
    TasksLockedError,
    TaskStateError,
    TooLargeError,
    UnknownTaskError,
    WaitTimeoutError,
)
from litestar_queues.events.base import TaskEvent, TaskEventKind
from litestar_queues.lifecycle import State
from litestar_queues.options import EnqueueOptions, TaskOptions
from litestar_queues.plugin import QueuePlugin
from litestar_queues.records import TaskRecord
from litestar_queues.result import TaskError, TaskFailedError, TaskResult
from litestar_queues.schedules.declaring import schedule
from litestar_queues.schedules.managing import ScheduleInfo, Schedules
from litestar_queues.schedules.model import Occurrence, Skipped
from litestar_queues.schedules.options import ScheduleOptions, ScheduleSettings
from litestar_queues.schedules.previewing import Previewed
from litestar_queues.schedules.spec import ScheduleSpec
from litestar_queues.service import QueueService, QueueStats
from litestar_queues.task import (
    AsyncTask,
    SyncTask,
    Task,
    TaskCall,
    TaskRegistry,
    TaskTemplate,
    default_registry,
    task,
)
from litestar_queues.worker.exit import WorkerExit
from litestar_queues.worker.worker import Worker

__all__ = (
    "AsyncTask",
    "BackendError",
    "BackendUnavailableError",
    "Backoff",
    "DispatchNotSupportedError",
    "EncodingError",
    "EnqueueOptions",
    "ExponentialBackoff",
    "FixedBackoff",
    "InvalidScheduleError",
    "InvalidTaskError",
    "KeyHeldError",
    "MissingDependencyError",
    "NonRetryableError",
    "Occurrence",
    "Previewed",
    "Progress",
    "QueueConfig",
    "QueueConfigurationError",
    "QueueError",
    "QueuePlugin",
    "QueueService",
    "QueueStats",
    "QueuedBackgroundTask",
    "RefusedError",
    "ScheduleInfo",
    "ScheduleNotFoundError",
    "ScheduleOptions",
    "ScheduleSettings",
    "ScheduleSpec",
    "Schedules",
    "Skipped",
    "State",
    "StoreReplacedError",
    "SyncTask",
    "Task",
    "TaskArgumentError",
    "TaskCall",
    "TaskContext",
    "TaskError",
    "TaskEvent",
    "TaskEventKind",
    "TaskFailedError",
    "TaskNotFinishedError",
    "TaskNotFoundError",
    "TaskOptions",
    "TaskRecord",
    "TaskRegistry",
    "TaskResult",
    "TaskStateError",
    "TaskTemplate",
    "TasksLockedError",
    "TooLargeError",
    "UnknownTaskError",
    "WaitTimeoutError",
    "Worker",
    "WorkerExit",
    "current_task",
    "default_registry",
    "non_retryable",
    "register_execution_backend",
    "register_queue_backend",
    "schedule",
    "snooze",
    "task",
)
