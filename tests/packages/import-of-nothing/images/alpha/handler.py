import requests

def handle(event, context):
    return event
