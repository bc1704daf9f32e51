import io

import pandas

KEY = "region"


def handle(event, context):
    table = pandas.DataFrame(event["rows"])
    file = io.BytesIO()
    table.to_parquet(file)
    read = pandas.read_parquet(io.BytesIO(file.getvalue()))
    return read.groupby(KEY)["amount"].sum().to_dict()
