from __future__ import annotations

from cfn.rules import AttributeDefinitionsDiffer
from tests.unit.rules.linting import cases, failing, findings

TABLE = """
        Parameters: {Key: {Type: String, Default: transaction_id}, Other: {Type: String}}
        Resources:
          T:
            Type: AWS::DynamoDB::%s
            Properties:
              AttributeDefinitions: [%s]
              KeySchema: [{AttributeName: %s, KeyType: HASH}]
"""
KEY = "{AttributeName: transaction_id, AttributeType: S}"
CUSTOMER = "{AttributeName: customer_id, AttributeType: S}"
INDEX = """
              GlobalSecondaryIndexes: [{IndexName: i, KeySchema: [{AttributeName: %s, KeyType: HASH}]}]
"""


@failing(
    a_definition_too_many=(
        TABLE % ("GlobalTable", f"{KEY}, {CUSTOMER}", "transaction_id"),
        "'customer_id' is defined but no key uses it",
    ),
    an_index_without_definition=(
        TABLE % ("GlobalTable", KEY, "transaction_id") + INDEX % "customer_id",
        "'customer_id' is used as a key but not defined",
    ),
    a_local_index=(
        TABLE % ("GlobalTable", KEY, "transaction_id") + (INDEX % "customer_id").replace("Global", "Local"),
        "'customer_id' is used",
    ),
    a_name_by_default=(
        TABLE % ("Table", f"{KEY}, {CUSTOMER}", "!Ref Key"),
        "'customer_id' is defined but no key uses it",
    ),
    a_name_by_sub=(TABLE % ("Table", f"{KEY}, {CUSTOMER}", "!Sub '${Key}'"), "'customer_id'"),
)
def test_a_difference_is_found(template: str, message: str) -> None:
    assert [message in found for found in findings(AttributeDefinitionsDiffer, template)] == [True]


@cases(
    a_global_table=TABLE % ("GlobalTable", f"{KEY}, {CUSTOMER}", "transaction_id") + INDEX % "customer_id",
    a_name_by_default=TABLE % ("Table", KEY, "!Ref Key"),
    the_same_unknown_name=TABLE % ("Table", "{AttributeName: !Ref Other, AttributeType: S}", "!Sub '${Other}'"),
    definitions_by_reference="""
        Resources:
          T:
            Type: AWS::DynamoDB::GlobalTable
            Properties:
              AttributeDefinitions: {Fn::Transform: {Name: M}}
              KeySchema: [{AttributeName: a, KeyType: HASH}]
        """,
    literal_names_are_left_to_cfn_lint=TABLE % ("Table", f"{KEY}, {CUSTOMER}", "transaction_id"),
    an_index_under_the_same_condition="""
        Parameters: {Wide: {Type: String, AllowedValues: ['yes', 'no'], Default: 'no'}}
        Conditions: {IsWide: !Equals [!Ref Wide, 'yes']}
        Resources:
          T:
            Type: AWS::DynamoDB::GlobalTable
            Properties:
              AttributeDefinitions:
                - {AttributeName: a, AttributeType: S}
                - !If [IsWide, {AttributeName: b, AttributeType: S}, !Ref AWS::NoValue]
              KeySchema: [{AttributeName: a, KeyType: HASH}]
              GlobalSecondaryIndexes: !If
                - IsWide
                - [{IndexName: i, KeySchema: [{AttributeName: b, KeyType: HASH}]}]
                - !Ref AWS::NoValue
        """,
)
def test_equal_or_unknown_attributes_pass(template: str) -> None:
    assert findings(AttributeDefinitionsDiffer, template) == []
