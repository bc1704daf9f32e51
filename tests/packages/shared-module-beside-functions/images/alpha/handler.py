import money

def handle(event, context):
    return event
