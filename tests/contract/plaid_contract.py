"""What Plaid says a request, an answer and a webhook look like: plaid-python's typed models, and the official document.

Both are made strict: a field that they do not know fails, in whatever depth, so that a misspelt one cannot pass.
"""

import json
import os
from copy import deepcopy
from functools import cache
from importlib import import_module
from pathlib import Path
from re import sub
from typing import Any

import jsonschema
import plaid
import pytest
from plaid.api import plaid_api
from plaid.model_utils import ModelComposed, ModelNormal, validate_and_convert_types

DOCUMENT = Path(__file__).resolve().parents[3] / "shared" / "data" / "plaid-openapi-subset.json"
VERSION = "2020-09-14"


# --- the typed models ---
@cache
def _endpoints() -> dict[str, Any]:
    """path → what the SDK knows of the endpoint."""
    api = plaid_api.PlaidApi(plaid.ApiClient(plaid.Configuration()))
    found = [value for name, value in vars(api).items() if name.endswith("_endpoint")]
    return {endpoint.settings["endpoint_path"]: endpoint for endpoint in found}


def request_model(path: str) -> type:
    types = _endpoints()[path].openapi_types
    (model,) = next(iter(types.values()))
    return model


def answer_model(path: str) -> type:
    (model,) = _endpoints()[path].settings["response_type"]
    return model


def named_model(name: str) -> type:
    """The model of a schema of the document, which have the same names."""
    module = sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    return getattr(import_module(f"plaid.model.{module}"), name)


def typed(model: type, shown: Any) -> Any:
    """`shown` (JSON) as an instance of the model. Raises what the SDK raises, and AssertionError for unknown fields."""
    given = deepcopy(shown)  # the converter works in place
    made = validate_and_convert_types(given, (model,), ["$"], True, True, configuration=plaid.Configuration())
    unknown = _unknown_fields(made, "$")
    assert not unknown, f"unknown fields: {unknown}"
    return made


def _unknown_fields(node: Any, where: str) -> list[str]:
    if isinstance(node, list):
        return [found for number, one in enumerate(node) for found in _unknown_fields(one, f"{where}[{number}]")]
    if not isinstance(node, ModelNormal | ModelComposed):
        return []
    values = node._data_store
    unknown = [f"{where}.{name}" for name in values if name not in node.openapi_types]
    return unknown + [found for name, one in values.items() for found in _unknown_fields(one, f"{where}.{name}")]


# --- the official document ---
@cache
def _document() -> dict[str, Any]:
    return json.loads(DOCUMENT.read_bytes())


def official() -> dict[str, Any]:
    """The document. Where it is not at hand the test is skipped, or fails with CAUSEWAY_CONTRACT_REQUIRED=1."""
    if not DOCUMENT.exists():
        said = "the official OpenAPI subset is not at hand"
        if os.environ.get("CAUSEWAY_CONTRACT_REQUIRED") == "1":
            pytest.fail(f"{said}, and CAUSEWAY_CONTRACT_REQUIRED asks for it")
        pytest.skip(said)
    return _document()


def request_schema(path: str) -> dict[str, Any]:
    return official()["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]


def answer_schema(path: str) -> dict[str, Any]:
    return official()["paths"][path]["post"]["responses"]["200"]["content"]["application/json"]["schema"]


def webhook_schema(name: str) -> dict[str, Any]:
    """name: TYPE.CODE."""
    return official()["x-webhooks"][name]["post"]["requestBody"]["content"]["application/json"]["schema"]


def violations(schema: dict[str, Any], shown: Any, *, has_open_enums: bool = True) -> list[str]:
    """What is wrong with `shown`. Answers have open enums: the service adds values at will; requests have not."""
    whole = _closed(schema, has_open_enums=has_open_enums) | {"components": _components(has_open_enums)}
    found = jsonschema.Draft202012Validator(whole).iter_errors(shown)
    return [f"{error.json_path}: {error.message[:200]}" for error in found]


@cache
def _components(has_open_enums: bool) -> dict[str, Any]:
    schemas = official()["components"]["schemas"]
    closed = {name: _closed(schema, has_open_enums=has_open_enums) for name, schema in schemas.items()}
    parts = {name: _closed(schema, has_open_enums=has_open_enums, is_part=True) for name, schema in schemas.items()}
    return {"schemas": closed, "parts": parts}


def _closed(node: dict[str, Any], *, has_open_enums: bool, is_part: bool = False) -> dict[str, Any]:
    """A schema of OpenAPI 3.0 as JSON Schema that refuses unknown fields.

    is_part: one of an allOf, which must leave the fields of the others alone; the whole is closed instead.
    """

    def inner(value: Any, *, is_part: bool = False) -> Any:
        return _closed(value, has_open_enums=has_open_enums, is_part=is_part) if isinstance(value, dict) else value

    if "$ref" in node:
        name = node["$ref"].rpartition("/")[2]
        return {"$ref": f"#/components/{'parts' if is_part else 'schemas'}/{name}"}
    ignored = {"nullable", "discriminator", "additionalProperties"} | ({"enum"} if has_open_enums else set())
    # 3.0 says exclusiveMinimum: false, where JSON Schema has a number.
    made = {k: v for k, v in node.items() if k not in ignored and not (k.startswith("exclusive") and v is False)}
    if "properties" in made:
        made["properties"] = {name: inner(value) for name, value in made["properties"].items()}
    if "items" in made:
        made["items"] = inner(made["items"])
    for kind in ("allOf", "anyOf", "oneOf"):
        if kind in made:
            made[kind] = [inner(one, is_part=is_part or kind == "allOf") for one in made[kind]]
    further = node.get("additionalProperties")
    if isinstance(further, dict) and further:
        made["additionalProperties"] = inner(further)
    elif ("properties" in made or "allOf" in made) and not is_part:
        made["unevaluatedProperties"] = False
    return {"anyOf": [made, {"type": "null"}]} if node.get("nullable") is True else made
