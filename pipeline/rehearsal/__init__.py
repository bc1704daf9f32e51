"""Rehearsals: candidate images judge recorded transactions again, and their answers are compared with the stored ones.

read_recordings(path)        -> Recording…      what was submitted, perhaps with its answer
Table.answers(recordings)    -> Stored…         what was answered, and when
open_stage(…)                -> Stage           the candidates as functions that nothing else calls
Replay(definition).run(…)    -> Ended           the workflow's own definition, with its effects left out
compare(…)                   -> Difference      pure
rehearse(…)                  -> Rehearsal       all of it, for a file
"""
