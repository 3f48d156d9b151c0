"""What the photo's own two objects are, the foreground and the background, before they are files of the scene."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from i2v3d.artifacts.scene_spec import IDENTITY, Pose
from i2v3d.geometry.meshes import TexturedMesh, write_glb
from i2v3d.scene.mesh_files import copy_mesh


class Geometry(Protocol):
    """What a mesh file holds: vertices_m (n, 3), z up, metres; faces (m, 3)."""

    @property
    def vertices_m(self) -> NDArray[np.float32]: ...

    @property
    def faces(self) -> NDArray[np.int64]: ...


ReadGeometry = Callable[[Path], Geometry]


@dataclass(frozen=True)
class Part:
    """Meshes that this program made, or the file of one and where it stands.

    points_m: (n, 3), its vertices in the world. faces: triangles. place: world from mesh axes, of a file.
    metrics: what was measured while it was made.
    """

    source: tuple[TexturedMesh, ...] | Path
    points_m: NDArray[np.floating[Any]]
    faces: int
    place: Pose = IDENTITY
    metrics: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def made(*meshes: TexturedMesh, metrics: Mapping[str, Any] | None = None) -> Part:
        """Of meshes in world axes."""
        points = np.concatenate([mesh.vertices_m for mesh in meshes])
        return Part(meshes, points, sum(len(mesh.faces) for mesh in meshes), metrics=metrics or {})

    def write(self, out: Path, name: str, max_faces: int) -> str:
        """Writes or copies the mesh into out/meshes/; returns its path relative to `out`.

        Raises InputError as `copy_mesh`.
        """
        if isinstance(self.source, tuple):
            write_glb(out / "meshes" / f"{name}.glb", *self.source)
            return f"meshes/{name}.glb"
        return str(copy_mesh(self.source, out / "meshes" / name, max_faces).relative_to(out))
