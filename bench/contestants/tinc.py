"""tinc."""

import shutil

from contestants.base import Contestant, Ends, bridged, sites
from hipgw.lab import Lab
from hipgw.lab.topologies import underlay_address


class Tinc(Contestant):
    """tinc as a switch."""

    name, program, note = "tinc", "tincd", "L2, AES-128-CBC with HMAC, MTU 1500"
    version_command = ("tincd", "--version")

    def start(self, lab: Lab) -> Ends:
        gateways, lans = sites(lab)
        folders = []
        for n, gateway in enumerate(gateways, 1):
            folder = gateway.directory / f"tinc-{n}"
            (folder / "hosts").mkdir(parents=True)
            (folder / "tinc.conf").write_text(
                f"Name=g{n}\nMode=switch\nInterface=tap0\nDeviceType=tap\nConnectTo=g{3 - n}\n"
            )
            (folder / "hosts" / f"g{n}").write_text(
                f"Address={underlay_address(n, 4)}\nCipher=aes-128-cbc\nDigest=sha256\n"
            )
            gateway.run(["tincd", "-c", folder, "-K2048"], text="\n\n\n")
            folders.append(folder)
        for n, folder in enumerate(folders, 1):
            other = folders[2 - n] / "hosts" / f"g{3 - n}"
            shutil.copy(other, folder / "hosts" / f"g{3 - n}")
        for gateway, folder in zip(gateways, folders, strict=True):
            gateway.popen(["tincd", "-D", "-c", folder, f"--pidfile={folder / 'pid'}"])
        return bridged(gateways, lans, mtu=1500)
