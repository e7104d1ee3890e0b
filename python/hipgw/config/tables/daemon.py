"""`[daemon]`: how the daemon runs on this machine."""

from pathlib import Path

from pydantic import Field

from hipgw.config.fields import FilePath, SocketPath
from hipgw.config.names import LogFormat, LogLevel
from hipgw.config.tables.base import Table


class DaemonConfig(Table):
    """How the daemon runs on this machine."""

    user: str = Field(
        default="nobody",
        min_length=1,
        max_length=32,
        description="The user to become once interfaces and sockets are open; CAP_NET_ADMIN and "
        "CAP_NET_RAW are kept, and CAP_SYS_NICE for `esp.realtime` where RLIMIT_RTPRIO may not be "
        "raised instead. `root` changes nothing.",
    )
    state_dir: FilePath = Field(
        default=Path("/run/hipgw"),
        description="Folder of the record of what was changed on the system, by which the next "
        "start cleans up after a crash.",
    )
    control_socket: SocketPath = Field(
        default=Path("/run/hipgw/control.sock"),
        description="The Unix socket that `hipgw status` and the other commands talk to.",
    )
    control_group: str | None = Field(
        default=None,
        min_length=1,
        max_length=32,
        description="The group whose members may use the control socket; default: the daemon's.",
    )
    log_format: LogFormat = Field(
        default=LogFormat.AUTO,
        description="`human` is for reading, in colour on a terminal; `text` is `key=value` pairs, "
        "`json` an object, one line each; `auto` is `human` on a terminal and else `text`.",
    )
    log_level: LogLevel = Field(
        default=LogLevel.INFO, description="The least severe records to write."
    )
