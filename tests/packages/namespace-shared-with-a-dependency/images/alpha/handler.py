from corp import cards, money

def handle(event, context):
    return event
