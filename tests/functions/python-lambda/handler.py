"""Does what its event asks for, so that a test can see every way in which a function ends."""

import os
import time


def handle(event, context):
    asked = event.get("do") if isinstance(event, dict) else None
    if asked == "fail":
        raise ValueError("as it was asked to")
    if asked == "crash":
        os._exit(3)
    if asked == "sleep":
        time.sleep(event["ms"] / 1000)
        return {"slept": event["ms"]}
    if asked == "context":
        return {
            "function": context.function_name,
            "version": context.function_version,
            "memory": context.memory_limit_in_mb,
            "milliseconds_left": context.get_remaining_time_in_millis(),
        }
    print("handling", event)
    if isinstance(event, dict) and "requestContext" in event:
        http = event["requestContext"]["http"]
        return {
            "statusCode": 201,
            "headers": {"x-method": http["method"]},
            "cookies": ["one=1", "two=2"],
            "body": f"{http['path']}?{event['rawQueryString']}",
        }
    return {"you_sent": event}
