"""The messages of NETLINK_XFRM, in the way of pyroute2, which has none of them.

Names and layouts are those of linux/xfrm.h with the padding that a 64-bit ABI adds. Structures
that lie in others are spelled out with a prefix: `sel_daddr` is `sel.daddr` in C. Addresses are 16
octets in network order; an IPv4 address stands in the first four.
"""

from pyroute2.netlink import nla, nlmsg

# Message types.
XFRM_MSG_NEWSA = 0x10
XFRM_MSG_DELSA = 0x11
XFRM_MSG_GETSA = 0x12
XFRM_MSG_NEWPOLICY = 0x13
XFRM_MSG_DELPOLICY = 0x14
XFRM_MSG_GETPOLICY = 0x15
XFRM_MSG_ACQUIRE = 0x17
XFRM_MSG_EXPIRE = 0x18
XFRM_MSG_UPDPOLICY = 0x19
XFRM_MSG_MIGRATE = 0x21
XFRM_MSG_MAPPING = 0x26

# Multicast groups, by number.
XFRMNLGRP_ACQUIRE = 1
XFRMNLGRP_EXPIRE = 2
XFRMNLGRP_MIGRATE = 7
XFRMNLGRP_MAPPING = 8

XFRM_MODE_BEET = 4
XFRM_POLICY_IN = 0
XFRM_POLICY_OUT = 1
XFRM_POLICY_ALLOW = 0
XFRM_POLICY_BLOCK = 1
XFRM_STATE_NOECN = 1
XFRM_STATE_DECAP_DSCP = 2
XFRM_STATE_ESN = 128
XFRM_SA_XFLAG_DONT_ENCAP_DSCP = 1
XFRM_INF = 0xFFFF_FFFF_FFFF_FFFF
XFRM_REPLAY_WINDOW_MAX = 4096
"""Packets: XFRMA_REPLAY_ESN_MAX octets divided by 4 and by 8, in words of 32 bits."""

UDP_ENCAP_ESPINUDP = 2
ANY_ADDRESS = bytes(16)

Fields = tuple[tuple[str, str], ...]

_SELECTOR: Fields = (
    ("sel_daddr", "16s"),
    ("sel_saddr", "16s"),
    ("sel_dport", ">H"),
    ("sel_dport_mask", ">H"),
    ("sel_sport", ">H"),
    ("sel_sport_mask", ">H"),
    ("sel_family", "H"),
    ("sel_prefixlen_d", "B"),
    ("sel_prefixlen_s", "B"),
    ("sel_proto", "B"),
    ("__sel_pad", "3x"),
    ("sel_ifindex", "i"),
    ("sel_user", "I"),
)
_ID: Fields = (("id_daddr", "16s"), ("id_spi", ">I"), ("id_proto", "B"), ("__id_pad", "3x"))
_LIFETIME_CFG: Fields = tuple(
    (f"lft_{name}", "Q")
    for name in (
        "soft_byte_limit",
        "hard_byte_limit",
        "soft_packet_limit",
        "hard_packet_limit",
        "soft_add_expires_seconds",
        "hard_add_expires_seconds",
        "soft_use_expires_seconds",
        "hard_use_expires_seconds",
    )
)
_LIFETIME_CUR: Fields = tuple(
    (f"curlft_{name}", "Q") for name in ("bytes", "packets", "add_time", "use_time")
)
_USERSA_INFO: Fields = (
    *_SELECTOR,
    *_ID,
    ("saddr", "16s"),
    *_LIFETIME_CFG,
    *_LIFETIME_CUR,
    ("stats_replay_window", "I"),
    ("stats_replay", "I"),
    ("stats_integrity_failed", "I"),
    ("seq", "I"),
    ("reqid", "I"),
    ("family", "H"),
    ("mode", "B"),
    ("replay_window", "B"),
    ("flags", "B"),
    ("__pad", "7x"),
)
_USERSA_ID: Fields = (
    ("daddr", "16s"),
    ("spi", ">I"),
    ("family", "H"),
    ("proto", "B"),
    ("__pad", "1x"),
)
_POLICY_INFO: Fields = (
    *_SELECTOR,
    *_LIFETIME_CFG,
    *_LIFETIME_CUR,
    ("priority", "I"),
    ("index", "I"),
    ("dir", "B"),
    ("action", "B"),
    ("flags", "B"),
    ("share", "B"),
    ("__pad", "4x"),
)
_POLICY_ID: Fields = (*_SELECTOR, ("index", "I"), ("dir", "B"), ("__pad", "3x"))


