"""docs/configuration.md is what the schema says."""

from pathlib import Path

from hipgw.config import reference
from hipgw.config.schema import Config

DOCUMENT = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_document_is_up_to_date() -> None:
    assert DOCUMENT.read_text() == reference.render()


def test_every_key_is_documented() -> None:
    text = reference.render()
    for name, field in Config.model_fields.items():
        model = next(kind for kind in reference._classes(field.annotation))
        assert f"[{field.alias or name}]" in text
        for key, inner in model.model_fields.items():
            assert inner.description, f"{name}.{key}"
            assert f"| `{key}` |" in text
