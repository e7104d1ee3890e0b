"""A daemon's side of the control socket, small and with known answers, served on a thread."""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import Any

import uvloop

from hipgw.control.api import (
    AddressesAnswer,
    AssociationAnswer,
    CloseAnswer,
    ConnectAnswer,
    CountersAnswer,
    EndboxAnswer,
    FleetAnswer,
    MacAnswer,
    MobileClientAnswer,
    MobileRouterAnswer,
    PathAnswer,
    PeerAnswer,
    PingReplyAnswer,
    RegistrationAnswer,
    RekeyAnswer,
    ResolveAnswer,
    SaAnswer,
    StatusAnswer,
)
from hipgw.control.errors import UnknownPeerError
from hipgw.control.server import ControlServer
from hipgw.errors import LocalProtocolError

HIT_A = "2001:21:aaaa::1"
HIT_B = "2001:21:bbbb::2"
PATH: PathAnswer = {
    "local": "192.0.2.1",
    "remote": "192.0.2.2",
    "transport": "udp",
    "local_port": 10500,
    "remote_port": 10500,
}


class SmallDaemon:
    """Implements ControlApi for one peer, `plant-b`, which may be made silent."""

    def __init__(self) -> None:
        self.established = True
        self.routes = False
        """Whether it is a mobile router."""
        self.answers_ping = True
        self.answers_close = True
        self.hurried = False
        """Pings end soon, however many were asked for."""
        self.warnings: list[Any] = []
        self.stopped = threading.Event()
        self.cancelled = threading.Event()

    def identify(self, peer: str) -> tuple[str, str]:
        if peer not in ("plant-b", HIT_B, "1.0.0.2"):
            raise UnknownPeerError(peer)
        return "plant-b", HIT_B

    def status(self) -> StatusAnswer:
        return {
            "version": "1.2.3",
            "pid": 4711,
            "uptime_s": 93784.5,
            "config_file": "/etc/hipgw/hipgw.toml",
            "roles": ["host", "endbox"],
            "identities": [
                {"hit": HIT_A, "version": 2, "algorithm": "ECDSA P-256", "lsi": "1.0.0.1"}
            ],
            "transport": "udp",
            "port": 10500,
            "counts": {
                "peers": 1,
                "found": 2,
                "established": int(self.established),
                "associations": 1,
                "security_associations": 2,
                "macs": 1,
            },
            "profiles": {},
            "mobile_router": self.mobile_router(),
            "health": self.warnings,
        }

    def peers(self) -> list[PeerAnswer]:
        return [
            {
                "name": "plant-b",
                "hit": HIT_B,
                "lsi": "1.0.0.2",
                "version": 2,
                "compat": "none",
                "addresses": ["192.0.2.2", "2001:db8::2"],
                "relays": ["hub"],
                "rendezvous": [],
                "source": "configured",
                "transport": "udp",
                "roles": ["endbox"],
                "state": "ESTABLISHED" if self.established else "I1-SENT",
                "path": PATH if self.established else None,
                "established_s": 12.5 if self.established else None,
                "rtt_s": 0.00125,
                "attempts": 0 if self.established else 3,
                "next_attempt_s": None if self.established else 7.0,
                "last_failure": None if self.established else "no answer to I1",
            }
        ]

    def associations(self) -> list[AssociationAnswer]:
        return [
            {
                "peer": "plant-b",
                "local_hit": HIT_A,
                "peer_hit": HIT_B,
                "state": "ESTABLISHED",
                "path": PATH,
                "initiator": True,
                "age_s": 12.5,
                "exchange_s": 0.0215,
                "version": 2,
                "compat": "none",
                "peer_identity": "ECDSA P-256",
                "dh_group": "P-384",
                "hip_cipher": "AES-256-CBC",
                "esp_suite": "AES-128-GCM-16",
                "inbound_spi": 0x1234,
                "outbound_spi": 0xDEADBEEF,
                "path_mtu": 1400,
                "path_mtu_source": "icmp",
            }
        ]

    def security_associations(self) -> list[SaAnswer]:
        return [
            {
                "spi": 0xDEADBEEF,
                "direction": "out",
                "suite": "AES-128-GCM-16",
                "peer": "plant-b",
                "local_hit": HIT_A,
                "peer_hit": HIT_B,
                "path": PATH,
                "packets": 1000,
                "bytes": 1500000,
                "sequence": 1000,
                "replayed": 0,
                "auth_failed": 0,
                "lost": 3,
                "last_used_s": 0.5,
            }
        ]

    def mac_table(self) -> list[MacAnswer]:
        return [
            {
                "mac": "02:00:00:00:00:01",
                "vlan": 7,
                "segment": 1,
                "peer": "plant-b",
                "peer_hit": HIT_B,
                "age_s": 3.0,
            }
        ]

    def endbox(self) -> EndboxAnswer | None:
        if not self.established:
            return None
        return {
            "mode": "learning",
            "legacy_nodes": [],
            "default_endbox": False,
            "source_filter": True,
            "election": {
                "hello_s": 10,
                "extent": "everything",
                "delivers": False,
                "winner": "plant-b",
                "hellos_heard": 3,
            },
            "multicast": {"group": "239.7.7.7", "spi": 0x34120000, "local": "192.0.2.1"},
            "peers": [
                {
                    "peer": "plant-b",
                    "peer_hit": HIT_B,
                    "allowed": True,
                    "mode": "static",
                    "frames": "ethernet",
                    "legacy_nodes": [f"10.0.0.{n}" for n in range(1, 7)],
                    "default_endbox": True,
                    "established": True,
                    "macs": 2,
                }
            ],
        }

    def mobile_router(self) -> MobileRouterAnswer | None:
        if not self.routes:
            return None
        return {
            "outside": [{"address": "192.0.2.1", "interface": "wwan0"}],
            "interfaces": ["wlan0", "wwan0"],
            "path": "nfqueue",
            "path_reason": "this kernel has no tcx",
            "rules": "nftables, table inet hipgw-mobile-router",
            "clients": 1,
            "correspondents": 3,
            "flows": 3,
            "refused": 0,
            "counters": {"rewritten": 1234, "unknown_spi": 5},
        }

    def mobile_router_clients(self) -> list[MobileClientAnswer] | None:
        if not self.routes:
            return None
        return [
            {
                "peer": "plant-b",
                "hit": HIT_B,
                "inside": "10.1.0.2:10500",
                "correspondents": 3,
                "guests": 1,
                "guest": False,
                "begun": 0,
                "tickets": 2,
                "packets_in": 1000,
                "packets_out": 234,
                "octets_in": 1400000,
                "octets_out": 20000,
                "hip_packets_in": 12,
                "hip_packets_out": 11,
            }
        ]

    def registrations(self) -> list[RegistrationAnswer]:
        if not self.established:
            return []
        return [
            {
                "peer": "plant-b",
                "peer_hit": HIT_B,
                "version": 2,
                "role": "client",
                "service": "RELAY_UDP_ESP",
                "lifetime_s": 120.0,
                "remaining_s": 60.0,
                "mapped": "198.51.100.1:4711",
                "relayed": ["192.0.2.2:30000"],
            }
        ]

    def addresses(self) -> AddressesAnswer:
        if not self.established:
            return {"own": [], "peers": []}
        return {
            "own": [
                {
                    "address": "192.0.2.1",
                    "interface": "eth0",
                    "pinned": True,
                    "reflexive": ["198.51.100.7:10500"],
                },
                {
                    "address": "2001:db8::1",
                    "interface": "eth1",
                    "pinned": False,
                    "reflexive": [],
                },
            ],
            "peers": [
                {
                    "peer": "plant-b",
                    "peer_hit": HIT_B,
                    "path": PATH,
                    "verified": True,
                    "mapped": "198.51.100.1:4711",
                    "locators": [
                        {
                            "address": "192.0.2.2",
                            "port": 10500,
                            "state": "ACTIVE",
                            "listed": True,
                            "preferred": True,
                            "in_use": True,
                        },
                        {
                            "address": "2001:db8::2",
                            "port": 10500,
                            "state": "UNVERIFIED",
                            "listed": False,
                            "preferred": False,
                            "in_use": False,
                        },
                    ],
                }
            ],
        }

    def counters(self) -> CountersAnswer:
        return {
            "control": {"i1_in": 3},
            "control_drops": {"bad_checksum": 2, "unknown_version": 0},
            "dataplane": {"net_rx_packets": 99},
            "dataplane_drops": {"replay": 1},
            "names": {"dns_forwarded": 5},
        }

    async def ping(
        self, peer: str, *, count: int, interval_s: float, timeout_s: float
    ) -> AsyncGenerator[PingReplyAnswer, None]:
        try:
            for sequence in range(1, (min(count, 3) if self.hurried else count) + 1):
                if sequence > 1 and not self.hurried:
                    await asyncio.sleep(interval_s)
                answered = self.answers_ping
                yield {
                    "sequence": sequence,
                    "rtt_s": sequence / 1000 if answered else None,
                    "path": PATH if answered else None,
                }
        finally:
            self.cancelled.set()

    def fleet(self) -> FleetAnswer | None:
        if not self.established:
            return None
        return {
            "fleet": "plants",
            "lan": "plant",
            "entries": 3,
            "directories": [
                {
                    "directory": "etcd /hipgw/fleet/",
                    "reached": False,
                    "silent_s": 90.0,
                    "trouble": "no answer in time",
                },
                {
                    "directory": "/etc/hipgw/fleet.toml",
                    "reached": True,
                    "silent_s": 5.0,
                    "trouble": None,
                },
            ],
            "missing": ["plant-c"],
            "refused": [
                {"age_s": 4.0, "name": "plant-b", "where": "entry[1]", "reason": "it is not signed"}
            ],
        }

    async def resolve(self, query: str) -> ResolveAnswer:
        known = self.established
        return {
            "query": query,
            "name": "plant-b" if known else None,
            "hit": HIT_B if known else None,
            "lsi": "1.0.0.2" if known else None,
            "sources": [
                {
                    "source": "configured",
                    "asked": query,
                    "duration_s": 0.00001,
                    "error": None,
                    "found": [],
                },
                {
                    "source": "dns",
                    "asked": query,
                    "duration_s": 0.012,
                    "error": None,
                    "found": [
                        {
                            "hit": HIT_B,
                            "other_hits": [],
                            "name": query,
                            "addresses": ["192.0.2.2"],
                            "rendezvous": ["rvs.example (198.51.100.1)"],
                            "transport": None,
                            "port": None,
                            "provenance": "dnssec",
                            "ttl_s": 300.0,
                        }
                    ]
                    if known
                    else [],
                },
                {
                    "source": "dht",
                    "asked": HIT_B,
                    "duration_s": 3.0,
                    "error": "no answer within 3 s",
                    "found": [],
                },
            ],
        }

    async def connect(self, peer: str, *, timeout_s: float) -> ConnectAnswer:
        name, hit = self.identify(peer)
        if not self.established:
            await asyncio.sleep(min(timeout_s, 0.05))
        return {
            "peer": name,
            "peer_hit": hit,
            "state": "ESTABLISHED" if self.established else "E-FAILED",
            "established": self.established,
            "duration_s": 0.0215 if self.established else None,
            "reason": None if self.established else "no answer to I1",
        }

    async def close(self, peer: str, *, timeout_s: float) -> CloseAnswer:
        name, hit = self.identify(peer)
        if not self.established:
            raise LocalProtocolError("there is no association to close", hint="connect first")
        self.established = False
        state = "UNASSOCIATED" if self.answers_close else "CLOSING"
        return {"peer": name, "peer_hit": hit, "state": state, "closed": True}

    async def rekey(self, peer: str, *, timeout_s: float) -> RekeyAnswer:
        name, hit = self.identify(peer)
        if not self.established:
            raise LocalProtocolError("there is no association", hint="connect first")
        return {
            "peer": name,
            "peer_hit": hit,
            "rekeyed": self.answers_ping,
            "inbound_spi": 0x1235 if self.answers_ping else None,
            "outbound_spi": 0xDEADBEF0 if self.answers_ping else None,
            "reason": None if self.answers_ping else "no answer within 5 s",
        }

    def stop(self) -> None:
        self.stopped.set()


class ServedDaemon:
    """A SmallDaemon behind a ControlServer, on a uvloop of its own thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.api = SmallDaemon()
        self.loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()
        self.server = self.run(self._make)

    async def _make(self) -> ControlServer:
        server = ControlServer(self.path, self.api, clients_limit=8)
        await server.start()
        return server

    def run(self, function: Callable[[], Awaitable[Any]]) -> Any:
        """Run a coroutine function on the daemon's loop."""

        async def call() -> Any:
            return await function()

        return asyncio.run_coroutine_threadsafe(call(), self.loop).result(10)

    def publish(self, event: Any) -> None:
        """Publish from the daemon's thread, and wait until it is done."""

        async def call() -> None:
            self.server.publish(event)

        self.run(call)

    def end(self) -> None:
        self.run(self.server.stop)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()


def wait_until(condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
    """Wait for something that another thread does."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)
