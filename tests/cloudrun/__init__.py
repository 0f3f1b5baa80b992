"""Cloud Run in a box: a server that speaks Google's protocol, and starts a process where Cloud Run would a container.

It serves the real client. It keeps executions, starts a process for each, reports its end, cancels by signals, starts
containers again, and does wrong what it is asked to (`faults`). In the test's own process:

    async with CloudRun(command=[sys.executable, "container.py"]) as cloud:
        config = CloudRunExecutionConfig(project_id="p", job_name="j", channel_factory=cloud.channel)

In a process of its own, which goes on when a dispatcher is killed: `python -m cloudrun --help`, and `control.Control`.
"""

from __future__ import annotations

from cloudrun.executions import Execution
from cloudrun.faults import Fault
from cloudrun.server import CloudRun
from cloudrun.starters import ForkStarter, ProcessStarter

__all__ = ("CloudRun", "Execution", "Fault", "ForkStarter", "ProcessStarter")
