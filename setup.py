"""What makes up the import package `edge_sdk`: every folder that is a package, so that a new one is listed nowhere.

The links inside edge_sdk/ are not followed here: a source archive, and a checkout on Windows, hold none.
"""

import shutil

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

LINKED = ("runtimes", "calibration", "export")
"""Top folders that install below `edge_sdk`."""
DATA = ["*.j2", *(f"**/*.{ending}" for ending in ("safetensors", "json", "jpg", "png", "md", "txt"))]
"""What they ship beside modules: templates, weights, demo pictures, licences and where all that comes from."""


class FreshBuild(build_py):
    """Starts from nothing: a module that moved since an earlier build would ship at its old place too."""

    def run(self) -> None:
        if not self.editable_mode:
            shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()


inner = [name for name in find_packages("edge_sdk") if name.split(".")[0] not in LINKED]
linked = [name for top in LINKED for name in (top, *(f"{top}.{below}" for below in find_packages(top)))]
setup(
    cmdclass={"build_py": FreshBuild},
    packages=["edge_sdk", *(f"edge_sdk.{name}" for name in (*inner, *linked))],
    package_dir={"edge_sdk": "edge_sdk", **{f"edge_sdk.{top}": top for top in LINKED}},
    package_data={"edge_sdk": ["py.typed"], **{f"edge_sdk.{name}": DATA for name in linked}},
)
