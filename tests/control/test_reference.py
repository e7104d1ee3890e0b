"""docs/control-api.md is what the code says, and the code is consistent in itself."""

import inspect
from pathlib import Path
from typing import get_args, get_type_hints

from hipgw.control import api, reference
from hipgw.control.api import EVENT_KINDS, ControlApi, EventAnswer
from hipgw.control.errors import ErrorCode
from hipgw.control.methods import METHODS
from small_daemon import SmallDaemon

DOCUMENT = Path(__file__).parents[2] / "docs" / "control-api.md"


def test_document_is_up_to_date() -> None:
    assert DOCUMENT.read_text() == reference.render()


def test_every_method_error_and_shape_is_documented() -> None:
    text = reference.render()
    for name in [*METHODS, *ErrorCode]:
        assert f"`{name}`" in text
    for name, kind in vars(api).items():
        if inspect.isclass(kind) and hasattr(kind, "__total__"):
            assert f"### {name}\n" in text


def test_event_kinds_are_those_of_the_shape() -> None:
    assert get_args(get_type_hints(EventAnswer)["kind"]) == EVENT_KINDS


def test_defaults_lie_within_their_bounds() -> None:
    for method in METHODS.values():
        for parameter in method.parameters:
            if not parameter.required:
                assert parameter.check(parameter.default) == parameter.default


def test_small_daemon_offers_the_whole_api() -> None:
    wanted = {name for name in vars(ControlApi) if not name.startswith("_")}
    assert wanted <= set(dir(SmallDaemon))
