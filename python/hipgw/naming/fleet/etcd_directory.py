"""A fleet's directory in etcd: one key for each machine, its value the entry in JSON."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from hipgw.errors import NamingError
from hipgw.naming.fleet.directory import Batch, Offered, safe_name
from hipgw.naming.fleet.etcd_client import Answer, CompactedError, EtcdClient, KeyValue

RESYNC_S = 60.0
"""A watch that is silent for so long is begun anew: its member may be cut off from the others."""


class EtcdDirectory:
    """Keys under one prefix of an etcd cluster."""

    def __init__(self, client: EtcdClient, prefix: str, *, resync_s: float = RESYNC_S) -> None:
        self.name = f"etcd {prefix}"
        self._client = client
        self._prefix = prefix
        self._resync_s = resync_s

    async def batches(self) -> AsyncGenerator[Batch, None]:
        """All keys, and then what changes; see `Directory`."""
        try:
            answer = await self._client.range(self._prefix)
            yield self._batch(answer, whole=True)
            while True:
                cluster, revision = answer.cluster, answer.revision
                with contextlib.suppress(TimeoutError):
                    async with contextlib.aclosing(
                        self._client.watch(self._prefix, revision + 1)
                    ) as watched:
                        while True:
                            async with asyncio.timeout(self._resync_s):
                                news = await anext(watched)
                            revision = max(revision, news.revision)
                            if news.keys:
                                yield self._batch(news)
                # Only what has changed, if this is still the cluster that it was.
                answer = await self._client.range(self._prefix, changed_since=revision + 1)
                restored = answer.cluster != cluster or answer.revision < revision
                if restored:
                    answer = await self._client.range(self._prefix)
                yield self._batch(answer, whole=restored)
        except CompactedError:
            # Nobody has lost it: the next call reads everything.
            raise NamingError("what has changed in etcd is compacted already") from None
        finally:
            await self._client.close()

    async def read(self) -> Sequence[Offered]:
        """Everything under the prefix. Raises NamingError."""
        return self._batch(await self._client.range(self._prefix), whole=True).entries

    async def write(self, table: dict[str, Any], read: Sequence[Offered]) -> None:
        """Put an entry in the place of the one with its name, if that still is what was *read*.

        Raises NamingError.
        """
        key = self._prefix + safe_name(table)
        version = next((one.version for one in read if one.where == key), 0)
        value = json.dumps(table, sort_keys=True).encode()
        await self._client.put(key, value, unchanged_since=version)

    async def close(self) -> None:
        """End all connections."""
        await self._client.close()

    def _batch(self, answer: Answer, *, whole: bool = False) -> Batch:
        return Batch(
            [_offered(entry) for entry in answer.keys if not entry.deleted],
            whole=whole,
            gone=[entry.key.removeprefix(self._prefix) for entry in answer.keys if entry.deleted],
        )


def _offered(entry: KeyValue) -> Offered:
    try:
        table = json.loads(entry.value.decode())
    except (ValueError, RecursionError):
        table = None
    return Offered(entry.key, table if isinstance(table, dict) else None, entry.mod_revision)
