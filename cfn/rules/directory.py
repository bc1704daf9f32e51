"""Entry point of ``cfn-lint -a path/to/this/folder``.

cfn-lint imports every file in a directory whose name starts with a letter, outside any package. This is the only such
file here: it loads the folder as a package, so relative imports work without installation, and exposes the rules.
"""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

_NAME = "transaction_pipeline_rules"


def _load() -> dict[str, type]:
    folder = Path(__file__).resolve().parent
    spec = spec_from_file_location(_NAME, folder / "__init__.py", submodule_search_locations=[str(folder)])
    if spec is None or spec.loader is None:
        raise ImportError(f"{folder} cannot be loaded as a package")
    package = module_from_spec(spec)
    sys.modules[_NAME] = package
    spec.loader.exec_module(package)
    return {name: getattr(package, name) for name in package.__all__}


globals().update(_load())
