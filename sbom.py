"""The bill of materials of the wheel, as CycloneDX: `python sbom.py`; hatch_build.py packs it (PEP 770).

It names what the wheel holds of others (the libraries the pages and the widget are built of, with the digests npm checked),
and what the wheel asks for, in the versions everything was tested with (the newest, where they depend on the Python). What
those ask for in turn is not listed: pip decides that where the wheel is installed, and `pip-audit` looks at it there.
"""

from __future__ import annotations

import base64
import json
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAME = "runstream.cdx.json"
BUNDLED = ("svelte", "uplot")
"""What the pages load of others; the rest of package.json builds and checks them."""
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?")
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^ ;\n]+)", re.MULTILINE)


def document(root: Path) -> dict[str, Any]:
    """The bill of the sources in `root`."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    own = _python(project["name"], project["version"])
    asked, held = list(_asked_for(root, project)), list(_held(root))
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "lifecycles": [{"phase": "build"}],
            "component": {**own, "type": "application", "description": project["description"]},
        },
        "components": [*asked, *held],
        "dependencies": [
            {"ref": own["bom-ref"], "dependsOn": sorted(each["bom-ref"] for each in (*asked, *held))},
            *({"ref": each["bom-ref"]} for each in (*asked, *held)),
        ],
        "compositions": [{"aggregate": "incomplete", "dependencies": [own["bom-ref"]]}],
    }


def _asked_for(root: Path, project: dict[str, Any]) -> Iterator[dict[str, Any]]:
    pins_file = root / "constraints.txt"
    pins = dict(_PIN.findall(pins_file.read_text(encoding="utf-8"))) if pins_file.is_file() else {}
    extras = project["optional-dependencies"]
    optional = [each for name, wanted in extras.items() if name != "dev" for each in wanted]
    seen = {project["name"]}
    for scope, requirements in (("required", project["dependencies"]), ("optional", optional)):
        for requirement in requirements:
            matched = _REQUIREMENT.match(requirement)
            assert matched is not None
            if matched[1] not in seen:
                seen.add(matched[1])
                yield {**_python(matched[1], pins.get(matched[1])), "scope": scope}


def _python(name: str, version: str | None) -> dict[str, Any]:
    purl = f"pkg:pypi/{name.lower().replace('_', '-')}" + (f"@{version}" if version else "")
    return {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        **({"version": version} if version else {}),
        "purl": purl,
    }


def _held(root: Path) -> Iterator[dict[str, Any]]:
    """What is bundled, with all it is made of in turn: more than the bundler leaves in, never less."""
    lock = root / "dashboard" / "package-lock.json"
    if not lock.is_file():
        return
    packages = json.loads(lock.read_text(encoding="utf-8"))["packages"]
    waiting, seen = [_place(packages, "", name) for name in BUNDLED], set()
    while waiting:
        place = waiting.pop()
        if place in seen:
            continue
        seen.add(place)
        package, name = packages[place], place.rpartition("node_modules/")[2]
        waiting += [_place(packages, place, wanted) for wanted in package.get("dependencies", {})]
        purl = f"pkg:npm/{name.replace('@', '%40')}@{package['version']}"
        digest = base64.b64decode(package["integrity"].removeprefix("sha512-")).hex()
        yield {
            "type": "library",
            "bom-ref": purl,
            "name": name,
            "version": package["version"],
            "scope": "required",
            "hashes": [{"alg": "SHA-512", "content": digest}],
            **({"licenses": [{"license": {"id": package["license"]}}]} if "license" in package else {}),
            "purl": purl,
        }


def _place(packages: dict[str, Any], above: str, name: str) -> str:
    """Where what a package asks for lies: below itself, or below one it lies below."""
    while (place := f"{above}/node_modules/{name}".lstrip("/")) not in packages:
        above = above.rpartition("/node_modules/")[0] if "/node_modules/" in above else ""
    return place


if __name__ == "__main__":
    json.dump(document(Path(__file__).parent), sys.stdout, indent=2)
    print()
