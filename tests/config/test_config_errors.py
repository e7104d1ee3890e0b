"""A catalogue of mistakes in hipgw.toml, and what is said about each."""

from pathlib import Path

import pytest

from hipgw.config.load import InvalidConfigError, load
from hipgw.errors import ConfigError

IDENTITY = '[identity]\nkey_file = "host.pem"\n'
HIT_B = "2001:22:5c2a:9d1e:47b0:9e6c:1f2d:3a4b"
HIT_C = "2001:21:1111:2222:3333:4444:5555:6666"
PEER_B = f'[[peer]]\nname = "b"\nhit = "{HIT_B}"\n'
PEER_C = f'[[peer]]\nname = "c"\nhit = "{HIT_C}"\n'
HIT_V1 = "2001:11:1111:2222:3333:4444:5555:6666"
PEER_V1 = f'[[peer]]\nname = "d"\nhit = "{HIT_V1}"\n'
HOST = "[host]\n"

MISTAKES = [
    # (what stands in the file after [identity], key, part of the text, part of the hint)
    ("", "", "turns no role on", "[host]"),
    ("[endbox]\n", "endbox", "nobody to share", "[[peer]]"),
    (HOST + "[hip]\nprot = 1\n", "hip.prot", "unknown key", "'port'"),
    (HOST + "[hpi]\nport = 1\n", "hpi", "unknown key", "'hip'"),
    (HOST + "[esp]\nport = 1\n", "esp.port", "unknown key", "[hip]"),
    (HOST + "port = 1\n", "host.port", "unknown key", "[[peer]]"),
    (HOST + "[hip]\nhost = 1\n", "hip.host", "unknown key", "table of its own"),
    (HOST + "[hip]\nzzzzzz = 1\n", "hip.zzzzzz", "unknown key", "known here: port"),
    (HOST + '[hip]\nport = "10500"\n', "hip.port", "whole number", "without quotes"),
    (HOST + "[hip]\nport = 1.5\n", "hip.port", "whole number", ""),
    (HOST + "[hip]\nport = true\n", "hip.port", "not true", ""),
    (HOST + "[hip]\nport = 0\n", "hip.port", "between 1 and 65535", ""),
    (HOST + "[hip]\nport = 65536\n", "hip.port", "is 65536", ""),
    (HOST + '[hip]\ntransport = "UDP"\n', "hip.transport", "'udp', 'raw'", "'udp'"),
    (HOST + "[hip]\ntransport = 17\n", "hip.transport", "text in quotes", ""),
    (HOST + "[hip]\nopportunistic = 1\n", "hip.opportunistic", "true or false", ""),
    (HOST + '[hip]\naccept = "peer"\n', "hip.accept", "'peers', 'any'", "'peers'"),
    (HOST + '[hip]\ndh_groups = ["P384"]\n', "hip.dh_groups[0]", "not one of", "'P-384'"),
    (HOST + "[hip]\ndh_groups = []\n", "hip.dh_groups", "is empty", "Diffie-Hellman"),
    (HOST + '[hip]\ndh_groups = "P-384"\n', "hip.dh_groups", "a list", '["P-384"]'),
    (HOST + '[hip]\ndh_groups = ["P-384", "P-384"]\n', "hip.dh_groups", "listed twice", ""),
    (HOST + '[hip]\nesp_suites = ["AES-GCM"]\n', "hip.esp_suites[0]", "AES-128-GCM-16", "AES-128"),
    (HOST + "[hip]\nretransmit_s = 0\n", "hip.retransmit_s", "between 0.05 and 30", ""),
    (HOST + "[hip]\nretransmit_s = nan\n", "hip.retransmit_s", "finite", ""),
    (
        HOST + "[hip]\npuzzle_difficulty = 21\n",
        "hip.puzzle_difficulty_max",
        "less than puzzle_difficulty (21)",
        "21 or more",
    ),
    (HOST + "[esp]\nreplay_window = 100\n", "esp.replay_window", "multiple of 64", ""),
    (HOST + "[esp]\npath_mtu = 500\n", "esp.path_mtu", "0 or at least 576", "route"),
    (HOST + "[esp]\nrekey_s = 0.5\n", "esp.rekey_s", "0 or at least 1", "turns it off"),
    (HOST + "[esp]\nrekey_bytes = 9\n", "esp.rekey_bytes", "at least 65536", "turns it off"),
    (HOST + "[esp]\nrekey_packets = 9\n", "esp.rekey_packets", "at least 1000", "off"),
    (HOST + "[hip]\nkeepalive_s = 0.1\n", "hip.keepalive_s", "at least 1", "turns it off"),
    (HOST + "[mobility]\ninterfaces = []\n", "mobility.interfaces", "is empty", "Interfaces"),
    (HOST + '[mobility]\ninterfaces = ["a b"]\n', "mobility.interfaces[0]", "match", "wwan*"),
    (HOST + '[nat]\nrelays = ["c"]\n' + PEER_B, "nat.relays[0]", "no [[peer]] is named", "add a"),
    (HOST + '[nat]\nrelays = ["b"]\n' + PEER_B, "nat.relays[0]", "has no addresses", "called"),
    (
        HOST
        + '[nat]\nrelays = ["b"]\n'
        + PEER_B
        + 'addresses = ["192.0.2.1"]\ntransport = "raw"\n',
        "nat.relays[0]",
        "protocols 139 and 50",
        "udp",
    ),
    (HOST + PEER_B + 'relays = ["d"]\n', "peer[0].relays[0]", "no [[peer]] is named", "add a"),
    (
        HOST + PEER_B + 'addresses = ["192.0.2.1"]\nrelays = ["b"]\n',
        "peer[0].relays[0]",
        "is the peer itself",
        "registered with",
    ),
    (
        HOST
        + '[nat]\nrelays = ["b"]\nmodes = ["UDP-ENCAPSULATION"]\n'
        + PEER_B
        + 'addresses = ["192.0.2.1"]\n',
        "nat.relays[0]",
        "without ICE-HIP-UDP",
        "add it",
    ),
    (
        HOST + '[esp]\nbackend = "kernel"\n[nat]\nmodes = ["ICE-HIP-UDP", "ICE-STUN-UDP"]\n',
        "nat.modes",
        "takes STUN for ESP",
        "leave it out",
    ),
    (
        HOST + '[rendezvous]\nservers = ["c"]\n' + PEER_B,
        "rendezvous.servers[0]",
        "no [[peer]] is named",
        "add a",
    ),
    (
        HOST
        + '[rendezvous]\nservers = ["b"]\n[nat]\nrelays = ["b"]\n'
        + PEER_B
        + 'addresses = ["192.0.2.1"]\n',
        "rendezvous.servers[0]",
        "one of nat.relays",
        "leave one",
    ),
    (HOST + PEER_B + 'rvs = ["c"]\n', "peer[0].rvs[0]", "no [[peer]] is named", "add a"),
    (HOST + PEER_B + 'rvs = ["b"]\n', "peer[0].rvs[0]", "is the peer itself", "registered"),
    (HOST + PEER_B + 'rvs = ["192.0.2.300"]\n', "peer[0].rvs[0]", "not an IPv4", "numeric"),
    (HOST + PEER_B + 'rvs = ["2001:21::1"]\n', "peer[0].rvs[0]", "is a HIT", "under 'hit'"),
    (HOST + "[dht]\n", "dht.servers", "is missing", "turn on `gateway`"),
    (HOST + '[dht]\nservers = ["a.example"]\n', "dht.servers[0]", "not an IPv4", "192."),
    (HOST + '[dht]\nservers = ["192.0.2.9:0"]\n', "dht.servers[0]", "0 is not a TCP", "65535"),
    (HOST + '[dht]\nservers = ["[2001:db8::1"]\n', "dht.servers[0]", "not an", "]:5851"),
    (HOST + '[dht]\nservers = ["0.0.0.0"]\n', "dht.servers[0]", "not the address", ""),
    (HOST + '[dht]\ngateway = ["::"]\nstore = "opendht"\n', "dht.proxies", "is empty", "8080"),
    (
        HOST + '[dht]\nservers = ["192.0.2.9"]\nstore = "opendht"\nproxies = ["127.0.0.1"]\n',
        "dht.store",
        "for gateways only",
        "turn on",
    ),
    (
        HOST + '[dht]\ngateway = ["::"]\nproxies = ["127.0.0.1"]\n',
        "dht.proxies",
        "are not used",
        "opendht",
    ),
    (
        HOST + '[dns]\nservers = ["192.0.2.53", "127.0.0.139"]\n',
        "dns.servers[1]",
        "is where hipgw itself",
        "real name servers",
    ),
    (HOST + '[dht]\nservers = ["192.0.2.9"]\nttl_s = 5\n', "dht.ttl_s", "between 60", ""),
    (HOST + '[dht]\nservers = ["192.0.2.9"]\nname = "a b"\n', "dht.name", "white space", "plant-a"),
    (
        HOST + "[nat]\nlifetime_s = 1\n",
        "nat.lifetime_s",
        "is 1; it has to lie between 10 and 8",
        "",
    ),
    (HOST + '[nat]\nservices = ["date"]\n', "nat.services[0]", "not one of", "'data'"),
    (HOST + '[nat]\nstun_servers = ["a.example"]\n', "nat.stun_servers[0]", "not an IPv4", "192."),
    (HOST + '[nat]\nstun_servers = ["192.0.2.9:0"]\n', "nat.stun_servers[0]", "0 is not", "65535"),
    (HOST + '[nat]\nstun_servers = ["[192.0.2.9]"]\n', "nat.stun_servers[0]", "brackets", "leave"),
    (HOST + '[nat]\nstun_servers = ["2001:db8::1:x"]\n', "nat.stun_servers[0]", "not an", "write"),
    (HOST + '[nat]\nstun_servers = ["[2001:db8::1"]\n', "nat.stun_servers[0]", "not an", "]:3478"),
    (
        HOST + '[nat]\nstun_servers = ["192.0.2.9", "192.0.2.9:3478"]\n',
        "nat.stun_servers",
        "listed twice",
        "",
    ),
    (
        HOST + '[nat]\nmodes = []\nstun_servers = ["192.0.2.9"]\n',
        "nat.stun_servers",
        "no use without ICE-HIP-UDP",
        "add it",
    ),
    (
        HOST + '[nat]\nstun_servers = ["192.0.2.9"]\n[mobility]\nenabled = false\n',
        "nat.stun_servers",
        "own addresses are not known",
        "turn it on",
    ),
    (
        HOST + '[nat]\nstun_servers = ["192.0.2.9"]\n[esp]\nbackend = "kernel"\n',
        "nat.stun_servers",
        "takes their answers for ESP",
        "'engine'",
    ),
    (HOST + "[nat]\npacing_s = 0.001\n", "nat.pacing_s", "between 0.005 and 2", ""),
    ('[relay]\nclients = ["c"]\n' + PEER_B, "relay.clients[0]", "no [[peer]] is named", "add a"),
    (
        "[relay]\nmin_lifetime_s = 60\nmax_lifetime_s = 20\n",
        "relay.max_lifetime_s",
        "less than min_lifetime_s (60)",
        "60 or more",
    ),
    (
        '[mobile_router]\nclients = ["c"]\n' + PEER_B,
        "mobile_router.clients[0]",
        "no [[peer]] is named",
        "add a",
    ),
    (
        "[mobile_router]\nmin_lifetime_s = 60\nmax_lifetime_s = 20\n",
        "mobile_router.max_lifetime_s",
        "less than min_lifetime_s (60)",
        "60 or more",
    ),
    (
        '[mobile_router]\nexternal_interfaces = ["wwan0", "**"]\n',
        "mobile_router.external_interfaces[1]",
        "could not be behind any other",
        "wwan*",
    ),
    (
        '[mobile_router]\nexternal_interfaces = ["lo"]\n',
        "mobile_router.external_interfaces[0]",
        "leads nowhere",
        "wwan*",
    ),
    *(
        (
            f'[mobile_router]\nexternal_interfaces = ["{pattern}"]\n',
            "mobile_router.external_interfaces[0]",
            "cannot match any network interface",
            "wwan*",
        )
        for pattern in ("wan[", "wan]0[", "averyveryverylonginterfacename0", "a b")
    ),
    (
        '[mobile_router]\nexternal_interfaces = ["wan*"]\n[mobility]\ninterfaces = ["lan*"]\n',
        "mobility.interfaces",
        "matches none of the interfaces outside",
        "'wan*'",
    ),
    ("[mobile_router]\n[hip]\nport = 10501\n", "hip.port", "by 10500", "leave it out"),
    (
        "[mobile_router]\n[mobility]\nenabled = false\n",
        "mobility.enabled",
        "would not know when it has moved",
        "turn it on",
    ),
    (
        '[mobile_router]\n[esp]\nbackend = "kernel"\n',
        "esp.backend",
        "rewrites no SPIs for [mobile_router]",
        "'engine'",
    ),
    (
        '[mobile_router]\ncarrier_outside = "tcp"\n',
        "mobile_router.carrier_outside",
        "'tcp'",
        "",
    ),
    (
        HOST + '[mobile_node]\nrouters = ["plant-c"]\n' + PEER_B,
        "mobile_node.routers[0]",
        "no [[peer]] is named 'plant-c'",
        "add a",
    ),
    ('[rvs]\nclients = ["c"]\n' + PEER_B, "rvs.clients[0]", "no [[peer]] is named", "add a"),
    (
        "[rvs]\nmin_lifetime_s = 60\nmax_lifetime_s = 20\n",
        "rvs.max_lifetime_s",
        "less than min_lifetime_s (60)",
        "60 or more",
    ),
    (
        HOST + "[naming]\nttl_min_s = 60\nttl_max_s = 20\n",
        "naming.ttl_max_s",
        "less than ttl_min_s (60)",
        "60 or more",
    ),
    (HOST + '[naming]\norder = ["dns", "dns"]\n', "naming.order", "dns", ""),
    (HOST + '[naming]\norder = ["hosts"]\n', "naming.order[0]", "last-known", ""),
    ("[relay]\nfirst_port = 65500\nports = 64\n", "relay.ports", "more than there are", "36"),
    (
        '[relay]\naddresses = ["192.0.2.1", "192.0.2.2"]\n',
        "relay.addresses",
        "has two of IPv4",
        "one of each family",
    ),
    (
        "[relay]\nfirst_port = 10490\n",
        "relay.first_port",
        "include hip.port 10500",
        "",
    ),
    (HOST + '[mobility]\nannounce = "none"\n', "mobility.announce", "'all', 'current'", ""),
    (
        HOST + '[mobility]\nignored_addresses = ["10.1.2.3/8"]\n',
        "mobility.ignored_addresses[0]",
        "not an IPv4 or IPv6 network",
        '"10.0.0.0/8"',
    ),
    (
        HOST + '[mobility]\nignored_addresses = ["ten"]\n',
        "mobility.ignored_addresses[0]",
        "not an IPv4 or IPv6 network",
        "192.0.2.0/24",
    ),
    (HOST + "lsi = 1\n", "host.lsi", "text in quotes", ""),
    (HOST + 'lsi = "2.0.0.1"\n', "host.lsi", "1.0.0.0/8", ""),
    (HOST + 'lsi = "1.0.0.0"\n', "host.lsi", "the network's own", ""),
    (HOST + 'lsi = "x"\n', "host.lsi", "not an LSI", "1.0.0.7"),
    (HOST + "mtu = 1000\n", "host.mtu", "between 1280 and 65535", ""),
    (HOST + 'interface = "a name"\n', "host.interface", "not a name", "1 to 15"),
    (HOST + 'interface = "lo"\n', "host.interface", "reserved", ""),
    (HOST + 'interface = "sixteen_letters_"\n', "host.interface", "not a name", "1 to 15"),
    (HOST + '[peer]\nname = "b"\n', "peer", "single table", "[[peer]]"),
    (HOST + '[[peer]]\nname = "b"\n', "peer[0].hit", "is missing", "hipgw id"),
    (HOST + f'[[peer]]\nname = "a b"\nhit = "{HIT_B}"\n', "peer[0].name", "cannot be", "letters"),
    (HOST + f'[[peer]]\nname = "1.0.0.1"\nhit = "{HIT_B}"\n', "peer[0].name", "address", "word"),
    (
        HOST + '[[peer]]\nname = "b"\nhit = "2001:db8::1"\n',
        "peer[0].hit",
        "2001:20::/28",
        "hipgw id",
    ),
    (HOST + PEER_B + f'hit_v1 = "{HIT_C}"\n', "peer[0].hit_v1", "of HIP version 2", "under 'hit'"),
    (
        HOST + PEER_V1 + f'hit_v1 = "{HIT_V1}"\n',
        "peer[0].hit_v1",
        "stands beside a hit of",
        "leave one",
    ),
    (HOST + PEER_V1 + 'versions = ["v2"]\n', "peer[0].versions[0]", "'v2'", "under 'hit'"),
    (HOST + PEER_B + 'versions = ["v2", "v1"]\n', "peer[0].versions[1]", "'v1'", "'hit_v1'"),
    (HOST + PEER_B + "versions = []\n", "peer[0].versions", "is empty", "Versions"),
    (HOST + PEER_B + 'versions = ["1"]\n', "peer[0].versions[0]", "'v2', 'v1'", "'v1'"),
    (HOST + PEER_B + 'compat = "openhip"\n', "peer[0].compat", "speaks v1 only", "other HIT"),
    (HOST + PEER_V1 + 'compat = "cutehip"\n', "peer[0].compat", "speaks v2 only", "other HIT"),
    (HOST + PEER_B + 'compat = "openhit"\n', "peer[0].compat", "not one of", "'openhip'"),
    (
        HOST + PEER_B + f'hit_v1 = "{HIT_V1}"\n' + PEER_V1.replace('"d"', '"c"'),
        "peer[0].hit_v1",
        f"{HIT_V1} is that of peer[1] (c) already",
        "",
    ),
    (HOST + '[hip.v1]\ncompat = "cutehip"\n', "hip.v1.compat", "not speak version 1", "'openhip'"),
    (HOST + '[hip.v1]\nesp_suites = ["AES"]\n', "hip.v1.esp_suites[0]", "AES-128-CBC-SHA1", ""),
    (HOST + '[hip.v1]\ndh_groups = ["P-384"]\n', "hip.v1.dh_groups[0]", "'MODP-384'", "MODP-"),
    (HOST + "[hip.v1]\nretries = 1\n", "hip.v1.retries", "unknown key", "[hip]"),
    (HOST + "[hip]\nweak_keys = true\n", "hip.weak_keys", "unknown key", "[hip.v1]"),
    (HOST + '[esp]\nbackend = "kernel"\n' + PEER_V1, "esp.backend", "version 1", "'engine'"),
    (HOST + '[[peer]]\nname = "b"\nhit = "plant"\n', "peer[0].hit", "not a HIT", "hipgw id"),
    (HOST + '[[peer]]\nname = "b"\nhit = "1.2.3.4"\n', "peer[0].hit", "not a HIT", "hipgw id"),
    (
        HOST + PEER_B + 'adresses = ["192.0.2.1"]\n',
        "peer[0].adresses",
        "unknown key",
        "'addresses'",
    ),
    (HOST + PEER_B + 'addresses = "192.0.2.1"\n', "peer[0].addresses", "list", '["192.0.2.1"]'),
    (HOST + PEER_B + 'addresses = ["b.example"]\n', "peer[0].addresses[0]", "not an IP", "numeric"),
    (HOST + PEER_B + 'addresses = ["192.0.2.1/24"]\n', "peer[0].addresses[0]", "not an", "prefix"),
    (HOST + PEER_B + 'addresses = ["192.0.2.1:1"]\n', "peer[0].addresses[0]", "not an", "port"),
    (HOST + PEER_B + 'addresses = ["[2001:db8::1]"]\n', "peer[0].addresses[0]", "not", "brackets"),
    (HOST + PEER_B + 'addresses = ["0.0.0.0"]\n', "peer[0].addresses[0]", "one machine", ""),
    (HOST + PEER_B + 'addresses = ["ff02::1"]\n', "peer[0].addresses[0]", "one machine", ""),
    (HOST + PEER_B + 'addresses = ["fe80::1"]\n', "peer[0].addresses[0]", "link-local", "global"),
    (HOST + PEER_B + f'addresses = ["{HIT_C}"]\n', "peer[0].addresses[0]", "is a HIT", "'hit'"),
    (
        HOST + PEER_B + 'addresses = ["::ffff:192.0.2.1"]\n',
        "peer[0].addresses[0]",
        "IPv4",
        "192.0.2.1",
    ),
    (HOST + PEER_B + 'addresses = ["1.2.3.4"]\n', "peer[0].addresses[0]", "LSIs", "another"),
    (
        HOST + PEER_B + 'addresses = ["192.0.2.1", "192.0.2.1"]\n',
        "peer[0].addresses",
        "192.0.2.1 is listed twice",
        "",
    ),
    (HOST + PEER_B + 'transport = "raw"\nport = 4500\n', "peer[0].port", "no meaning", "leave it"),
    (HOST + PEER_B + PEER_B.replace(HIT_B, HIT_C), "peer[1].name", "b is that of peer[0]", ""),
    (HOST + PEER_B + PEER_C.replace(HIT_C, HIT_B), "peer[1].hit", "that of peer[0] (b)", ""),
    (
        HOST + PEER_B + 'lsi = "1.0.0.9"\n' + PEER_C + 'lsi = "1.0.0.9"\n',
        "peer[1].lsi",
        "1.0.0.9 is that of peer[0] (b)",
        "",
    ),
    (
        HOST + 'lsi = "1.0.0.9"\n' + PEER_B + 'lsi = "1.0.0.9"\n',
        "peer[0].lsi",
        "that of [host]",
        "",
    ),
    ("[endbox]\n" + PEER_B.replace("endbox", "") + "x = 1\n", "peer[0].x", "unknown key", "known"),
    ('[endbox]\npeers = ["bb"]\n' + PEER_B, "endbox.peers[0]", "no [[peer]]", "'b'"),
    ('[endbox]\npeers = ["plant"]\n' + PEER_B, "endbox.peers[0]", "no [[peer]]", "there are: b"),
    ('[endbox]\npeers = ["b"]\n', "endbox.peers[0]", "no [[peer]]", "add a [[peer]]"),
    ('[endbox]\n[esp]\nbackend = "kernel"\n' + PEER_B, "esp.backend", "no Ethernet", "'engine'"),
    (HOST + '[relay]\n[esp]\nbackend = "kernel"\n', "esp.backend", "no ESP on for", "[relay] out"),
    (HOST + '[esp]\nbackend = "xfrm"\n', "esp.backend", "'engine', 'kernel'", ""),
    ("[endbox]\npeers = []\n" + PEER_B, "endbox.peers", "is empty", "every peer"),
    ('[endbox]\nbridge = "hipgw0"\n' + PEER_B, "endbox.bridge", "same as interface", "two names"),
    ('[endbox]\nports = ["hipgw0"]\n' + PEER_B, "endbox.ports[0]", "makes itself", "eth1"),
    (
        HOST + 'interface = "eth1"\n[endbox]\nports = ["eth1"]\n' + PEER_B,
        "host.interface",
        "of [endbox] already",
        "two names",
    ),
    ("[endbox]\nmtu = 100\n" + PEER_B, "endbox.mtu", "between 576 and 9216", ""),
    (HOST + '[daemon]\nuser = "nobody-of-this-name"\n', "daemon.user", "no user", "useradd"),
    (
        HOST + '[daemon]\ncontrol_group = "no-such"\n',
        "daemon.control_group",
        "no group",
        "groupadd",
    ),
    (HOST + "[daemon]\nstate_dir = 5\n", "daemon.state_dir", "text in quotes", ""),
    (
        HOST + f'[daemon]\ncontrol_socket = "/{"x" * 120}"\n',
        "daemon.control_socket",
        "107 at most",
        "/run/hipgw",
    ),
    (HOST + '[daemon]\nlog_level = "trace"\n', "daemon.log_level", "'error', 'warning'", ""),
    ("host = 3\n", "identity.host", "unknown key", "[host] is a table"),
    (PEER_B + '[endbox]\nmode = "learn"\n', "endbox.mode", "is not one of", "learning"),
    (
        PEER_B + '[endbox]\nlegacy_nodes = ["10.0.0.0/24"]\n',
        "endbox.legacy_nodes[0]",
        "is not an IPv4 address",
        "one host",
    ),
    (
        PEER_B + '[endbox]\nlegacy_nodes = ["224.0.0.1"]\n',
        "endbox.legacy_nodes[0]",
        "is not the address of one host",
        "",
    ),
    (
        PEER_B + 'legacy_nodes = ["10.0.0.7"]\n[endbox]\nlegacy_nodes = ["10.0.0.7"]\n',
        "peer[0].legacy_nodes[0]",
        "10.0.0.7 is behind endbox already",
        "",
    ),
    (
        PEER_B + 'legacy_nodes = ["10.0.0.7"]\n[host]\n',
        "peer[0].legacy_nodes",
        "there is no [endbox]",
        "leave it out",
    ),
    (
        PEER_B + 'default_endbox = true\n[endbox]\nlegacy_nodes = ["0.0.0.0"]\n',
        "peer[0].default_endbox",
        "another default endbox",
        "one at most",
    ),
    (
        PEER_B + '[endbox]\nallowed_pairs = [["self", "bb"]]\n',
        "endbox.allowed_pairs[0][1]",
        "no [[peer]] is named 'bb'",
        "'b'",
    ),
    (
        PEER_B + '[endbox]\nallowed_pairs = [["self"]]\n',
        "endbox.allowed_pairs[0]",
        "a list of two machines",
        "two HITs",
    ),
    (
        PEER_B + '[endbox]\nallowed_pairs = [["self", "self"]]\n',
        "endbox.allowed_pairs[0]",
        "paired with itself",
        "",
    ),
    (
        PEER_B + '[endbox]\nelection = "multicast"\n',
        "endbox.election",
        "without hello_s",
        "set it to 10",
    ),
    (
        PEER_B + '[endbox]\nheartbeat_dir = "x"\n',
        "endbox.heartbeat_dir",
        "heartbeat_s is 0",
        "leave",
    ),
    (
        PEER_B + "[endbox]\nheartbeat_s = 0.01\n",
        "endbox.heartbeat_s",
        "at least 0.1",
        "turns it off",
    ),
    (
        PEER_B + '[endbox]\nmulticast_group = "10.0.0.1"\n',
        "endbox.multicast_group",
        "is not a multicast group",
        "239.0.0.0/8",
    ),
    (
        PEER_B + '[endbox]\nmulticast_group = "239.0.0.1"\nmulticast_spi = 256\n',
        "endbox.multicast_key",
        "is missing",
        "belong together",
    ),
    (
        PEER_B + '[mobility]\nenabled = false\n[endbox]\nmulticast_group = "239.0.0.1"\n'
        'multicast_spi = 256\nmulticast_key = "k"\n',
        "endbox.multicast_group",
        "mobility.enabled",
        "turn it on",
    ),
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "host.pem").write_text("a key")
    return tmp_path / "hipgw.toml"


