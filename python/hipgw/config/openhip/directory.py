"""Folders with OpenHIP's files: into hipgw.toml and key files, and back."""

import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from ipaddress import IPv6Address, ip_address
from pathlib import Path

import tomli_w
from cryptography.hazmat.primitives.asymmetric import dsa, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from hipgw.config.load import load
from hipgw.config.openhip.conf import HipConf, emit_conf, read_conf
from hipgw.config.openhip.exporting import Exported, export, public_self
from hipgw.config.openhip.hosts import (
    Hosts,
    emit_known_hosts,
    emit_my_hosts,
    read_known_hosts,
    read_my_hosts,
)
from hipgw.config.openhip.import_run import Note
from hipgw.config.openhip.importing import HIPGW_KEY, Imported, translate
from hipgw.config.openhip.keys import KeyNumbers
from hipgw.config.schema import Config
from hipgw.errors import ConfigError, IdentityError
from hipgw.identity.host_identity import LocalIdentity
from hipgw.identity.keyfile import load_key_file, save_key_file

CONF_FILE = "hip.conf"
KNOWN_HOSTS_FILE = "known_host_identities.xml"
MY_HOSTS_FILE = "my_host_identities.xml"
PUBLIC_SUFFIX = "_host_identities.pub.xml"
CONFIG_FILE = "hipgw.toml"

PRIVATE = 0o600
PUBLIC = 0o644
_KEY_TEXT_MAX = 8192
_HEADER = """\
# Made from OpenHIP's files by `hipgw import openhip`; edit it as you like.

"""


SYSTEM_FOLDERS = (Path("/usr/local/etc/hip"), Path("/etc/hip"))
"""Where OpenHIP's files are: as it is built by default, and as packages have it."""


@dataclass(frozen=True, slots=True)
class OpenHipFiles:
    """Where the three files are; of the first two, none need be there."""

    conf: Path
    known: Path
    mine: Path

    @classmethod
    def in_folder(cls, folder: Path) -> "OpenHipFiles":
        """Those of one folder."""
        return cls(folder / CONF_FILE, folder / KNOWN_HOSTS_FILE, folder / MY_HOSTS_FILE)

    @classmethod
    def located(cls, folders: Iterable[Path]) -> "OpenHipFiles":
        """Each in the first folder that has it, as OpenHIP looks for them."""
        places = list(folders)

        def locate(name: str) -> Path:
            found = (folder / name for folder in places if (folder / name).is_file())
            return next(found, places[-1] / name)

        return cls(locate(CONF_FILE), locate(KNOWN_HOSTS_FILE), locate(MY_HOSTS_FILE))


def translate_files(files: OpenHipFiles, *, ports: Iterable[str] = ()) -> Imported:
    """What OpenHIP's files come to; nothing is written. Raises OpenHipFileError."""
    mine = read_my_hosts(files.mine)
    known = read_known_hosts(files.known) if files.known.exists() else Hosts()
    conf = read_conf(files.conf) if files.conf.exists() else HipConf()
    result = translate(conf, known, mine, my_file=files.mine, ports=ports)
    without = {files.conf: "OpenHIP then takes its defaults", files.known: "no peer is known then"}
    missing = [
        Note(file.name, f"{file} is not there; {meaning}")
        for file, meaning in without.items()
        if not file.exists()
    ]
    return replace(result, notes=(*missing, *result.notes))


