"""What a release would change in money, load and time, before it is made.

cost_change(before, after, …)  -> CostChange   from the deployed and the new template
read_load(…)                   -> Load         what reservations and quotas carry
expect(past, work)             -> Expectation  from recorded releases of the same kind
"""
