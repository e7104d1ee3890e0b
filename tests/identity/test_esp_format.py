import pytest

from hipgw.errors import IdentityError
from hipgw.identity.esp_format import EspFormat, FrameFormat
from hipgw.identity.esp_suites import esp_suite


def test_the_default_is_what_the_rfcs_say() -> None:
    plain = EspFormat()
    assert plain == EspFormat(
        esn=True,
        icv_length=None,
        null_iv=False,
        alignment=None,
        frames=FrameFormat.ETHERIP_FRAGMENTS,
        replay=True,
    )
    assert plain.last_sequence == 2**64 - 1
    assert EspFormat(esn=False).last_sequence == 2**32 - 1


@pytest.mark.parametrize(
    ("suite", "asked", "octets"),
    [
        (1, None, 12),
        (1, 20, 20),
        (3, 16, 16),
        (8, None, 16),
        (8, 32, 32),
        (13, None, 16),
        (13, 16, 16),
        (12, 8, 8),
    ],
)
def test_the_length_of_an_icv(suite: int, asked: int | None, octets: int) -> None:
    assert EspFormat(icv_length=asked).icv_octets(esp_suite(suite)) == octets


@pytest.mark.parametrize(("suite", "asked"), [(1, 21), (3, 17), (8, 33), (8, 11), (13, 12), (8, 0)])
def test_icvs_that_there_are_not(suite: int, asked: int) -> None:
    with pytest.raises(IdentityError, match="no ICV"):
        EspFormat(icv_length=asked).icv_octets(esp_suite(suite))


def test_nobody_can_infer_a_sequence_number_without_a_window() -> None:
    assert not EspFormat(esn=False, replay=False).replay
    with pytest.raises(IdentityError, match="replay window"):
        EspFormat(replay=False)
