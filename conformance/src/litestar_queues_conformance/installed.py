"""Finds out, without importing it, whether the installed `litestar_queues` is the one that the suite is for.

The package index has another project with this name and this import name. Imports only the standard library, and
`packaging`, which pytest requires.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.machinery import PathFinder
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import InvalidVersion

__all__ = ("MODULES", "distribution_problem", "problem")

MODULES = ("lifecycle", "records", "backends.base")
"""Modules of `litestar_queues` without which the suite can do nothing."""
_SUITE = "litestar-queues-conformance"
_LIBRARY = "litestar-queues"
_PACKAGE = "litestar_queues"


def problem() -> str | None:
    """What is wrong with the installed `litestar_queues` and what to do about it, in a sentence; None where nothing is."""
    return distribution_problem(*_installed()) or _package_problem()


def distribution_problem(installed: str | None, needed: str | None) -> str | None:
    """What is wrong with the version of the installed distribution.

    Args:
        installed: The version of `litestar-queues`; None where no distribution of this name is installed.
        needed: The versions that the suite works with, such as `>=1.0.0a1`; None where that is not known.
    """
    if installed is None or needed is None:
        return None  # a checkout on the path has no metadata: the package itself is looked at
    try:
        requirement = Requirement(f"{_LIBRARY}{needed}")
        if requirement.specifier.contains(installed, prereleases=True):
            return None
    except (InvalidRequirement, InvalidVersion):
        return None
    return (
        f"the conformance suite needs {_LIBRARY} {needed}, and {_LIBRARY} {installed} is installed here "
        f"(the versions 0.1.0 to 0.12.0 on the package index are another project): "
        f"install {_quoted(needed)} into this environment"
    )


def _package_problem() -> str | None:
    """What is wrong with the package that `import litestar_queues` would find."""
    try:
        spec = find_spec(_PACKAGE)
    except ValueError:  # somebody put a module without a spec into sys.modules
        spec = None
    if spec is None:
        return (
            f"the conformance suite needs {_LIBRARY}, and there is no package {_PACKAGE!r} in this environment: "
            f"install {_quoted(_installed()[1])} into it"
        )
    missing = list(_missing(list(spec.submodule_search_locations or ())))
    if not missing:
        return None
    return (
        f"the package {_PACKAGE!r} at {spec.origin or next(iter(spec.submodule_search_locations or ()), '?')} is another "
        f"project, or an incomplete copy: it has no {', '.join(missing)}. "
        f"Remove it from this environment or path, and install {_quoted(_installed()[1])}"
    )


def _missing(locations: list[str]) -> Iterator[str]:
    """The names of our modules that these folders lack; looked for without importing their parents."""
    for name in MODULES:
        places = locations
        full = _PACKAGE
        for part in name.split("."):
            full = f"{full}.{part}"
            spec = PathFinder.find_spec(full, places) if places else None
            if spec is None:
                yield full
                break
            places = list(spec.submodule_search_locations or ())


def _installed() -> tuple[str | None, str | None]:
    """The version of the library, and those that the suite's metadata require."""
    try:
        installed: str | None = version(_LIBRARY)
    except PackageNotFoundError:
        installed = None
    try:
        lines = requires(_SUITE) or []
    except PackageNotFoundError:
        lines = []
    for line in lines:
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue
        if requirement.name == _LIBRARY and requirement.marker is None:
            return installed, str(requirement.specifier) or None
    return installed, None


def _quoted(needed: str | None) -> str:
    return f"'{_LIBRARY}{needed or ''}'"