def import_directory(
    folder: Path, output: Path, *, ports: Iterable[str] = (), force: bool = False
) -> Imported:
    """Turn OpenHIP's files in `folder` into hipgw.toml and key files in `output`.

    The new identity for version 2 is made if it is not there. Raises ConfigError if a file cannot
    be read or written, or is in the way: hipgw.toml is replaced with `force`, a key never.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder", hint="name the one with OpenHIP's files")
    result = translate_files(OpenHipFiles.in_folder(folder), ports=ports)
    save(result, output, force=force)
    return result


def save(
    result: Imported, output: Path, *, force: bool = False, replace_keys: bool = False
) -> None:
    """Write what was translated; see `import_directory`.

    With `replace_keys` a key in the way is replaced too: for folders without anything else in them.
    """
    config_file = output / CONFIG_FILE
    if config_file.exists() and not force:
        raise ConfigError(
            f"{config_file}: exists already", hint="choose another --output, or give --force"
        )
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{output}: cannot be made: {error.strerror}") from None
    for name, key in result.keys.items():
        _save_key(output / name, key, replace_it=replace_keys)
    if not (output / HIPGW_KEY).exists():
        with _config_errors():
            save_key_file(output / HIPGW_KEY, LocalIdentity.generate("ecdsa-p256"))
    for name, octets in result.multicast_keys.items():
        write_file(output / name, f"{octets.hex()}\n".encode(), PRIVATE)
    write_file(config_file, (_HEADER + tomli_w.dumps(result.table)).encode(), PRIVATE)


@contextmanager
def _config_errors() -> Iterator[None]:
    """Errors of key files as those of the configuration that they belong to."""
    try:
        yield
    except IdentityError as error:
        raise ConfigError(str(error), hint=error.hint) from None


def _save_key(file: Path, key: rsa.RSAPrivateKey | dsa.DSAPrivateKey, *, replace_it: bool) -> None:
    if file.exists() and not replace_it:
        if load_key(file).public_only() == KeyNumbers.of(key).public_only():
            return
        raise ConfigError(
            f"{file}: is another key already", hint="choose another --output, or move it away"
        )
    with _config_errors():
        save_key_file(file, LocalIdentity(key, 1, weak_keys=True), overwrite=replace_it)


def load_key(file: Path) -> KeyNumbers:
    """The numbers of an RSA or DSA key in a PEM file. Raises ConfigError."""
    with _config_errors():
        # It checks the file's mode, and says what is wrong with it.
        pem = load_key_file(file, 1, weak_keys=True).to_pem()
    key = load_pem_private_key(pem, password=None)
    if not isinstance(key, rsa.RSAPrivateKey | dsa.DSAPrivateKey):
        raise ConfigError(f"{file}: is no RSA or DSA key, and OpenHIP has no others")
    return KeyNumbers.of(key)


def write_file(file: Path, data: bytes, mode: int) -> None:
    """Write a file in one step, so that a crash leaves no half of it."""
    temporary = ""
    try:
        # mkstemp makes the file with mode 0600 before anything is in it.
        descriptor, temporary = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
        with os.fdopen(descriptor, "wb") as stream:
            os.fchmod(descriptor, mode)
            stream.write(data)
        Path(temporary).replace(file)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise ConfigError(f"{file}: cannot be written: {error.strerror or error}") from None


# -- the way back ---------------------------------------------------------------------------------


def export_config(config: Config, *, name: str = "", default_name: str = "") -> Exported:
    """OpenHIP's files for a configuration, private keys included. Raises ConfigError.

    `name` is what this machine is called there; without one it keeps the name that it was imported
    with, or else gets `default_name`.
    """
    return export(
        config,
        own_hit(config),
        load_key,
        name=name,
        default_name=default_name,
        multicast_key=_multicast_key(config),
    )


def export_directory(
    config_file: Path,
    folder: Path,
    *,
    private: bool = False,
    name: str = "",
    default_name: str = "",
    addresses: Iterable[str] = (),
    default_addresses: Iterable[str] = (),
) -> list[Path]:
    """Write OpenHIP's files for a configuration into a folder; returns them.

    The public ones: the known hosts, hip.conf, and this machine's own entry for those of the other
    machines, with `addresses`, or those that it was imported with, or `default_addresses`. With
    `private` also the own identities with their private keys, and the multicast key in hip.conf.
    Raises ConfigError.
    """
    config = load(config_file)
    hit = own_hit(config)
    exported = export_config(config, name=name, default_name=default_name)
    shown = public_self(exported, hit, tuple(ip_address(text) for text in addresses))
    if not shown.hosts[0].addresses:
        own = replace(shown.hosts[0], addresses=tuple(map(ip_address, default_addresses)))
        shown = Hosts((own,))
    conf = exported.conf
    if not private:
        given = tuple(tag for tag in conf.given if tag != "multicast_key")
        conf = replace(conf, multicast_key=b"", given=given)
    word = re.sub(r"[^A-Za-z0-9_.-]", "-", shown.hosts[0].name).lstrip(".-") or "hipgw"
    files: list[tuple[str, bytes, int]] = [
        (KNOWN_HOSTS_FILE, emit_known_hosts(exported.known), PUBLIC),
        (CONF_FILE, emit_conf(conf), PRIVATE if private else PUBLIC),
        (f"{word}{PUBLIC_SUFFIX}", emit_known_hosts(shown), PUBLIC),
    ]
    if private:
        files.append((MY_HOSTS_FILE, emit_my_hosts(exported.mine), PRIVATE))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be made: {error.strerror}") from None
    for file, data, mode in files:
        write_file(folder / file, data, mode)
    return [folder / file for file, _, _ in files]


def own_hit(config: Config) -> IPv6Address:
    """The own HIT in version 1. Raises ConfigError if there is none."""
    file = config.identity.key_file_v1 or config.identity.key_file
    try:
        return load_key_file(file, 1, weak_keys=True).hit
    except IdentityError as error:
        raise ConfigError(
            str(error),
            hint=error.hint or "OpenHIP has RSA and DSA keys: name one with identity.key_file_v1",
        ) from None


def _multicast_key(config: Config) -> bytes:
    """The key of the multicast group, whole if [openhip] has more of it than [endbox]."""
    file = config.openhip.multicast_key if config.openhip is not None else None
    if file is None and config.endbox is not None:
        file = config.endbox.multicast_key
    if file is None:
        return b""
    try:
        with file.open("rb") as stream:
            text = stream.read(_KEY_TEXT_MAX)
        return bytes.fromhex(b"".join(text.split()).removeprefix(b"0x").decode("ascii"))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror or error}") from None
    except ValueError:
        raise ConfigError(f"{file}: holds no octets in hexadecimal digits") from None
