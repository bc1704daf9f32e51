"""The entrance ``files``: a file of transactions goes through a bucket and a Distributed Map.

mapped      upload a file, start or continue its execution, and fetch the results
file_report what came of a file: counts, sums per currency, rejected lines, cost
simulation  how long a file takes, what it costs, and which quota limits it
"""
