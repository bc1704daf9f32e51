"""A troposphere template without troposphere's limits: ``cfn.render`` reports all exceeded limits at once."""

from __future__ import annotations

from typing import Any

from troposphere import Template


class OpenTemplate(Template):  # type: ignore[misc]
    """Does not raise ValueError for too many resources, outputs or parameters, only for a repeated logical id."""

    def add_resource(self, resource: Any) -> Any:
        return self._update(self.resources, resource)

    def add_output(self, output: Any) -> Any:
        return self._update(self.outputs, output)

    def add_parameter(self, parameter: Any) -> Any:
        return self._update(self.parameters, parameter)
