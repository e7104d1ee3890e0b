"""Questions to the daemon: status, peers, associations, sa, mac-table, counters."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hipgw.cli import output
from hipgw.cli.exits import Exit
from hipgw.cli.options import connect_to_daemon, json_option, socket_option

if TYPE_CHECKING:
    from hipgw.control.api import HealthWarning, PeerAnswer, StatusAnswer

UP_STATES = ("ESTABLISHED", "R2-SENT")
"""States in which data can flow (RFC 7401 §4.4.2)."""

_SEVERITY_COLOURS = {"error": "red", "warning": "yellow", "notice": "cyan"}


@click.command()
@click.option(
    "--check",
    is_flag=True,
    help="Exit with status 1 unless every endbox peer is established and nothing is wrong.",
)
@click.option(
    "--peer",
    "wanted",
    metavar="PEER",
    multiple=True,
    help="With --check: this peer has to be established as well. May be repeated.",
)
@json_option
@socket_option
@click.pass_context
def status(
    ctx: click.Context,
    check: bool,
    wanted: tuple[str, ...],
    as_json: bool,
    socket_path: Path | None,
) -> None:
    """The daemon at a glance, and what ails it."""
    if wanted and not check:
        raise click.UsageError("--peer needs --check")
    with connect_to_daemon(socket_path) as client:
        answer = client.status()
        known = client.peers() if check else []
    if as_json:
        output.print_json(answer)
    else:
        _print_status(answer)
    if check:
        down = _not_up(known, wanted)
        for reason in down:
            click.echo(reason, err=True)
        if down or any(warning["severity"] != "notice" for warning in answer["health"]):
            ctx.exit(Exit.NO)


def _not_up(peers: "list[PeerAnswer]", wanted: tuple[str, ...]) -> list[str]:
    """Why a check of the peers fails."""
    from hipgw.control.errors import UnknownPeerError

    needed = [peer for peer in peers if "endbox" in peer["roles"]]
    for text in wanted:
        found = [peer for peer in peers if text in (peer["name"], peer["hit"], peer["lsi"])]
        if not found:
            raise UnknownPeerError(text)
        needed += [peer for peer in found if peer not in needed]
    return [
        f"{peer['name'] or peer['hit']} is not established ({peer['state']})"
        + (f": {peer['last_failure']}" if peer["last_failure"] else "")
        for peer in needed
        if peer["state"] not in UP_STATES
    ]


def _print_status(answer: "StatusAnswer") -> None:
    counts = answer["counts"]
    pairs: dict[str, output.Cell] = {
        "hipgw": f"{answer['version']}, up {output.duration(answer['uptime_s'])}, "
        f"process {answer['pid']}",
        "config": answer["config_file"],
        "roles": ", ".join(answer["roles"]),
    }
    for identity in answer["identities"]:
        old = ", HIP version 1" if identity["version"] == 1 else ""
        # One key has a HIT for each version.
        label = "identity" if "identity" not in pairs else "and"
        pairs[label] = f"{identity['hit']} ({identity['algorithm']}{old})"
        if identity["lsi"]:
            pairs["LSI"] = identity["lsi"]
    pairs["transport"] = (
        f"UDP, port {answer['port']}"
        if answer["transport"] == "udp"
        else "raw, IP protocols 139 and 50"
    )
    pairs["peers"] = f"{counts['established']} established, {counts['peers']} configured"
    if counts["found"]:
        pairs["peers"] = f"{pairs['peers']}, {counts['found']} looked up"
    if answer["profiles"]:
        named = (f"{count} {name}" for name, count in answer["profiles"].items())
        pairs["deviating"] = f"{', '.join(named)} (see docs/compat.md)"
    pairs["associations"] = counts["associations"]
    pairs["SAs"] = counts["security_associations"]
    if "endbox" in answer["roles"]:
        pairs["MAC addresses"] = counts["macs"]
    if router := answer["mobile_router"]:
        outside = ", ".join(one["address"] for one in router["outside"]) or "no address"
        clients = "1 client" if router["clients"] == 1 else f"{router['clients']} clients"
        pairs["mobile router"] = f"{clients}, outside {outside}"
    output.print_pairs(pairs)
    click.echo()
    _print_health(answer["health"])


def _print_health(health: "list[HealthWarning]") -> None:
    if not health:
        click.secho("All is well.", fg="green")
    for warning in health:
        colour = _SEVERITY_COLOURS.get(warning["severity"])
        hint = f" ({warning['hint']})" if warning["hint"] else ""
        click.echo(f"{click.style(warning['severity'], fg=colour)}: {warning['message']}{hint}")


@click.command()
@json_option
@socket_option
def peers(as_json: bool, socket_path: Path | None) -> None:
    """Peers: how they are reached, and when they are called again."""
    with connect_to_daemon(socket_path) as client:
        answers = client.peers()
    if as_json:
        output.print_json(answers)
        return
    output.print_table(
        ("name", "HIT", "HIP", "LSI", "state", "path", "rtt", "for", "next try", "trouble"),
        [
            (
                peer["name"],
                peer["hit"],
                output.hip(peer["version"], peer["compat"]),
                peer["lsi"],
                peer["state"],
                output.path(peer["path"]) or _called_at(peer),
                output.milliseconds(peer["rtt_s"]),
                output.duration(peer["established_s"]),
                output.duration(peer["next_attempt_s"]),
                None if peer["state"] in UP_STATES else peer["last_failure"],
            )
            for peer in answers
        ],
        right=("rtt", "for", "next try"),
    )


def _called_at(peer: "PeerAnswer") -> str | None:
    """Where a peer is called that is not associated."""
    ways = [*(f"by {server}" for server in peer["rendezvous"]), *peer["addresses"]]
    ways += [f"by {relay}" for relay in peer["relays"]]
    return ", ".join(ways) or None


@click.command()
@json_option
@socket_option
def associations(as_json: bool, socket_path: Path | None) -> None:
    """HIP associations: state, path and what was agreed."""
    with connect_to_daemon(socket_path) as client:
        answers = client.associations()
    if as_json:
        output.print_json(answers)
        return
    output.print_table(
        (
            "peer",
            "HIP",
            "state",
            "path",
            "MTU",
            "began",
            "for",
            "DH",
            "HIP cipher",
            "ESP suite",
            "in",
            "out",
        ),
        [
            (
                entry["peer"] or entry["peer_hit"],
                output.hip(entry["version"], entry["compat"]),
                entry["state"],
                output.path(entry["path"]),
                output.path_mtu(entry["path_mtu"], entry["path_mtu_source"]),
                "here" if entry["initiator"] else "there",
                output.duration(entry["age_s"]),
                entry["dh_group"],
                entry["hip_cipher"],
                entry["esp_suite"],
                output.spi(entry["inbound_spi"]),
                output.spi(entry["outbound_spi"]),
            )
            for entry in answers
        ],
        right=("for",),
    )


@click.command("sa")
@json_option
@socket_option
def security_associations(as_json: bool, socket_path: Path | None) -> None:
    """ESP security associations and their counters; never their keys."""
    with connect_to_daemon(socket_path) as client:
        answers = client.security_associations()
    if as_json:
        output.print_json(answers)
        return
    figures = ("packets", "octets", "sequence", "replayed", "forged", "lost", "idle")
    output.print_table(
        ("SPI", "dir", "peer", "suite", "path", *figures),
        [
            (
                output.spi(entry["spi"]),
                entry["direction"],
                entry["peer"] or entry["peer_hit"],
                entry["suite"],
                output.path(entry["path"]),
                entry["packets"],
                entry["bytes"],
                entry["sequence"],
                entry["replayed"],
                entry["auth_failed"],
                entry["lost"],
                output.duration(entry["last_used_s"]),
            )
            for entry in answers
        ],
        right=figures,
    )


@click.command("mac-table")
@json_option
@socket_option
def mac_table(as_json: bool, socket_path: Path | None) -> None:
    """MAC addresses that the endbox has learned from its peers."""
    with connect_to_daemon(socket_path) as client:
        answers = client.mac_table()
    if as_json:
        output.print_json(answers)
        return
    output.print_table(
        ("MAC", "VLAN", "peer", "idle"),
        [
            (
                entry["mac"],
                entry["vlan"] or None,
                entry["peer"] or entry["peer_hit"],
                output.duration(entry["age_s"]),
            )
            for entry in answers
        ],
        right=("VLAN", "idle"),
    )


@click.command()
@click.option("--all", "show_all", is_flag=True, help="Show also what is zero.")
@json_option
@socket_option
def counters(show_all: bool, as_json: bool, socket_path: Path | None) -> None:
    """Everything that is counted, and every reason for which packets were dropped."""
    with connect_to_daemon(socket_path) as client:
        answer = client.counters()
    if as_json:
        output.print_json(answer)
        return
    groups = (
        ("control", answer["control"]),
        ("control-drop", answer["control_drops"]),
        ("dataplane", answer["dataplane"]),
        ("dataplane-drop", answer["dataplane_drops"]),
        ("names", answer["names"]),
    )
    output.print_table(
        ("group", "counter", "count"),
        [
            (group, name, count)
            for group, counts in groups
            for name, count in sorted(counts.items())
            if count or show_all
        ],
        right=("count",),
    )
