def handle(event, context):
    from rules import old

    return old
