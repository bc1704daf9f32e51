import zlib
from pathlib import Path

MODEL = (Path(__file__).parent / "model.bin").read_bytes()
SCALE = 1


def handle(event, context):
    return {"size": len(MODEL), "checksum": zlib.crc32(MODEL), "scale": SCALE}
