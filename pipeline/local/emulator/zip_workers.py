"""Functions from zip files start without botocore, unless they import it themselves.

ministack's worker imports botocore before every Python function, so that calls from function to function carry how deep
they are. That is most of the start of a function that does without, as the one that pushes the placeholders. Here the
same is done when the function imports botocore, and not before.
"""

from __future__ import annotations

import importlib
from typing import Any

_DEFINITION = "def _ms_install_invoke_depth():"
_AT_IMPORT = """
def _ms_install_invoke_depth():
    import sys
    from importlib.machinery import PathFinder

    class AtImport:
        def find_spec(self, name, path=None, target=None):
            if name != "botocore.handlers":
                return None
            sys.meta_path.remove(self)
            spec = PathFinder.find_spec(name, path, target)
            if spec is not None and spec.loader is not None:
                execute = spec.loader.exec_module

                def exec_module(module):
                    execute(module)
                    sys.modules["botocore"].handlers = module  # as Python does after this
                    _ms_count_invoke_depth()

                spec.loader.exec_module = exec_module
            return spec

    sys.meta_path.insert(0, AtImport())

"""


def start_without_botocore() -> None:
    """Change the script of ministack's Python workers; a script that does not look as expected stays as it is."""
    runtime: Any = importlib.import_module("ministack.core.lambda_runtime")
    script = getattr(runtime, "_PYTHON_WORKER_SCRIPT", "")
    if script.count(_DEFINITION) == 1:
        counted = script.replace(_DEFINITION, "def _ms_count_invoke_depth():")
        runtime._PYTHON_WORKER_SCRIPT = counted.replace("import sys, json", _AT_IMPORT + "import sys, json", 1)