_ADDRESSES = (
    *("sel_daddr", "sel_saddr", "id_daddr", "saddr", "daddr"),
    *("policy_sel_daddr", "policy_sel_saddr", "old_saddr", "new_saddr"),
)
"""Unspecified unless they are set."""


class xfrm_nlmsg(nlmsg):  # noqa: N801 - the names are those of linux/xfrm.h
    """What all messages share: the attributes (`enum xfrm_attr_type_t`)."""

    prefix = "XFRMA_"
    defaults = dict.fromkeys(_ADDRESSES, ANY_ADDRESS)
    nla_map: tuple[tuple[str, str], ...] = (
        ("XFRMA_UNSPEC", "none"),
        ("XFRMA_ALG_AUTH", "xfrm_algo"),
        ("XFRMA_ALG_CRYPT", "xfrm_algo"),
        ("XFRMA_ALG_COMP", "xfrm_algo"),
        ("XFRMA_ENCAP", "xfrm_encap_tmpl"),
        ("XFRMA_TMPL", "xfrm_user_tmpl"),
        ("XFRMA_SA", "hex"),
        ("XFRMA_POLICY", "hex"),
        ("XFRMA_SEC_CTX", "hex"),
        ("XFRMA_LTIME_VAL", "hex"),
        ("XFRMA_REPLAY_VAL", "hex"),
        ("XFRMA_REPLAY_THRESH", "uint32"),
        ("XFRMA_ETIMER_THRESH", "uint32"),
        ("XFRMA_SRCADDR", "cdata"),
        ("XFRMA_COADDR", "cdata"),
        ("XFRMA_LASTUSED", "uint64"),
        ("XFRMA_POLICY_TYPE", "hex"),
        ("XFRMA_MIGRATE", "xfrm_user_migrate"),
        ("XFRMA_ALG_AEAD", "xfrm_algo_trunc"),
        ("XFRMA_KMADDRESS", "hex"),
        ("XFRMA_ALG_AUTH_TRUNC", "xfrm_algo_trunc"),
        ("XFRMA_MARK", "hex"),
        ("XFRMA_TFCPAD", "uint32"),
        ("XFRMA_REPLAY_ESN_VAL", "xfrm_replay_state_esn"),
        ("XFRMA_SA_EXTRA_FLAGS", "uint32"),
        ("XFRMA_PROTO", "uint8"),
        ("XFRMA_ADDRESS_FILTER", "hex"),
        ("XFRMA_PAD", "hex"),
        ("XFRMA_OFFLOAD_DEV", "hex"),
        ("XFRMA_SET_MARK", "uint32"),
        ("XFRMA_SET_MARK_MASK", "uint32"),
        ("XFRMA_IF_ID", "uint32"),
        ("XFRMA_MTIMER_THRESH", "uint32"),
    )

    class xfrm_algo(nla):  # noqa: N801
        """An algorithm and its key; the length of the key in bits."""

        fields = (("alg_name", "64s"), ("alg_key_len", "I"), ("alg_key", "s"))

    class xfrm_algo_trunc(nla):  # noqa: N801
        """`xfrm_algo_auth` and `xfrm_algo_aead`: also with the length of the ICV in bits."""

        fields = (
            ("alg_name", "64s"),
            ("alg_key_len", "I"),
            ("alg_icv_len", "I"),
            ("alg_key", "s"),
        )

    class xfrm_encap_tmpl(nla):  # noqa: N801
        """Ports of ESP in UDP (RFC 3948)."""

        fields = (
            ("encap_type", "H"),
            ("encap_sport", ">H"),
            ("encap_dport", ">H"),
            ("__pad", "2x"),
            ("encap_oa", "16s"),
        )

    class xfrm_user_tmpl(nla):  # noqa: N801
        """The security association that a policy asks for; hipgw's policies have one."""

        defaults = dict.fromkeys(("id_daddr", "saddr"), ANY_ADDRESS)
        fields = (
            *_ID,
            ("family", "H"),
            ("__pad1", "2x"),
            ("saddr", "16s"),
            ("reqid", "I"),
            ("mode", "B"),
            ("share", "B"),
            ("optional", "B"),
            ("__pad2", "1x"),
            ("aalgos", "I"),
            ("ealgos", "I"),
            ("calgos", "I"),
        )

    class xfrm_replay_state_esn(nla):  # noqa: N801
        """64-bit sequence numbers and the window of those that came in."""

        fields = (
            ("bmp_len", "I"),
            ("oseq", "I"),
            ("seq", "I"),
            ("oseq_hi", "I"),
            ("seq_hi", "I"),
            ("replay_window", "I"),
            ("bmp", "s"),
        )

    class xfrm_user_migrate(nla):  # noqa: N801
        """Old and new outer addresses of a policy's security association."""

        fields = (
            ("old_daddr", "16s"),
            ("old_saddr", "16s"),
            ("new_daddr", "16s"),
            ("new_saddr", "16s"),
            ("proto", "B"),
            ("mode", "B"),
            ("reserved", "H"),
            ("reqid", "I"),
            ("old_family", "H"),
            ("new_family", "H"),
        )


