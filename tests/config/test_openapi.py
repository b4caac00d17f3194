"""The API's description: complete, current, and readable without a login or another host."""

import json
import re
from pathlib import Path

import pytest
import yaml
from django.conf import settings as django_settings
from django.core.management import call_command

from config.openapi import raises
from connections.errors import CATALOGUE

PATH = Path(django_settings.BASE_DIR) / "docs" / "reference" / "openapi.yaml"


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> str:
    file = tmp_path_factory.mktemp("openapi") / "openapi.yaml"
    call_command("spectacular", "--validate", "--fail-on-warn", "--file", str(file))
    return file.read_text()


@pytest.fixture(scope="module")
def schema(text) -> dict:
    return yaml.safe_load(text)


def operations(schema):
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def test_committed_description_is_current(text):
    assert PATH.read_text() == text, "run: manage.py spectacular --file docs/reference/openapi.yaml"


def test_only_the_versioned_mount_is_described(schema):
    assert len(schema["paths"]) >= 11
    assert all(path.startswith("/api/v1/") for path in schema["paths"])


def test_every_operation_is_named_summed_up_and_tagged(schema):
    names = [operation["operationId"] for _, operation in operations(schema)]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch("[a-z_]+", name) for name in names)
    for label, operation in operations(schema):
        assert operation["summary"], label
        assert operation["tags"], label


def test_every_operation_documents_its_problems(schema):
    for label, operation in operations(schema):
        found = operation["responses"]
        errors = {status: found[status] for status in found if int(status) >= 400}
        assert {"400", "406", "429", "500"} <= set(errors), label
        assert ("401" in errors) != is_job(operation), label
        for status, response in errors.items():
            content = response["content"]["application/problem+json"]
            assert content["schema"] == {"$ref": "#/components/schemas/Problem"}
            for code, example in content["examples"].items():
                assert str(CATALOGUE[code].status) == status
                assert example["value"]["code"] == code
        assert all("X-Correlation-ID" in response["headers"] for response in found.values()), label
        assert "Retry-After" in found["429"]["headers"]


def is_job(operation: dict) -> bool:
    """The clock's: a secret instead of a person, for all workspaces."""
    return operation["tags"] == ["jobs"]


def test_workspace_endpoints_take_the_header_and_the_others_do_not(schema):
    for label, operation in operations(schema):
        names = {(found["in"], found["name"]) for found in operation.get("parameters", ())}
        is_session = operation["tags"] == ["session"]
        is_outside = is_session or is_job(operation) or operation["tags"] == ["oauth"]  # whose state says whose it is
        assert (("header", "X-Workspace") in names) != is_outside, label
        assert (("header", "X-Jobs-Secret") in names) == is_job(operation), label
        assert ("header", "X-Correlation-ID") in names, label
        assert ("403" in operation["responses"]) != is_session, label


def test_every_operation_has_an_example(schema):
    for label, operation in operations(schema):
        for status, response in operation["responses"].items():
            for content in response.get("content", {}).values():
                assert content.get("examples"), f"{label} {status}"
        for content in operation.get("requestBody", {}).get("content", {}).values():
            assert content.get("examples"), f"{label} body"


def test_examples_have_exactly_the_documented_fields(schema):
    """An example that drifted from its serializer would mislead whoever copies it."""

    def fields(reference: dict) -> set[str]:
        return set(schema["components"]["schemas"][reference["$ref"].rsplit("/", 1)[1]]["properties"])

    for label, operation in operations(schema):
        for status, response in operation["responses"].items():
            content = response.get("content", {}).get("application/json")
            for example in (content or {}).get("examples", {}).values():
                assert set(example["value"]) <= fields(content["schema"]), f"{label} {status}"
                if "results" in example["value"]:
                    page = schema["components"]["schemas"][content["schema"]["$ref"].rsplit("/", 1)[1]]
                    row = fields(page["properties"]["results"]["items"])
                    assert set(example["value"]["results"][0]) == row, label


def test_bearer_tokens_are_the_way_in_and_signing_in_needs_none(schema):
    assert schema["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    found = dict(operations(schema))
    assert found["GET /api/v1/me"]["security"] == [{"bearer": []}]
    assert "security" not in found["POST /api/v1/auth/token"]
    assert "401" in found["POST /api/v1/auth/token"]["responses"]


def test_transaction_filters_and_paging_are_parameters(schema):
    found = dict(operations(schema))["GET /api/v1/connections/{connection_id}/transactions"]["parameters"]
    names = {parameter["name"] for parameter in found if parameter["in"] == "query"}
    assert names == {"archived", "account_id", "date_from", "date_to", "pending", "q", "page_size", "cursor"}


def test_raises_takes_only_codes_that_there_are():
    with pytest.raises(KeyError):
        raises("nope")


# --- served ---
@pytest.mark.parametrize("accept", ["application/json", "application/vnd.oai.openapi+json"])
def test_schema_is_served_as_json_without_a_login(client, schema, accept):
    response = client.get("/api/schema/", headers={"Accept": accept})
    assert response.status_code == 200
    assert json.loads(response.content)["paths"].keys() == schema["paths"].keys()


def test_schema_is_yaml_otherwise(client, schema):
    assert yaml.safe_load(client.get("/api/schema/").content) == schema


def test_refused_schema_request_is_a_json_problem(client):
    response = client.post("/api/schema/")
    assert (response.status_code, response.headers["Content-Type"]) == (405, "application/problem+json")
    assert json.loads(response.content)["code"] == "method_not_allowed"
    response = client.get("/api/docs/", headers={"Accept": "image/png"})
    assert (response.status_code, json.loads(response.content)["code"]) == (406, "not_acceptable")


def test_docs_load_nothing_from_another_host(client):
    page = client.get("/api/docs/").content.decode()
    assert "swagger-ui" in page
    assert not re.findall(r"""(?:src|href)=["'](?:https?:)?//""", page)
    for address in re.findall(r"""(?:src|href)=["'](/static/[^"']+)""", page):
        assert client.get(address).status_code == 200, address


@pytest.mark.urls("config.urls")
def test_home_leads_to_the_console(client):
    assert client.get("/").headers["Location"] == "/admin/"