@pytest.mark.parametrize(("text", "key", "what", "hint"), MISTAKES)
def test_mistake_is_named_with_its_key_and_a_hint(
    file: Path, text: str, key: str, what: str, hint: str
) -> None:
    file.write_text(IDENTITY + text)
    with pytest.raises(InvalidConfigError) as caught:
        load(file)
    (problem,) = caught.value.problems
    assert problem.key == key
    assert what in problem.what
    assert hint in problem.hint
    assert bool(hint) == bool(problem.hint)
    assert str(caught.value) == ": ".join(filter(None, (str(file), key, problem.what)))
    assert caught.value.hint == problem.hint


@pytest.mark.parametrize(
    ("text", "what", "hint"),
    [
        ("[host\n", "line 1, column 6", "toml.io"),
        ("[host]\n[host]\n", "line 2", "[[peer]]"),
        ("[host]\nmtu = 1\nmtu = 2\n", "line 3", "there already"),
        ("[host]\nmtu = yes\n", "line 2, column 7", "true and false"),
        ("[host]\nmtu =", "end of document", "double quotes"),
        ("x = " + "[" * 3000, "", ""),
    ],
)
def test_syntax_error_has_its_line(file: Path, text: str, what: str, hint: str) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert what in str(caught.value)
    assert hint in caught.value.hint


