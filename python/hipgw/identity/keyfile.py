"""Private key files: PEM, PKCS #8, mode 0600."""

import os
import stat
import tempfile
from pathlib import Path

from hipgw.errors import IdentityError
from hipgw.identity.host_identity import LocalIdentity

_MODE = 0o600
_SIZE_MAX_BYTES = 64 * 1024


def load_key_file(
    path: str | os.PathLike[str], version: int = 2, *, weak_keys: bool = False
) -> LocalIdentity:
    """Read a private key; IdentityError names the file and says what is wrong.

    *version* is that of HIP; *weak_keys* allows shorter RSA keys in HIPv1 (see `LocalIdentity`).
    A file that its group or others can read is refused: the key may be known to them already.
    """
    path = Path(path)
    try:
        data = read_private_file(path)
    except FileNotFoundError:
        raise IdentityError(
            f"{path}: there is no key file", hint=f"make one with: hipgw keygen {path}"
        ) from None
    try:
        return LocalIdentity.from_pem(data, version, weak_keys=weak_keys)
    except IdentityError as error:
        raise IdentityError(f"{path}: {error}", hint=error.hint) from None


def read_private_file(path: Path) -> bytes:
    """Read a file that holds a secret.

    Raises IdentityError for one that cannot be read, is no regular file, or that its group or
    others can read: the secret may be known to them already. FileNotFoundError if there is none.
    Errors quote nothing of it.
    """
    try:
        # O_NONBLOCK: a FIFO in the file's place must not hang the daemon.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise IdentityError(f"{path}: the key file cannot be read: {error.strerror}") from None
    try:
        _check_key_file(path, os.fstat(descriptor))
        return _read_all(descriptor)
    finally:
        os.close(descriptor)


def save_key_file(
    path: str | os.PathLike[str], identity: LocalIdentity, *, overwrite: bool = False
) -> None:
    """Write a private key; see `write_private_file`."""
    write_private_file(Path(path), identity.to_pem(), overwrite=overwrite)


def write_private_file(path: Path, data: bytes, *, overwrite: bool = False) -> None:
    """Write a private key so that nobody else can read it and a crash leaves no half of it.

    Raises IdentityError if the file exists (unless `overwrite`) or cannot be written.
    """
    temporary = ""
    try:
        # mkstemp makes the file with mode 0600 before anything is in it.
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, _MODE)
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        if overwrite:
            Path(temporary).replace(path)
        else:
            os.link(temporary, path)
        _sync_directory(path.parent)
    except FileExistsError:
        raise IdentityError(
            f"{path}: the key file exists already",
            hint="a lost key is a lost identity: move the file away, or ask for it to be replaced",
        ) from None
    except OSError as error:
        raise IdentityError(f"{path}: the key file cannot be written: {error.strerror}") from None
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)


def _check_key_file(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise IdentityError(f"{path}: the key file is not a regular file")
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise IdentityError(
            f"{path}: the key file is open to others (mode {stat.S_IMODE(status.st_mode):04o})",
            hint=f"chmod 600 {path}",
        )
    if status.st_size > _SIZE_MAX_BYTES:
        raise IdentityError(f"{path}: {status.st_size} bytes are too many for a key file")


def _read_all(descriptor: int) -> bytes:
    data = b""
    while len(data) < _SIZE_MAX_BYTES and (part := os.read(descriptor, _SIZE_MAX_BYTES)):
        data += part
    return data


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
