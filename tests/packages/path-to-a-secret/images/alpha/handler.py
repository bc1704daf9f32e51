from pathlib import Path

CERTIFICATE = Path(__file__).parent / "certs" / "client.pem"

def handle(event, context):
    return event
