import json


def handle(event, context):
    if "Records" not in event:
        print(json.dumps({"cleaned": event}))
        return None
    failed = [each["messageId"] for each in event["Records"] if not send(each["body"])]
    return {"batchItemFailures": [{"itemIdentifier": each} for each in failed]}


def send(mail):
    if "@" not in mail:
        return False
    print(json.dumps({"sent": mail}))
    return True
