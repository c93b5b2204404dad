"""docs/bundle-format.md and the JSON schemas say what the code does: bytes, fields, limits."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import msgspec
import pytest
import worked
from attacks import members_of
from tiny_bundle import write_tiny

from edge_sdk import strict_json
from edge_sdk.bundle import layout, manifest, rules, site
from edge_sdk.bundle.elided import MIN_BYTES
from edge_sdk.bundle.schema import schemas
from edge_sdk.bundle.signing import Signature
from edge_sdk.bundle.store import Bundle
from edge_sdk.decision.threshold import Threshold
from edge_sdk.tensors import TensorSpec

DOCUMENT = worked.DOCUMENT.read_text("utf-8")
TYPES = [
    *(found for found in vars(manifest).values() if isinstance(found, type) and found.__module__ == manifest.__name__),
    TensorSpec,
    Threshold,
    site.Decisions,
    Signature,
]


def test_the_worked_file_is_what_the_writer_makes_byte_for_byte(tmp_path: Path) -> None:
    block = worked.BLOCK.search(DOCUMENT)
    assert block is not None
    assert block[1] == worked.dump(worked.write(tmp_path / "worked.edge")), "renew it: python tests/bundle/worked.py"


def test_the_worked_file_typed_from_the_document_opens(tmp_path: Path) -> None:
    block = worked.BLOCK.search(DOCUMENT)
    assert block is not None
    path = tmp_path / "typed.edge"
    path.write_bytes(worked.undump(block[1]))
    with Bundle.open(path) as bundle:
        assert bundle.graph("fp32") == worked.RELU
        threshold = bundle.in_force(Threshold)
        assert threshold is not None
        assert threshold.threshold == 0.5


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.__name__)
def test_every_field_stands_in_the_document(kind: type[msgspec.Struct]) -> None:
    names = set(re.findall(r"`([a-z0-9_]+)`", DOCUMENT))
    assert set(kind.__struct_fields__) - names == set()


@pytest.mark.parametrize(
    "words",
    [
        f"1 to {layout.MAX_MEMBERS}", f"1 to {layout.MAX_NAME} ", f"at least {MIN_BYTES} bytes",
        f"{rules.MAX_GRAPHS}, each 2^31 - 1", f"more than {rules.MAX_GROWTH['raw']} times", f"1 to {rules.MAX_SIDE_PX}",
        f"{strict_json.MAX_BYTES >> 20} MiB", f"{strict_json.MAX_DEPTH} levels", "200 000 values", "10 000",
    ],
)  # fmt: skip
def test_every_limit_stands_in_the_document(words: str) -> None:
    assert words in DOCUMENT


def test_the_limits_that_the_document_spells_with_spaces() -> None:
    assert (strict_json.MAX_VALUES, site.MAX_DECISIONS) == (200_000, 10_000)
    assert (layout.MAX_FILE, rules.MAX_GRAPH_BYTES) == (2**32 - 2, 2**31 - 1)


@pytest.mark.parametrize("name", schemas())
def test_the_schema_files_are_those_of_the_types(name: str) -> None:
    shipped = worked.DOCUMENT.with_name(name).read_text("utf-8")
    assert shipped == schemas()[name], "renew them: python -m edge_sdk.bundle.schema docs"


def test_a_bundle_satisfies_the_schemas(tmp_path: Path) -> None:
    write_tiny(tmp_path / "x.edge").close()
    data = {raw.name: raw.data for raw in members_of(tmp_path / "x.edge")}
    for member, schema in {
        b"manifest.json": "bundle-manifest.schema.json",
        b"decision.json": "bundle-decisions.schema.json",
        b"signatures/site.sig": "bundle-signature.schema.json",
    }.items():
        jsonschema.validate(json.loads(data[member]), json.loads(schemas()[schema]))
    for record in json.loads(data[b"decision.json"])["decisions"]:
        jsonschema.validate(record, json.loads(schemas()["bundle-threshold.schema.json"]))


def test_a_manifest_without_its_task_breaks_the_schema(tmp_path: Path) -> None:
    write_tiny(tmp_path / "x.edge").close()
    value = json.loads(members_of(tmp_path / "x.edge")[0].data)
    del value["task"]
    with pytest.raises(jsonschema.ValidationError, match="task"):
        jsonschema.validate(value, json.loads(schemas()["bundle-manifest.schema.json"]))
