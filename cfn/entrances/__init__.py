"""The ways for transactions into the pipeline beside the call of the state machine, one module each."""
