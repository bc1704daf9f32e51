"""Pure template builders: Python values in, CloudFormation templates out.

Nothing in this package imports boto3 or docker; a test proves it.
"""
