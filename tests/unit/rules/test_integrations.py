from __future__ import annotations

from cfn.rules import IntegrationMisused, LambdaTaskWithoutRetry, TaskWithoutCatch
from tests.unit.rules.linting import cases, failing, findings

MACHINE = """
        Parameters: {Unknown: {Type: String}}
        Resources:
          F: {Type: AWS::Lambda::Function, Properties: {Role: r, Code: {ZipFile: x}}}
          M:
            Type: AWS::StepFunctions::StateMachine
            Properties:
              RoleArn: arn:aws:iam::123456789012:role/r
              StateMachineType: %s
              Definition: {QueryLanguage: %s, StartAt: T, States: {T: {Type: Task, Resource: %s}}}
"""


def task(resource: str, query: str = "JSONata", kind: str = "STANDARD") -> str:
    """A machine of one Task: its Resource, and whatever follows that."""
    return MACHINE % (kind, query, resource)


INVOKE = "'arn:aws:states:::lambda:invoke', Arguments: {FunctionName: !Ref F}"
INVOKE_BY_PATH = "'arn:aws:states:::lambda:invoke', Parameters: {FunctionName.$: $.name}"


@failing(
    no_function_name=(
        task("'arn:aws:states:::lambda:invoke', Arguments: {Payload: x}"),
        "needs FunctionName in its Arguments",
    ),
    no_parameters=(task("'arn:aws:states:::lambda:invoke'", "JSONPath"), "needs FunctionName in its Parameters"),
    not_an_arn=(task("lambda:invoke"), "'lambda:invoke' is not a resource of a Task"),
    the_service_alone=(task("'arn:aws:states:::lambda'"), "lambda: is not an optimised integration"),
    another_case=(task("'arn:aws:states:::lambda:Invoke'"), "lambda:Invoke is not an optimised integration"),
    a_function_appended=(
        task("!Sub 'arn:${AWS::Partition}:states:::lambda:invoke:f'"),
        "lambda:invoke:f is not an optimised integration",
    ),
    an_action_that_is_not_optimised=(task("'arn:aws:states:::dynamodb:query'"), "aws-sdk:dynamodb)"),
    sync_of_lambda=(task(INVOKE.replace("invoke'", "invoke.sync'")), "lambda:invoke does not support .sync"),
    callback_of_dynamodb=(
        task(
            "'arn:aws:states:::dynamodb:putItem.waitForTaskToken', Arguments: {T: '{% $states.context.Task.Token %}'}"
        ),
        "does not support .waitForTaskToken",
    ),
    sync_of_an_express=(
        task("'arn:aws:states:::states:startExecution.sync:2'", kind="EXPRESS"),
        "An EXPRESS workflow does not support .sync:2",
    ),
    callback_without_token=(
        task("'arn:aws:states:::sqs:sendMessage.waitForTaskToken', Arguments: {MessageBody: x}"),
        "The task token is not passed on",
    ),
    sdk_in_pascal_case=(task("'arn:aws:states:::aws-sdk:dynamodb:Query'"), "unlike 'Query'"),
    sdk_sync=(task("'arn:aws:states:::aws-sdk:ecs:runTask.sync'"), "does not support .sync"),
    an_answer_without_payload=(
        task(INVOKE + ", Output: '{% $states.result.valid %}'"),
        "no 'valid': lambda:invoke returns the function's result in Payload",
    ),
    a_selector_without_payload=(
        task(INVOKE_BY_PATH + ", ResultSelector: {valid.$: $.valid, status.$: $.StatusCode}", "JSONPath"),
        "no 'valid'",
    ),
    an_envelope_for_a_function=(
        task("!GetAtt F.Arn, Parameters: {FunctionName: !Ref F, Payload.$: $}", "JSONPath"),
        "not to a function's ARN",
    ),
)
def test_an_integration_that_does_not_exist_is_found(template: str, message: str) -> None:
    assert [message in found for found in findings(IntegrationMisused, template)] == [True]


