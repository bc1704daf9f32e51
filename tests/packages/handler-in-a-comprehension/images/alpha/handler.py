FUNCTIONS = [handle for handle in (print,)]
