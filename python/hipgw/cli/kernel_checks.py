"""What `hipgw doctor` says about the kernel's own ESP, which `esp.backend = "kernel"` needs."""

from collections.abc import Iterator

from hipgw.cli.findings import Finding, Verdict
from hipgw.errors import HipgwError

_ENGINE = 'hipgw\'s own engine needs none of it: esp.backend = "engine"'


def kernel_esp(*, needed: bool) -> Iterator[Finding]:
    """Try it; what is missing is bad only where a configuration has *needed* it."""
    lacking: Verdict = "bad" if needed else "slow"
    try:
        from hipgw.dataplane.kernel_suites import trials
        from hipgw.platform import xfrm_features

        found = xfrm_features.features(trials())
    except (HipgwError, OSError) as error:
        yield Finding("kernel ESP", lacking, f"not tried: {error}", "run hipgw doctor as root")
        return

    def finding(name: str, there: bool, meaning: str, hint: str = _ENGINE) -> Finding:
        if there:
            return Finding(name, "good", f"there: {meaning}")
        return Finding(name, lacking, f"missing: {meaning}", hint)

    for version in found.esp:
        label, module = f"kernel ESP, IPv{version}", f"modprobe esp{version}"
        yield finding(label, found.esp[version], "ESP (CONFIG_INET_ESP)", f"{module}; {_ENGINE}")
        if not found.esp[version]:
            continue
        meaning = "BEET mode, HITs inside (RFC 7402 appendix B)"
        yield finding(f"kernel BEET, IPv{version}", found.beet[version], meaning)
        meaning = "ESP in UDP (RFC 3948)"
        yield finding(f"kernel UDP, IPv{version}", found.udp[version], meaning)
    if any(found.beet.values()):
        for name, there in found.algorithms.items():
            yield finding(f"kernel {name}", there, "ESP suite with 64-bit sequence numbers")
