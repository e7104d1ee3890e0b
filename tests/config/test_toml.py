"""What is written as TOML is read as the same."""

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hipgw.config.toml import emit

keys = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=12)
values = st.recursive(
    st.one_of(
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False),
        st.text(st.characters(exclude_categories=("Cs",)), max_size=20),
    ),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=6,
)
plain = st.dictionaries(keys, values, max_size=4)
tables = st.recursive(
    plain,
    lambda inner: st.dictionaries(
        keys, st.one_of(values, inner, st.lists(inner, min_size=1, max_size=3)), max_size=4
    ),
    max_leaves=6,
)


@given(tables)
def test_what_is_written_is_read_again(table: dict[str, Any]) -> None:
    assert tomllib.loads(emit(table)) == table


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ({"a": {"b": 1}}, "[a]\nb = 1\n"),
        ({"a": {"b": {"c": "x"}}}, '[a.b]\nc = "x"\n'),
        ({"a": {}}, "[a]\n"),
        ({"p": [{"n": "x"}, {}]}, '[[p]]\nn = "x"\n\n[[p]]\n'),
        ({"a": {"x y": ["1", True, [2.5]]}}, '[a]\n"x y" = ["1", true, [2.5]]\n'),
        ({"a": {"b": '\x7f\n"'}}, '[a]\nb = "\\u007f\\n\\""\n'),
    ],
)
def test_how_it_looks(table: dict[str, Any], text: str) -> None:
    assert emit(table) == text