@cases(
    invoke=task(INVOKE + ", Output: '{% $states.result.Payload.valid %}'"),
    invoke_by_path=task(INVOKE_BY_PATH + ", ResultSelector: {valid.$: $.Payload.valid}", "JSONPath"),
    computed_arguments=task("'arn:aws:states:::lambda:invoke', Arguments: '{% $call %}'"),
    a_function=task("!GetAtt F.Arn, Parameters: {amount.$: $.amount}", "JSONPath"),
    a_function_by_arn=task("'arn:aws:lambda:us-east-1:123456789012:function:f'", "JSONPath"),
    an_activity=task("'arn:aws:states:us-east-1:123456789012:activity:a'"),
    a_parameter=task("!Ref Unknown"),
    a_service_by_parameter=task("!Sub 'arn:aws:states:::${Unknown}'"),
    sdk=task("'arn:aws:states:::aws-sdk:dynamodb:query', Arguments: {}"),
    callback_with_token=task(
        "'arn:aws:states:::lambda:invoke.waitForTaskToken', "
        "Arguments: {FunctionName: f, Payload: {token: '{% $states.context.Task.Token %}'}}"
    ),
    callback_with_token_by_path=task(
        "'arn:aws:states:::sqs:sendMessage.waitForTaskToken', Parameters: {MessageBody: {token.$: $$.Task.Token}}",
        "JSONPath",
    ),
    sync_of_a_standard=task("'arn:aws:states:::states:startExecution.sync:2'"),
    a_type_by_parameter=task("'arn:aws:states:::states:startExecution.sync:2'", kind="!Ref Unknown"),
    a_service_that_is_not_modelled=task("'arn:aws:states:::bedrock:invokeModel'"),
)
def test_an_integration_that_exists_or_is_not_known_passes(template: str) -> None:
    assert findings(IntegrationMisused, template) == []


ALL_FOUR = (
    "[Lambda.ServiceException, Lambda.AWSLambdaException, Lambda.SdkClientException, Lambda.TooManyRequestsException]"
)


@failing(
    no_retry=(task(INVOKE), "Lambda.ServiceException, Lambda.AWSLambdaException"),
    one_missing=(
        task(INVOKE + f", Retry: [{{ErrorEquals: {ALL_FOUR.replace(', Lambda.TooManyRequestsException', '')}}}]"),
        "Lambda.TooManyRequestsException is not retried by the Task at /States/T",
    ),
    no_attempt=(task(INVOKE + ", Retry: [{ErrorEquals: [States.ALL], MaxAttempts: 0}]"), "is not retried"),
    another_error=(task(INVOKE + ", Retry: [{ErrorEquals: [States.Timeout]}]"), "Lambda.ServiceException"),
    a_function_as_resource=(task("!GetAtt F.Arn"), "is not retried"),
    sdk=(task(INVOKE.replace("states:::lambda", "states:::aws-sdk:lambda")), "is not retried"),
)
def test_a_lambda_task_without_retry_is_found(template: str, message: str) -> None:
    assert [message in found for found in findings(LambdaTaskWithoutRetry, template)] == [True]


@cases(
    all_four=task(INVOKE + f", Retry: [{{ErrorEquals: {ALL_FOUR}}}]"),
    over_two_retriers=task(
        INVOKE + ", Retry: [{ErrorEquals: [Lambda.TooManyRequestsException], MaxAttempts: 9},"
        " {ErrorEquals: [Lambda.ServiceException, Lambda.AWSLambdaException, Lambda.SdkClientException]}]"
    ),
    everything=task(INVOKE + ", Retry: [{ErrorEquals: [States.ALL]}]"),
    every_task_error=task(INVOKE + ", Retry: [{ErrorEquals: [States.TaskFailed]}]"),
    an_error_by_parameter=task(INVOKE + ", Retry: [{ErrorEquals: [!Ref Unknown]}]"),
    another_service=task("'arn:aws:states:::dynamodb:getItem'"),
)
def test_a_lambda_task_with_retry_passes(template: str) -> None:
    assert findings(LambdaTaskWithoutRetry, template) == []


PARALLEL = """
        Resources:
          M:
            Type: AWS::StepFunctions::StateMachine
            Properties:
              RoleArn: r
              Definition:
                StartAt: P
                States:
                  P:
                    Type: Parallel
                    End: true
                    %s
                    Branches:
                      - StartAt: M
                        States:
                          M:
                            Type: Map
                            End: true
                            ItemProcessor: {StartAt: T, States: {T: {Type: Task, Resource: x, End: true}}}
                  D: {Type: Fail}
"""


@failing(
    alone=(task(INVOKE), "No Catch handles an error of the Task at /States/T"),
    inside_a_parallel=(PARALLEL % "Comment: x", "/States/P/Branches/0/States/M/ItemProcessor/States/T"),
    an_empty_catch=(task(INVOKE + ", Catch: []"), "No Catch"),
)
def test_a_task_without_catch_is_found(template: str, message: str) -> None:
    assert [message in found for found in findings(TaskWithoutCatch, template)] == [True]


@cases(
    its_own=task(INVOKE + ", Catch: [{ErrorEquals: [States.ALL], Next: T}]"),
    of_the_parallel_around_it=PARALLEL % "Catch: [{ErrorEquals: [States.ALL], Next: D}]",
)
def test_a_task_with_catch_passes(template: str) -> None:
    assert findings(TaskWithoutCatch, template) == []
