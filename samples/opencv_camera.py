"""A camera in a loop, the verdict on the frame. Run: python samples/opencv_camera.py line3.edge [camera number]

It shows a window, which opencv-python has and opencv-python-headless has not.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2

import edge_sdk


def main(bundle: Path, camera: int) -> None:
    """Shows judged frames until a key is pressed. A frame that could not be read is an error, never a black picture."""
    source = cv2.VideoCapture(camera)
    with edge_sdk.load(bundle, color="bgr") as detector:  # OpenCV's frames are BGR
        detector.warm_up()
        while cv2.waitKey(1) < 0:
            ok, frame = source.read()
            if not ok:
                raise SystemExit(f"camera {camera} gave no frame")
            result = detector.predict(frame)
            shown = result.plot(frame[:, :, ::-1])[:, :, ::-1].copy()
            words = f"{result.verdict.label} {result.score:.3f}"
            cv2.putText(shown, words, (10, 30), cv2.FONT_HERSHEY_SIMPLEX, 1.0, (255, 255, 255), 2)
            cv2.imshow("edge-sdk", shown)


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 3:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
