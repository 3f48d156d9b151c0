"""Wheels bring what the command needs beside the package: Snakefile, rules, conf, profiles, scenes, weights, lock."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
SHIPPED = (
    "Snakefile",
    "rules",
    "conf",
    "profiles",
    "scenes",
    "weights/mini",
    "weights/mini_vace",
    "requirements.lock",
)


class BuildWithProject(build_py):
    """Copies the project's parts to i2v3d/project, unless the installation is editable and finds them itself."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / "i2v3d" / "project"
        for name in SHIPPED:
            source = ROOT / name
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target / name, dirs_exist_ok=True)
            else:
                shutil.copy2(source, target / name)


setup(cmdclass={"build_py": BuildWithProject})
