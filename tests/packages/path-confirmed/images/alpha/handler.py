ENVIRONMENT = '.env'

def handle(event, context):
    return event
