ORDERS = {"1": "a bicycle"}


def read(event, context):
    return {"order": ORDERS.get(event["id"])}


def count(event, context):
    return {"orders": len(ORDERS)}
