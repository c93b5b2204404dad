"""JSON Schema of the bundle's JSON members, made from the types that read them. Knows no archive.

`python -m edge_sdk.bundle.schema docs` writes the files that the documentation ships.
"""

from __future__ import annotations

import json
import sys
from inspect import cleandoc
from pathlib import Path

import msgspec

from edge_sdk.bundle.manifest import Manifest
from edge_sdk.bundle.signing import Signature
from edge_sdk.bundle.site import Decisions
from edge_sdk.decision.record import KINDS, type_of


def schemas() -> dict[str, str]:
    """File name -> text, for the manifest, the decisions, each kind of record and a signature."""
    types: dict[str, type[msgspec.Struct]] = {"manifest": Manifest, "decisions": Decisions, "signature": Signature}
    found = {}
    for name, kind in {**types, **{kind: type_of(kind) for kind in KINDS}}.items():
        schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(kind)}
        for definition in schema["$defs"].values():
            definition["description"] = cleandoc(definition["description"])  # Python 3.13 does this by itself
        found[f"bundle-{name}.schema.json"] = json.dumps(schema, indent=1, ensure_ascii=False) + "\n"
    return found


if __name__ == "__main__":
    for file, text in schemas().items():
        Path(sys.argv[1], file).write_text(text, encoding="utf-8")
