"""The worked file of docs/bundle-format.md: one Relu, one decision. `python tests/bundle/worked.py` renews its hex."""

from __future__ import annotations

import re
from pathlib import Path

from edge_sdk.bundle.manifest import Graph, Manifest, Provenance
from edge_sdk.bundle.store import write_bundle
from edge_sdk.decision.threshold import Threshold
from edge_sdk.tensors import TensorSpec

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "bundle-format.md"
BLOCK = re.compile(r"```hex\n(.*?)```", re.DOTALL)

# ModelProto: ir_version 7, graph "g" of one node Relu(x) -> y on float32 [2], opset 13; byte by byte, so that no
# version of any package changes it.
RELU = bytes.fromhex(
    "080712003a330a0c0a0178120179220452656c751201675a0f0a0178120a0a08080112040a020802620f0a0179120a0a080801"
    "12040a02080242040a00100d"
)


def write(path: Path) -> bytes:
    """The file's bytes."""
    graph = Graph(
        name="fp32",
        variant="fp32",
        member="",
        size_bytes=0,
        sha256="",
        opset=13,
        inputs=(TensorSpec(name="x", dtype="float32", shape=(2,)),),
        outputs=(TensorSpec(name="y", dtype="float32", shape=(2,)),),
    )
    manifest = Manifest(
        name="worked",
        family="none",
        task="tensor",
        graphs=(graph,),
        provenance=Provenance(created_utc="", product_version="0.1.0", command=(), packages={}),
    )
    decision = Threshold(rule="fixed", threshold=0.5)
    write_bundle(path, manifest=manifest, graphs={"fp32": RELU}, members={}, decisions=(decision,)).close()
    return path.read_bytes()


def dump(data: bytes) -> str:
    """Offset, 16 bytes in hex, the same as ASCII; lines of nothing but zeros as `*`, as hexdump does."""
    lines: list[str] = []
    for at in range(0, len(data), 16):
        row = data[at : at + 16]
        if not any(row) and lines and len(row) == 16:
            if lines[-1] != "*":
                lines.append("*")
            continue
        text = "".join(chr(byte) if 32 <= byte < 127 and chr(byte) != "`" else "." for byte in row)
        lines.append(f"{at:08x}  {row.hex(' '):<47}  {text}")
    return "\n".join([*lines, f"{len(data):08x}"]) + "\n"


def undump(text: str) -> bytes:
    """The bytes that `dump` showed."""
    data = bytearray()
    for line in text.splitlines():
        if line != "*":
            at = int(line[:8], 16)
            data += bytes(at - len(data)) + bytes.fromhex(line[10:57])
    return bytes(data)


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        block = f"```hex\n{dump(write(Path(folder, 'worked.edge')))}```"
    DOCUMENT.write_text(BLOCK.sub(lambda _: block, DOCUMENT.read_text("utf-8")), encoding="utf-8")
