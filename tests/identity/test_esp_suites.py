import pytest

from hipgw.errors import IdentityError
from hipgw.identity.esp_suites import (
    CHACHA20_POLY1305,
    DEFAULT_ESP_SUITES,
    ESP_SUITES,
    V1_ESP_SUITES,
    esp_suite,
    esp_suite_by_name,
)


def test_key_lengths_of_rfc_7402() -> None:
    lengths = {
        id: (suite.encryption_key_length, suite.authentication_key_length)
        for id, suite in ESP_SUITES.items()
    }
    assert lengths == {
        7: (0, 32),
        8: (16, 32),
        9: (32, 32),
        10: (19, 0),
        11: (19, 0),
        12: (20, 0),
        13: (20, 0),
        65281: (36, 0),
    }


def test_suites_of_hipv1_draw_the_keys_of_rfc_5202() -> None:
    sizes = {
        id: (suite.encryption_key_length, suite.authentication_key_length, suite.iv_length)
        for id, suite in V1_ESP_SUITES.items()
    }
    assert sizes == {
        1: (16, 20, 16),
        2: (24, 20, 8),
        3: (24, 16, 8),
        4: (16, 20, 8),
        5: (0, 20, 0),
        6: (0, 16, 0),
    }
    assert {suite.icv_length for suite in V1_ESP_SUITES.values()} == {12}
    assert [suite.id for suite in V1_ESP_SUITES.values() if not suite.confidential] == [5, 6]
    assert not V1_ESP_SUITES.keys() & {*ESP_SUITES, *DEFAULT_ESP_SUITES}
    assert all(esp_suite(id) is suite for id, suite in V1_ESP_SUITES.items())


def test_the_default_offer_keeps_data_secret_and_has_the_mandatory_suite() -> None:
    assert DEFAULT_ESP_SUITES == (13, CHACHA20_POLY1305, 9, 8)
    assert all(esp_suite(suite).confidential for suite in DEFAULT_ESP_SUITES)
    assert len(DEFAULT_ESP_SUITES) <= 6


def test_only_null_is_not_confidential() -> None:
    assert [suite.id for suite in ESP_SUITES.values() if not suite.confidential] == [7]


def test_suites_are_found_by_their_configured_names() -> None:
    for suite in (*ESP_SUITES.values(), *V1_ESP_SUITES.values()):
        assert esp_suite_by_name(suite.name) is suite
    with pytest.raises(IdentityError) as caught:
        esp_suite_by_name("DES")
    assert "AES-128-GCM-16" in caught.value.hint


@pytest.mark.parametrize("suite", [0, 14, 15, 16, 65280])
def test_other_suites_are_not_supported(suite: int) -> None:
    with pytest.raises(IdentityError, match="not supported"):
        esp_suite(suite)
