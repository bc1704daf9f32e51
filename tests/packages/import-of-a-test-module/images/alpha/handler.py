import test_cards

def handle(event, context):
    return event
