"""Log groups that Lambda may create before the stack does: 'The specified log group already exists'."""

from __future__ import annotations

from collections.abc import Iterator

from ._template import FUNCTIONS, Finding, Resource, TemplateRule, View, as_dict, is_known, text, tokens

GROUP = "AWS::Logs::LogGroup"
_SOURCE = "https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-loggroups.html"
_TAGS = ("resources", "lambda", "logs")


def _default_names(function: Resource) -> set[str]:
    """The name of the group that Lambda uses by default, as text or as a reference."""
    names = {"${" + function.id + "}", text(function.get("FunctionName"))} - {""}
    return {f"/aws/lambda/{name}" for name in names}


def _chosen(function: Resource) -> str:
    return text(as_dict(function.get("LoggingConfig")).get("LogGroup"))


def group_of(view: View, function: Resource) -> Resource | None:
    """The log group in the template that a function writes to."""
    chosen = _chosen(function)
    if chosen:
        return view.named(chosen, "LogGroupName", GROUP)
    names = _default_names(function)
    return next((group for group in view.resources(GROUP) if text(group.get("LogGroupName")) in names), None)


class FunctionWithoutLogGroup(TemplateRule):
    id = "W9580"
    shortdesc = "A function whose log group the template does not create"
    description = (
        "Lambda creates the group on the first invocation, without retention and outside the stack, and a template "
        "that creates it later fails ('The specified log group already exists')."
    )
    source_url = _SOURCE
    tags = _TAGS
    concerns = (*FUNCTIONS, GROUP)

    def find(self, view: View) -> Iterator[Finding]:
        groups = view.resources(GROUP)
        # A group whose name is a parameter or an import may be the group of any function.
        is_open = any(_is_open(view, group) for group in groups) or not view.is_complete
        retained = {
            name for r in view.all.values() if r.type == "Custom::LogRetention" for name in tokens(r.properties)
        }
        for function in view.resources(*FUNCTIONS):
            if not is_open and not _chosen(function) and function.id not in retained and not group_of(view, function):
                yield Finding(function.path, f"{function.id} has no log group in this template")


def _is_open(view: View, group: Resource) -> bool:
    name = text(group.get("LogGroupName"))
    return any(part not in view.all and not part.startswith("AWS::") for part in tokens(name))


class LogGroupAfterFunction(TemplateRule):
    id = "W9581"
    shortdesc = "A log group that is not created before its function"
    description = (
        "Nothing orders the group before the function. If the function runs first (a custom resource, an event, an "
        "earlier deployment), Lambda creates the group and the stack fails: 'The specified log group already exists'. "
        "Refer to the group in the function's LoggingConfig, which also orders the two."
    )
    source_url = _SOURCE
    tags = _TAGS
    concerns = (*FUNCTIONS, GROUP)

    def find(self, view: View) -> Iterator[Finding]:
        for function in view.resources(*FUNCTIONS):
            group = group_of(view, function)
            if group and group.id not in view.depends(function):
                after = " and refers to it" if function.id in view.depends(group) else ""
                yield Finding(group.path, f"{group.id} is not created before {function.id}{after}")


class LogGroupWithoutRetention(TemplateRule):
    id = "W9582"
    shortdesc = "A log group without retention"
    description = "RetentionInDays is not set, so logs are never deleted."
    source_url = (
        "https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/aws-resource-logs-loggroup.html"
        "#cfn-logs-loggroup-retentionindays"
    )
    tags = ("resources", "logs")
    concerns = (GROUP,)

    def find(self, view: View) -> Iterator[Finding]:
        for group in view.resources(GROUP):
            # The retention of a group of the DELIVERY class cannot be set.
            if group.get("RetentionInDays") is None and text(group.get("LogGroupClass")) != "DELIVERY":
                yield Finding(group.path, f"{group.id} has no RetentionInDays")


class LogGroupByNameOnly(TemplateRule):
    id = "W9583"
    shortdesc = "A function that uses its log group by the default name"
    description = (
        "The group has Lambda's default name, so an existing /aws/lambda/NAME blocks the stack. Choose another name "
        "and set LoggingConfig.LogGroup."
    )
    source_url = _SOURCE
    tags = _TAGS
    concerns = (*FUNCTIONS, GROUP)

    def find(self, view: View) -> Iterator[Finding]:
        for function in view.resources(*FUNCTIONS):
            group = group_of(view, function)
            if group and not _chosen(function) and group.id in view.depends(function):
                where = function.at("LoggingConfig") if is_known(function.id) else function.path
                yield Finding(where, f"The LoggingConfig of {function.id} does not name {group.id}")
