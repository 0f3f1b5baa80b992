"""Tasks in a table of the application's models, by Advanced Alchemy and SQLAlchemy."""

from __future__ import annotations

from litestar_queues.errors import MissingDependencyError

try:
    import advanced_alchemy  # noqa: F401  # pyright: ignore[reportUnusedImport]  # to see whether it is there
except ImportError as error:
    raise MissingDependencyError("advanced-alchemy", "advanced-alchemy") from error

from litestar_queues.backends.advanced_alchemy.config import AdvancedAlchemyBackendConfig
from litestar_queues.backends.advanced_alchemy.model import QueueTaskModel, QueueTaskModelMixin

__all__ = ("AdvancedAlchemyBackendConfig", "QueueTaskModel", "QueueTaskModelMixin")
