__all__ = ['other']


def handle(event, context):
    return event
