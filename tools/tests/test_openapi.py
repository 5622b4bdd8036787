"""openapi.yaml is YAML, is OpenAPI as far as tools need it, and says for each route who may call it
and what can go wrong. (That it lists exactly the gateway's routes, gateway_api_test checks.)"""
import pathlib
import re

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
METHODS = {"get", "post", "put", "patch", "delete"}


class UniqueKeys(yaml.SafeLoader):
    """A loader that refuses a key given twice, which YAML would let win silently."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _value in node.value]
        assert len(keys) == len(set(keys)), f"a key twice near line {node.start_mark.line + 1}"
        return super().construct_mapping(node, deep)


DOCUMENT = yaml.load((ROOT / "openapi.yaml").read_text(encoding="utf-8"), UniqueKeys)
OPERATIONS = [(path, method, operation) for path, item in DOCUMENT["paths"].items()
              for method, operation in item.items()]


def resolve(reference):
    assert reference.startswith("#/"), reference
    node = DOCUMENT
    for part in reference[2:].split("/"):
        node = node[part]
    return node


def references(node):
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_it_is_an_openapi_document():
    assert DOCUMENT["openapi"] in ("3.0.3", "3.1.0")
    assert {"title", "version"} <= DOCUMENT["info"].keys()
    assert {method for _path, method, _operation in OPERATIONS} <= METHODS


def test_every_reference_leads_somewhere():
    for reference in references(DOCUMENT):
        assert resolve(reference), reference


def test_every_component_is_used():
    used = set(references(DOCUMENT))
    for kind in ("parameters", "responses", "schemas"):
        for name in DOCUMENT["components"][kind]:
            assert f"#/components/{kind}/{name}" in used, f"{kind}/{name}"


def test_operation_ids_are_unique():
    ids = [operation["operationId"] for _path, _method, operation in OPERATIONS]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("path,method,operation", OPERATIONS,
                         ids=[f"{method} {path}" for path, method, _operation in OPERATIONS])
def test_an_operation_is_complete(path, method, operation):
    assert operation["summary"] and operation["tags"]
    parameters = [resolve(p["$ref"]) if "$ref" in p else p for p in operation.get("parameters", [])]
    in_path = {p["name"] for p in parameters if p["in"] == "path"}
    assert in_path == set(re.findall(r"\{(\w+)\}", path))
    assert all(p["required"] for p in parameters if p["in"] == "path")
    assert len({(p["in"], p["name"]) for p in parameters}) == len(parameters)
    responses = operation["responses"]
    assert all(isinstance(code, str) and re.fullmatch(r"[1-5]\d\d", code) for code in responses)
    assert any(code.startswith("2") for code in responses)
    is_open = operation.get("security") == []
    assert is_open == ("401" not in responses)
    # A post without a body is an order: /api/ping/service/stop.
    if "requestBody" in operation:
        assert {"400", "413", "415", "422"} <= responses.keys()
    else:
        assert "415" not in responses and method != "patch"


def test_required_properties_exist():
    def check(node):
        if isinstance(node, dict):
            if "required" in node and "properties" in node:
                assert set(node["required"]) <= node["properties"].keys(), node["required"]
            for value in node.values():
                check(value)
        elif isinstance(node, list):
            for value in node:
                check(value)
    check(DOCUMENT)
