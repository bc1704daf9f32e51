for handle in (print,):
    break
