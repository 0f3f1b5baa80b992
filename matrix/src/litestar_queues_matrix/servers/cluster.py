"""Three servers that are one cluster, with the slots dealt out among them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from litestar_queues_matrix.servers import resp
from litestar_queues_matrix.servers.errors import ServerUnavailable
from litestar_queues_matrix.servers.native import NativeServer
from litestar_queues_matrix.servers.running import START_SECONDS, Server
from litestar_queues_matrix.servers.sources import Executables, Source

__all__ = ("CLUSTERED", "ClusterServer", "nodes_of")

CLUSTERED: Mapping[str, str] = {"cluster-enabled": "yes", "cluster-node-timeout": "5000"}
_NODES, _SLOTS = 3, 16384


class ClusterServer(Server):
    """Started by the constructor, of primaries without replicas."""

    def __init__(self, source: Source, env: Mapping[str, str], *, durable: bool = False) -> None:
        if not isinstance(source, Executables):
            raise ServerUnavailable(
                f"a cluster of {source.row.name} takes its executables, and not one {source.origin}"
            )
        self.row, self.origin = source.row, f"three {source.origin}"
        self.nodes: list[NativeServer] = []
        try:
            for _ in range(_NODES):
                self.nodes.append(NativeServer(source, env, durable=durable, settings=CLUSTERED))
            self.url = self.nodes[0].url
            self._join()
        except BaseException:
            self.stop()
            raise

    def kill(self) -> None:
        for node in self.nodes:
            node.kill()

    def restart(self) -> None:
        for node in self.nodes:
            node.restart()
        self._wait_until_whole()

    def pause(self) -> None:
        for node in self.nodes:
            node.pause()

    def resume(self) -> None:
        for node in self.nodes:
            node.resume()

    def stop(self) -> None:
        for node in self.nodes:
            node.stop()

    def _join(self) -> None:
        for number, node in enumerate(self.nodes):
            first, last = number * _SLOTS // _NODES, (number + 1) * _SLOTS // _NODES - 1
            with resp.connected(node.url) as command:
                command("CLUSTER", "ADDSLOTSRANGE", first, last)
                for other in self.nodes[:number]:
                    command("CLUSTER", "MEET", "127.0.0.1", other.url.rpartition(":")[2].partition("/")[0])
        self._wait_until_whole()

    def _wait_until_whole(self) -> None:
        def is_whole(url: str) -> bool:
            with resp.connected(url) as command:
                said = command("CLUSTER", "INFO").decode()
            return "cluster_state:ok" in said and f"cluster_known_nodes:{_NODES}" in said

        _wait(lambda: all(is_whole(node.url) for node in self.nodes))


def nodes_of(url: str) -> list[str]:
    """The URLs of all servers of the cluster that one of them is of; of itself alone, where it is of none."""
    scheme = url.partition("://")[0]
    with resp.connected(url) as command:
        if b"cluster_enabled:1" not in command("INFO", "cluster"):
            return [url]
        lines = command("CLUSTER", "NODES").decode().splitlines()
    return [f"{scheme}://{line.split()[1].partition('@')[0]}/0" for line in lines]


def _wait(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not holds():
        if time.monotonic() > deadline:
            raise ServerUnavailable("the servers do not become a cluster")
        time.sleep(0.05)
