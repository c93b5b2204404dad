"""A camera in a loop, the verdict on the frame.

    python samples/opencv_camera.py line3.edge --camera 0

It shows a window, which opencv-python has and opencv-python-headless has not.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2

import edge_sdk


def watch(bundle: Path, camera: str) -> None:
    """Shows frames with their verdict until a key is pressed. A frame that can't be read is an error."""
    source = cv2.VideoCapture(int(camera) if camera.isdigit() else camera)
    with edge_sdk.load_as(edge_sdk.AnomalyDetector, bundle, color="bgr") as detector:  # OpenCV's frames are BGR
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


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--camera", default="0", help="its number, as OpenCV counts them, or a video file or address")
    asked = parser.parse_args()
    watch(asked.bundle, asked.camera)


if __name__ == "__main__":
    main()
