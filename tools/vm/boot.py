#!/usr/bin/env python3
"""Run a command on another kernel: Debian's own, in a virtual machine with this root file system.

    tools/vm/boot.py [--memory MB] [--timeout SECONDS] [--] COMMAND [ARGUMENT ...]

The machine's root is the one of the caller, shared read-only over 9p; what is written there goes to
memory and is gone with the machine. Python, hipgw and its tests are copied to memory beforehand, as
they are many files. COMMAND runs as root in the current directory, with its output
here; the exit status is its own. The kernel comes as a package that is unpacked below build/vm and
not installed. QEMU emulates the processor, ten to twenty times slower than it is, unless --kvm is
given.

No part of the host is changed, except for the package of QEMU, which is installed if it is missing
(the rest is unpacked below build/vm as well).
"""

import argparse
import contextlib
import itertools
import os
import platform
import re
import shlex
import shutil
import stat
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / "build" / "vm"
STDLIB = Path(sysconfig.get_path("stdlib"))
INIT = Path(__file__).with_name("init.sh")

QEMU = "qemu-system-x86_64"
QEMU_PACKAGE = "qemu-system-x86"
KERNEL_PACKAGE = "linux-image-amd64"
"""Not its smaller sister for clouds: that one has no 9p."""
BUSYBOX_PACKAGE = "busybox-static"

BOOT_MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay", "virtio_rng")
"""Loaded before there is a root file system; all others come from there when they are needed."""
COPIED = (".venv", "python", "tests")
"""Folders of the project that are copied to the machine's memory."""
LEFT_OUT = re.compile(
    r"(pip|mypy.*|.*__mypyc\..*|Cython|setuptools|ruff|maturin|test|lib2to3|idlelib|tkinter"
    r"|config-.*|dist-packages|SelfTest)$"
)
"""Names of files and folders in them that no test needs."""

STATUS = re.compile(r"^hipgw-vm: status (\d+)\s*$")
NO_STATUS = 125
TIMED_OUT = 124


class CannotBootError(Exception):
    """What is missing, for people."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--memory", type=int, default=2048, help="megabytes")
    parser.add_argument("--timeout", type=float, default=1800.0, help="seconds")
    parser.add_argument(
        "--kvm",
        action="store_true",
        help="let the processor run it, where that works; much faster",
    )
    parser.add_argument(
        "--copy", type=Path, action="append", default=[], help="one more folder to copy"
    )
    parser.add_argument("--verbose", action="store_true", help="show what the kernel says, too")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    try:
        return boot(options)
    except CannotBootError as error:
        print(f"The virtual machine cannot be started: {error}", file=sys.stderr)
        return NO_STATUS


def boot(options: argparse.Namespace) -> int:
    """Start the machine, show what the command says, and return the command's status."""
    if platform.machine() != "x86_64":
        raise CannotBootError("it is made for x86-64 only.")
    if os.geteuid():
        raise CannotBootError("root is needed. Try: sudo make test-vm")
    install()
    kernel, modules = unpack(KERNEL_PACKAGE, "boot/vmlinuz-*"), "lib/modules/*"
    version = next(kernel.parents[1].glob(modules)).name
    busybox = unpack(BUSYBOX_PACKAGE, "bin/busybox")
    tree = kernel.parents[1]
    if not (tree / "lib/modules" / version / "modules.dep").exists():
        run([busybox, "depmod", "-b", tree, version])
    archive = CACHE / "initramfs.cpio"
    folders = [STDLIB, *(ROOT / name for name in COPIED)]
    folders += [folder.absolute() for folder in options.copy]
    write_initramfs(
        archive,
        tree / "lib/modules" / version,
        busybox,
        [folder for folder in folders if folder.is_dir()],
    )
    (CACHE / "command").write_text(
        f"cd {shlex.quote(str(Path.cwd()))} && exec {shlex.join(options.command)}\n"
    )
    # Guards against faults of a real processor, and tests of ciphers, cost much on a slow one.
    kernel_options = ["console=ttyS0", "panic=-1", "mitigations=off", "cryptomgr.notests"]
    # On a busy machine the timer is late, which the kernel takes for a fault and panics.
    kernel_options.append("no_timer_check")
    kernel_options += [] if options.verbose else ["quiet", "loglevel=3"]
    command = [
        *("nice", "-n", "15", QEMU, "-nodefaults", "-no-user-config", "-no-reboot"),
        *("-display", "none", "-serial", "stdio", "-monitor", "none"),
        *("-machine", "q35", "-cpu", "max,la57=off", "-smp", "2", "-m", str(options.memory)),
        *("-accel", "kvm" if options.kvm else "tcg,thread=multi"),
        *("-kernel", str(kernel), "-initrd", str(archive)),
        *("-append", " ".join(kernel_options)),
        *("-fsdev", "local,id=root,path=/,security_model=none,readonly=on,multidevs=remap"),
        *("-device", "virtio-9p-pci,fsdev=root,mount_tag=root"),
        *("-device", "virtio-rng-pci"),
    ]
    machine = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    late = threading.Event()

    def end() -> None:
        late.set()
        machine.kill()

    watch = threading.Timer(options.timeout, end)
    watch.start()
    status = NO_STATUS
    try:
        assert machine.stdout is not None
        for raw in machine.stdout:
            line = raw.decode(errors="replace").rstrip("\r\n")
            if match := STATUS.match(line):
                status = int(match[1])
            else:
                print(line, flush=True)
        machine.wait()
    finally:
        watch.cancel()
        with contextlib.suppress(ProcessLookupError):
            machine.kill()
        machine.wait()
    if late.is_set():
        print(f"The virtual machine was ended after {options.timeout:g} s.", file=sys.stderr)
        return TIMED_OUT
    if status == NO_STATUS:
        print("The virtual machine ended before the command did.", file=sys.stderr)
    return status


