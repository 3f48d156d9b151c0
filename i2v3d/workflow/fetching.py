"""Brings and checks the published weights that a configuration needs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from i2v3d.errors import WeightsError
from i2v3d.models import hub, hub_cache
from i2v3d.models.manifest import Manifest, check_headers, compare, is_of, load_manifest, read_shapes
from i2v3d.models.needs import ANY, Need, judge_needs, scene_needs
from i2v3d.workflow.composition import compose_variants
from i2v3d.workflow.preflight import read_needs
from i2v3d.workflow.selection import validate_sections

log = logging.getLogger(__name__)

Tell = Callable[[str], object]


def chosen_weights(conf: Path, words: Sequence[str], judges: bool) -> tuple[list[Need], Manifest]:
    """What the Hydra words need, and the manifest of their family. judges: the networks for scores as well.

    Raises ConfigError for words that do not compose.
    """
    (variant,) = compose_variants(conf, words)
    validate_sections(variant.config)
    needs = [*read_needs(variant.config), *scene_needs(variant.config)]
    needs += judge_needs(variant.config) if judges else []
    return needs, load_manifest(variant.config["models"]["name"])


def fetch(needs: Sequence[Need], manifest: Manifest, source: Path | None, tell: Tell) -> None:
    """Brings what is missing into the local model cache and checks all of it.

    source: a folder to copy from instead of asking the hub. tell: is given lines for the user. What lies in folders of
    the user's is checked only. Raises WeightsError or MachineError as `i2v3d.models.hub`.
    """
    wanted = [need for need in needs if hub_cache.is_repository(need)]
    if source is not None:
        for need in wanted:
            tell(f"{need.option}: {need.ref.source} from {source}; licence: {need.ref.licence}")
            hub_cache.adopt(need, source)
    else:
        offers = [hub.offer(need) for need in wanted]
        for one in offers:
            tell(_offered(one))
        hub_cache.check_room(sum(one.left for one in offers))
        for one in offers:
            if one.left:
                tell(f"fetching {one.need.ref.source}, {one.left / 1e9:.2f} GB")
            hub.download(one)
    check(needs, manifest, tell, hashes=False)


def check(needs: Sequence[Need], manifest: Manifest, tell: Tell, *, hashes: bool) -> None:
    """Compares all weights with the manifest, or with their own configurations where it does not know them.

    hashes: also the whole content of repositories' files. Nothing is fetched. Raises WeightsError, after a line for
    each, if any is missing, truncated or wrong.
    """
    wrong = []
    for need in needs:
        try:
            tell(f"{need.option}: {need.ref.source} is {_checked(need, manifest, hashes)}")
        except WeightsError as error:
            wrong.append(need.option)
            tell(f"{need.option}: {error}")
    if wrong:
        raise WeightsError(
            f"{len(wrong)} of {len(needs)} weights cannot be used: {', '.join(wrong)}; see the lines above"
        )
    for line in manifest.unconfirmed:
        tell(f"not confirmed: {line}")


def _checked(need: Need, manifest: Manifest, hashes: bool) -> str:
    """How well the weights of `need` are, in words. Raises WeightsError."""
    root = check_headers(need, manifest)
    # torch, which the loading of other commands' modules need not wait for
    from i2v3d.models.architectures import derived_shapes

    parameters, said_by = 0, set[str]()
    for part in need.parts:
        if part.network is None:
            continue
        folder = root / part.folder
        found = read_shapes(need.ref, folder, part)
        parameters += len(found)
        known = manifest.networks.get(f"{need.option}/{part.folder}")
        if known is not None and is_of(known, folder / "config.json"):
            said_by.add("the manifest says")
        elif part.network == ANY:
            said_by.add("the file says (its loader will compare)")
        else:
            compare(derived_shapes(part.network, folder), found, folder, part.network, need.ref)
            said_by.add("its own config.json says")
    said = f"complete: {parameters} parameters as {' and '.join(sorted(said_by))}"
    if hashes:
        names = [str(path.relative_to(root)) for path in sorted(root.rglob("*")) if path.is_file()]
        compared = hub_cache.verify(root, names, delete=False)
        said += (
            f", {compared} files have their repository's hashes"
            if compared
            else ", no hashes to compare with"
        )
    return said


def _offered(one: hub.Offer) -> str:
    ref, count = one.need.ref, len(one.files)
    here = "all here" if not one.left else f"{one.left / 1e9:.2f} GB to fetch"
    return (
        f"{one.need.option}: {ref.source} at {one.commit[:12]}, {count} files, {one.size / 1e9:.2f} GB, {here}; "
        f"licence: {ref.licence}"
    )
