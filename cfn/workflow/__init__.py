"""The state machine: its definition (Amazon States Language and JSONata), its limits and its composition."""
