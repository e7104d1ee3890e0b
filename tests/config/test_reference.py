"""docs/configuration.md is what the schema says."""

from pathlib import Path

import pytest

from hipgw.config import reference
from hipgw.config.schema import Config
from hipgw.generated import main

DOCUMENT = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_document_is_up_to_date() -> None:
    assert main(reference.render, ["--check", str(DOCUMENT)]) == 0


def test_every_key_is_documented() -> None:
    text = reference.render()
    for name, field in Config.model_fields.items():
        model = next(kind for kind in reference._classes(field.annotation))
        assert f"[{field.alias or name}]" in text
        for key, inner in model.model_fields.items():
            assert inner.description, f"{name}.{key}"
            assert f"| `{key}` |" in text


def test_check_shows_what_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "document.md"
    assert main(lambda: "a\nb\n", [str(file)]) == 0
    assert main(lambda: "a\nb\n", ["--check", str(file)]) == 0
    assert main(lambda: "a\nc\n", ["--check", str(file)]) == 1
    assert "-b\n+c" in capsys.readouterr().err
    assert file.read_text() == "a\nb\n"


def test_usage_of_the_generator() -> None:
    assert main(lambda: "", []) == 2
