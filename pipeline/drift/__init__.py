"""Drift: what was changed outside of CloudFormation.

    detect_drift(cfn, plan)             -> StackDrift   all resources, by CloudFormation; takes seconds to minutes
    read_drift(lambda, deployed)        -> (Drifted, …) functions and their alias, by a few calls to Lambda
    revert_functions(lambda, …)                         puts functions and alias back, as the template has them

CloudFormation compares every resource type that supports it, and only on request. Functions are what a
change by hand is most likely to hit and to harm, so they are compared by more commands.
"""
