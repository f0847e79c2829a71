"""Makes calls through boto3: one JSON object a line in, one a line out."""
import json
import sys

import boto3
import botocore.config
import botocore.exceptions
from botocore import xform_name

config = botocore.config.Config(retries={"total_max_attempts": 1})
clients = {}
for line in sys.stdin:
    call = json.loads(line)
    service = call["service"]
    if service not in clients:
        clients[service] = boto3.client(service, config=config)
    try:
        result = getattr(clients[service], xform_name(call["action"]))(**call["with"])
        answer = {"result": result}
    except botocore.exceptions.ClientError as err:
        answer = {"code": err.response["Error"]["Code"], "message": err.response["Error"]["Message"]}
    print(json.dumps(answer, default=lambda v: v.isoformat()), flush=True)