def install() -> None:
    """Install QEMU unless it is there."""
    if shutil.which(QEMU):
        return
    print(f"Installing {QEMU_PACKAGE}", flush=True)
    run(["apt-get", "update", "-qq"], check=False)
    run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", QEMU_PACKAGE])


def unpack(package: str, wanted: str) -> Path:
    """Fetch and unpack a package below build/vm, once; the path of a file in it."""
    place = CACHE / package
    if not (place / ".complete").exists():
        print(f"Fetching {package}", flush=True)
        shutil.rmtree(place, ignore_errors=True)
        (place / "fetched").mkdir(parents=True)
        name = depends(package) if package == KERNEL_PACKAGE else package
        run(["apt-get", "update", "-qq"], check=False)
        # By apt's own user it could not be written here.
        run(
            ["apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", name],
            folder=place / "fetched",
        )
        run(["dpkg-deb", "-x", next((place / "fetched").glob("*.deb")), place])
        shutil.rmtree(place / "fetched")
        (place / ".complete").touch()
    found = sorted(place.glob(wanted))
    if not found:
        raise CannotBootError(f"the package {package} has no {wanted}.")
    return found[-1]


def depends(package: str) -> str:
    """The package with a version in its name that a package without one stands for."""
    shown = run(["apt-cache", "depends", package])
    match = re.search(r"Depends: (linux-image-\S+)", shown)
    if match is None:
        raise CannotBootError(f"apt knows no package {package}.")
    return match[1]


def write_initramfs(archive: Path, modules: Path, busybox: Path, copied: list[Path]) -> None:
    """The first root file system: busybox, the modules to reach the real one, and init.

    What lies in the *copied* folders stands below /copied there, and their names in /copies.
    """
    files: dict[str, tuple[int, bytes]] = {
        "init": (0o755, INIT.read_bytes()),
        "bin/busybox": (0o755, busybox.read_bytes()),
        "cache": (0o644, f"{CACHE}\n".encode()),
        "copies": (0o644, "".join(f"{folder}\n" for folder in copied).encode()),
        "tree": (0o644, f"{modules.parents[2]}\n".encode()),
    }
    needed = dependencies(modules, BOOT_MODULES)
    files["modules"] = (0o644, "".join(f"/m/{file.name}\n" for file in needed).encode())
    files |= {f"m/{file.name}": (0o644, file.read_bytes()) for file in needed}
    folders = ["bin", "m", "dev", "proc", "sys", "host", "new"]
    folders += sorted({f"copied{part}" for one in copied for part in (*one.parents, one)}, key=len)
    numbers = itertools.count(1)
    with archive.open("wb") as out:
        for name in folders:
            out.write(cpio_entry(next(numbers), name.rstrip("/"), stat.S_IFDIR | 0o755, b""))
        for name, (mode, data) in files.items():
            out.write(cpio_entry(next(numbers), name, stat.S_IFREG | mode, data))
        for path in itertools.chain.from_iterable(below(folder) for folder in copied):
            mode = path.lstat().st_mode
            data = b""
            if stat.S_ISLNK(mode):
                data = os.fsencode(path.readlink())
            elif stat.S_ISREG(mode):
                data = path.read_bytes()
            # By its age Python tells whether what it has compiled is that of a file.
            modified = int(path.lstat().st_mtime)
            out.write(cpio_entry(next(numbers), f"copied{path}", mode, data, modified))
        out.write(cpio_entry(0, "TRAILER!!!", 0, b""))


def below(folder: Path) -> Iterator[Path]:
    """Everything in a folder that is to be copied, each folder before what is in it."""
    for path in sorted(folder.iterdir()):
        mode = path.lstat().st_mode
        others = path.name == "site-packages" and folder == STDLIB
        if (
            others
            or LEFT_OUT.match(path.name)
            or not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode))
        ):
            continue
        yield path
        if stat.S_ISDIR(mode):
            yield from below(path)


def dependencies(modules: Path, names: tuple[str, ...]) -> list[Path]:
    """Files of kernel modules, each behind those that it needs; what is built in is left out."""
    lines = (modules / "modules.dep").read_text().splitlines()
    needs = {line.partition(":")[0]: line.partition(":")[2].split() for line in lines}
    by_name = {Path(path).name.partition(".")[0].replace("-", "_"): path for path in needs}
    ordered: list[str] = []

    def add(path: str) -> None:
        for other in needs[path]:
            add(other)
        if path not in ordered:
            ordered.append(path)

    for name in names:
        if name in by_name:
            add(by_name[name])
    return [modules / path for path in ordered]


def cpio_entry(number: int, name: str, mode: int, data: bytes, modified: int = 0) -> bytes:
    """One entry of a cpio archive of the kind that the kernel reads ("newc")."""
    encoded = name.encode() + b"\0"
    fields = (number, mode, 0, 0, 1, modified, len(data), 0, 0, 0, 0, len(encoded), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)


def run(command: list[str | Path], *, check: bool = True, folder: Path | None = None) -> str:
    """Run a program and return what it printed; CannotBootError with what it said if it fails."""
    words = [str(word) for word in command]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, check=False, env=environment, cwd=folder
        )
    except FileNotFoundError:
        raise CannotBootError(f"there is no {words[0]}; this needs Debian.") from None
    if check and done.returncode:
        raise CannotBootError(f"{shlex.join(words)}: {done.stderr.strip()}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