class xfrm_usersa_info(xfrm_nlmsg):  # noqa: N801
    """XFRM_MSG_NEWSA, and the answers to XFRM_MSG_GETSA."""

    fields = _USERSA_INFO


class xfrm_usersa_copy(xfrm_nlmsg):  # noqa: N801
    """XFRM_MSG_NEWSA with attributes as octets: of keys at an end pyroute2 reads the first one."""

    fields = _USERSA_INFO
    nla_map = tuple((name, "cdata") for name, _ in xfrm_nlmsg.nla_map)


class xfrm_usersa_id(xfrm_nlmsg):  # noqa: N801
    """XFRM_MSG_GETSA and XFRM_MSG_DELSA."""

    fields = _USERSA_ID


class xfrm_sa_dump(xfrm_nlmsg):  # noqa: N801
    """XFRM_MSG_GETSA for all: the kernel looks for attributes right behind the header."""

    fields: Fields = ()


class xfrm_userpolicy_info(xfrm_nlmsg):  # noqa: N801
    """XFRM_MSG_NEWPOLICY and XFRM_MSG_UPDPOLICY, and the answers to XFRM_MSG_GETPOLICY."""

    fields = _POLICY_INFO


class xfrm_userpolicy_id(xfrm_nlmsg):  # noqa: N801
    """XFRM_MSG_GETPOLICY, XFRM_MSG_DELPOLICY and XFRM_MSG_MIGRATE."""

    fields = _POLICY_ID


class xfrm_user_acquire(xfrm_nlmsg):  # noqa: N801
    """XFRM_MSG_ACQUIRE: a packet met a policy without a security association."""

    fields = (
        *_ID,
        ("saddr", "16s"),
        *_SELECTOR,
        *((f"policy_{name}", kind) for name, kind in _POLICY_INFO),
        ("aalgos", "I"),
        ("ealgos", "I"),
        ("calgos", "I"),
        ("seq", "I"),
    )


class xfrm_user_expire(xfrm_nlmsg):  # noqa: N801
    """XFRM_MSG_EXPIRE: a limit of a security association was reached."""

    fields = (*_USERSA_INFO, ("hard", "B"), ("__pad_end", "7x"))


class xfrm_user_mapping(xfrm_nlmsg):  # noqa: N801
    """XFRM_MSG_MAPPING: authentic ESP in UDP came from another address or port."""

    fields = (
        *_USERSA_ID,
        ("reqid", "I"),
        ("old_saddr", "16s"),
        ("new_saddr", "16s"),
        ("old_sport", ">H"),
        ("new_sport", ">H"),
    )


ATTRIBUTES = tuple(name for name, _ in xfrm_nlmsg.nla_map)
"""Their names, by number."""

EVENTS: dict[int, type[xfrm_nlmsg]] = {
    XFRM_MSG_ACQUIRE: xfrm_user_acquire,
    XFRM_MSG_EXPIRE: xfrm_user_expire,
    XFRM_MSG_MAPPING: xfrm_user_mapping,
}
"""What comes from the multicast groups, by message type."""
