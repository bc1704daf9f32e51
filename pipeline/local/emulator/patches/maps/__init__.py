"""Map Runs: the child executions of a Distributed Map, as AWS runs them.

map_items    what an ItemReader reads and an ItemBatcher groups
map_results  what a ResultWriter writes
map_runs     a Map Run: children, counts, tolerated failures, abort and redrive
map_rows     the rows of the table of patches
"""
