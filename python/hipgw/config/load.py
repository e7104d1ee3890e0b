"""Reads hipgw.toml, and says what is wrong with it in words that help."""

import grp
import os
import pwd
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hipgw.config.complaints import problems_of
from hipgw.config.fields import BASE_DIRECTORY
from hipgw.config.names import HipVersionName
from hipgw.config.problems import Problem
from hipgw.config.schema import Config
from hipgw.errors import ConfigError, IdentityError
from hipgw.identity.host_identity import LocalIdentity
from hipgw.identity.keyfile import load_key_file

FILE_LIMIT_BYTES = 64 * 1024 * 1024
"""A configuration that is larger is something else; 65,536 peers need about 12 MB."""

SHOWN_PROBLEMS = 20
"""Most problems that one error text lists."""


class InvalidConfigError(ConfigError):
    """The file can be read, but breaks rules; `problems` has all of them."""

    def __init__(self, path: Path, problems: tuple[Problem, ...]) -> None:
        self.path = path
        self.problems = problems
        if len(problems) == 1:
            super().__init__(_line(path, problems[0]), hint=problems[0].hint)
            return
        lines = []
        for problem in problems[:SHOWN_PROBLEMS]:
            lines.append(_line(path, problem) + (f" ({problem.hint})" if problem.hint else ""))
        if len(problems) > SHOWN_PROBLEMS:
            lines.append(f"… and {len(problems) - SHOWN_PROBLEMS} more")
        super().__init__("\n".join(lines))


def _line(path: Path, problem: Problem) -> str:
    return ": ".join(part for part in (str(path), problem.key, problem.what) if part)


def load(path: Path | str, *, add: Iterable[str] = ()) -> Config:
    """Read and check a configuration file. Raises ConfigError.

    *add* are tables that are taken to be there, if only empty: roles to be turned on.

    Relative paths in it start from its folder. The key file, the user and the group that it
    names have to exist; nothing else of the system is looked at.
    """
    path = Path(path)
    table = _parse(path, _read(path))
    for name in add:
        table.setdefault(name, {})
    # Resolved, because the daemon may change its working directory.
    context = {BASE_DIRECTORY: path.absolute().parent}
    try:
        config = Config.model_validate(table, context=context)
    except ValidationError as error:
        raise InvalidConfigError(path, problems_of(error, table)) from None
    problems = _missing_on_this_system(config)
    if problems:
        raise InvalidConfigError(path, problems)
    return config


def load_identities(config: Config, path: Path | str) -> tuple[LocalIdentity, ...]:
    """Read the keys that a configuration file names: an identity for each version of HIP spoken.

    That of the preferred version comes first. Checks that no peer has the same one. Raises
    IdentityError for a key file that cannot be used, ConfigError for such a peer.
    """
    identities = tuple(_load(config, version) for version in config.spoken)
    hits = {identity.hit for identity in identities}
    for index, peer in enumerate(config.peers):
        for key, hit in (("hit", peer.hit), ("hit_v1", peer.hit_v1)):
            if hit in hits:
                problem = Problem(
                    f"peer[{index}].{key}",
                    f"{hit} is the HIT of this machine itself",
                    f"`hipgw id` on {peer.name} shows its own",
                )
                raise InvalidConfigError(Path(path), (problem,))
    return identities


def load_identity(config: Config, path: Path | str) -> LocalIdentity:
    """The first of `load_identities`."""
    return load_identities(config, path)[0]


def _load(config: Config, version: HipVersionName) -> LocalIdentity:
    own = config.identity
    if version is HipVersionName.V2:
        return load_key_file(own.key_file)
    try:
        return load_key_file(
            own.key_file_v1 or own.key_file, version.wire_id, weak_keys=config.hip.v1.weak_keys
        )
    except IdentityError as error:
        if own.key_file_v1 is not None:
            raise
        raise IdentityError(
            f"{error}, and HIP version 1 is spoken",
            hint="name an RSA key for it with identity.key_file_v1; `hipgw keygen --type rsa2048` "
            "makes one",
        ) from None


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(FILE_LIMIT_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: no such file", hint="give the file's name with --config FILE"
        ) from None
    except PermissionError:
        raise ConfigError(
            f"{path}: not readable by this user", hint="run as root, or change the file's mode"
        ) from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from None
    if len(data) > FILE_LIMIT_BYTES:
        raise ConfigError(f"{path}: larger than {FILE_LIMIT_BYTES >> 20} MB")
    return data


def _parse(path: Path, data: bytes) -> dict[str, Any]:
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{path}: line {line}: not UTF-8 text", hint="save the file in UTF-8"
        ) from None
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        # tomllib's text ends with "(at line 3, column 7)" or "(at end of document)".
        raise ConfigError(f"{path}: {error}", hint=_syntax_hint(str(error))) from None
    except RecursionError:
        raise ConfigError(f"{path}: tables or lists are nested too deeply") from None


def _syntax_hint(message: str) -> str:
    if "Cannot declare" in message:
        return "each table is written once; several peers are [[peer]], with double brackets"
    if "Cannot overwrite a value" in message:
        return "the key is there already"
    if message.endswith("(at end of document)"):
        return "a value is missing, or a list or text is not closed; texts stand in double quotes"
    if "Invalid value" in message:
        return "texts stand in double quotes; true and false in small letters"
    return "see https://toml.io for the format"


def _missing_on_this_system(config: Config) -> tuple[Problem, ...]:
    problems = [
        problem
        for key in ("key_file", "key_file_v1")
        if (key_file := getattr(config.identity, key)) is not None
        and (problem := _key_file_problem(f"identity.{key}", key_file)) is not None
    ]
    try:
        pwd.getpwnam(config.daemon.user)
    except KeyError:
        problems.append(
            Problem(
                "daemon.user",
                f"this system has no user {config.daemon.user!r}",
                f"`useradd --system {config.daemon.user}` makes one",
            )
        )
    if config.daemon.control_group is not None:
        try:
            grp.getgrnam(config.daemon.control_group)
        except KeyError:
            problems.append(
                Problem(
                    "daemon.control_group",
                    f"this system has no group {config.daemon.control_group!r}",
                    f"`groupadd --system {config.daemon.control_group}` makes one",
                )
            )
    return tuple(problems)


def _key_file_problem(key: str, key_file: Path) -> Problem | None:
    if not key_file.is_file():
        if key_file.exists():
            return Problem(key, f"{key_file}: not a file", "name the file that has the key")
        return Problem(key, f"{key_file}: no such file", f"`hipgw keygen {key_file}` makes one")
    if not os.access(key_file, os.R_OK):
        return Problem(key, f"{key_file}: not readable by this user", "run as its owner")
    return None
