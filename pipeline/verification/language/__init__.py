"""A definition in the Amazon States Language: its states, its JSONata, what its tasks call, how long it takes."""