def test_all_mistakes_are_listed_at_once(file: Path) -> None:
    file.write_text("[hip]\nport = 0\nretires = 1\n[host]\nmtu = 5\n")
    with pytest.raises(InvalidConfigError) as caught:
        load(file)
    keys = {problem.key for problem in caught.value.problems}
    assert keys == {"identity", "hip.port", "hip.retires", "host.mtu"}
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    assert all(line.startswith(f"{file}: ") for line in lines)
    assert "(did you mean 'retries'?)" in str(caught.value)


def test_long_list_of_mistakes_is_cut(file: Path) -> None:
    file.write_text(IDENTITY + HOST + "[hip]\n" + "".join(f"z{n} = 1\n" for n in range(50)))
    with pytest.raises(InvalidConfigError) as caught:
        load(file)
    assert len(caught.value.problems) == 50
    assert str(caught.value).splitlines()[-1] == "… and 30 more"


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml: no such file") as caught:
        load(tmp_path / "absent.toml")
    assert "--config" in caught.value.hint


def test_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="directory"):
        load(tmp_path)


def test_other_encodings_are_named_with_the_line(file: Path) -> None:
    file.write_bytes(b"[host]\n# caf\xe9\n")
    with pytest.raises(ConfigError, match="line 2: not UTF-8"):
        load(file)


def test_huge_file_is_refused(file: Path) -> None:
    with file.open("wb") as out:
        out.truncate(65 * 1024 * 1024)
    with pytest.raises(ConfigError, match="larger than 64 MB"):
        load(file)


def test_missing_key_file_hints_at_keygen(file: Path) -> None:
    (file.parent / "host.pem").unlink()
    file.write_text(IDENTITY + HOST)
    with pytest.raises(InvalidConfigError, match=r"identity\.key_file: .*no such file") as caught:
        load(file)
    assert caught.value.hint == f"`hipgw keygen {file.parent / 'host.pem'}` makes one"
