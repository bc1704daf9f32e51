from .cards import CARDS

def handle(event, context):
    return event
