"""Pictures, maps and videos survive the disk."""

from pathlib import Path

import numpy as np
import pytest

from i2v3d import images
from i2v3d.errors import ArtifactError, ShapeError


def test_png_and_exr_round_trips_are_exact(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    images.write_rgb(tmp_path / "a.png", rgb)
    assert np.array_equal(images.read_rgb(tmp_path / "a.png"), rgb)

    mask = rng.random((5, 7)) > 0.5
    images.write_mask(tmp_path / "m.png", mask)
    assert np.array_equal(images.read_mask(tmp_path / "m.png"), mask)

    depth = rng.random((5, 7)).astype(np.float32)
    depth[0, 0] = np.inf
    images.write_depth(tmp_path / "d.exr", depth)
    assert np.array_equal(images.read_depth(tmp_path / "d.exr"), depth)

    flow = rng.normal(size=(5, 7, 2)).astype(np.float32)
    images.write_flow(tmp_path / "f.exr", flow)
    assert np.array_equal(images.read_flow(tmp_path / "f.exr"), flow)


def test_video_keeps_frames_in_order_and_plays_as_yuv420p(tmp_path: Path) -> None:
    frames = [np.full((33, 48, 3), 20 + 40 * i, np.uint8) for i in range(5)]
    assert images.write_video(tmp_path / "v.mp4", frames, fps=8, crf=10) == 5
    back = images.read_video(tmp_path / "v.mp4")
    assert back.shape == (5, 32, 48, 3)
    levels = back.reshape(5, -1).mean(axis=1)
    assert np.abs(levels - [20, 60, 100, 140, 180]).max() < 3

    import av

    with av.open(str(tmp_path / "v.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert stream.average_rate == 8


@pytest.mark.slow
def test_a_video_of_the_same_frames_has_the_same_bytes(tmp_path: Path) -> None:
    frames = list(np.random.default_rng(0).integers(0, 256, (5, 142, 200, 3), dtype=np.uint8))
    written = set()
    for attempt in range(20):
        # The encoder's buffers lie elsewhere every time.
        shifted = np.full(1_000_003 + 1000 * attempt, attempt, np.uint8)
        images.write_video(tmp_path / "v.mp4", frames, fps=8, crf=16)
        written.add((tmp_path / "v.mp4").read_bytes())
        del shifted
    assert len(written) == 1


def test_a_sheet_places_pictures_row_by_row() -> None:
    a, b, c = (np.full((2, 3, 3), v, np.uint8) for v in (1, 2, 3))
    sheet = images.grid([[a, b], [c]], gap_px=1)
    assert sheet.shape == (5, 7, 3)
    assert (sheet[0, 0, 0], sheet[0, 4, 0], sheet[3, 0, 0], sheet[3, 4, 0]) == (1, 2, 3, 255)


def test_bad_files_and_shapes_are_named(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"not a picture")
    with pytest.raises(ArtifactError, match=r"x\.png is not a readable picture"):
        images.read_rgb(tmp_path / "x.png")
    (tmp_path / "x.exr").write_bytes(b"not an exr")
    with pytest.raises(ArtifactError, match=r"x\.exr is not a readable EXR"):
        images.read_depth(tmp_path / "x.exr")
    with pytest.raises(ShapeError, match="uint8"):
        images.write_rgb(tmp_path / "y.png", np.zeros((2, 2, 3), np.float32))
    with pytest.raises(ShapeError, match="frame 2"):
        images.write_video(
            tmp_path / "v.mp4", [np.zeros((4, 4, 3), np.uint8), np.zeros((6, 4, 3), np.uint8)], 8, 20
        )
    with pytest.raises(ShapeError, match="at least one frame"):
        images.write_video(tmp_path / "w.mp4", [], 8, 20)
