"""A troposphere template without a count of its own: ``cfn.render`` names every limit that is broken, at once."""

from __future__ import annotations

from typing import Any

from troposphere import Template


class OpenTemplate(Template):  # type: ignore[misc]
    """Takes whatever is added, where troposphere raises ValueError at the first resource, output or parameter too many.

    A logical id that is there already is a ValueError still.
    """

    def add_resource(self, resource: Any) -> Any:
        return self._update(self.resources, resource)

    def add_output(self, output: Any) -> Any:
        return self._update(self.outputs, output)

    def add_parameter(self, parameter: Any) -> Any:
        return self._update(self.parameters, parameter)
