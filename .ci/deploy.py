"""What .ci/deploy asks of ministack and of the stack that it deployed there."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
import yaml


# In the order of the guard's ports.
FUNCTIONS = "Consumer", "Requeuer", "Producer", "DlqProcessor"


def simplify(built, simpler, guard):
    """The built template, for ministack.

    It knows neither alarms over several metrics nor alarms over alarms, and would refuse the whole stack: they become alarms
    over one metric, so that whatever names them still can. It judges GetParameters by the resource `*`, where AWS judges by
    each parameter. It does not know `dynamodb:LeadingKeys`, takes the key for absent, and would deny what demands it: `Null`
    is left out, and the functions reach DynamoDB through the guard, which judges by the template as it is. And schedules wait
    no longer than this stage can.
    """
    with open(built) as file:
        template = yaml.safe_load(file)
    for name, resource in template["Resources"].items():
        properties = resource.get("Properties", {})
        composite = resource["Type"] == "AWS::CloudWatch::CompositeAlarm"
        if composite or (resource["Type"] == "AWS::CloudWatch::Alarm" and "Metrics" in properties):
            print(f"made an alarm over one metric: {name}")
            statistics = [part["MetricStat"] for part in properties.pop("Metrics", []) if "MetricStat" in part]
            one = next(iter(statistics), {"Metric": {"Namespace": "Surehook", "MetricName": name}, "Period": 300, "Stat": "Sum"})
            statistic = "ExtendedStatistic" if one["Stat"].startswith("p") else "Statistic"
            properties.update({**one["Metric"], "Period": one["Period"], statistic: one["Stat"]})
        if composite:
            resource["Type"] = "AWS::CloudWatch::Alarm"
            for key in "AlarmRule", "ActionsSuppressor", "ActionsSuppressorExtensionPeriod", "ActionsSuppressorWaitPeriod":
                properties.pop(key, None)
            properties.update({"EvaluationPeriods": 1, "Threshold": 0, "ComparisonOperator": "GreaterThanThreshold"})
        for part in parts_of(properties):
            if "ssm:GetParameters" in part.get("Action", []):
                print(f"widened: the parameters that {name} may read")
                part["Resource"] = "*"
            if isinstance(part.get("Condition"), dict) and part["Condition"].pop("Null", None):
                print(f"left out: the demand for a key in {name}, {part['Sid']}")
            for key in {"Schedule", "ScheduleExpression"} & part.keys():
                print(f"quickened: the schedule of {name}")
                part[key] = "rate(1 minute)"
    for port, name in enumerate(FUNCTIONS, int(guard)):
        variables = template["Resources"][name]["Properties"]["Environment"]["Variables"]
        variables["AWS_ENDPOINT_URL_DYNAMODB"] = f"http://127.0.0.1:{port}"
    with open(simpler, "w") as file:
        yaml.safe_dump(template, file, sort_keys=False)


def parts_of(node):
    """The mappings in a piece of YAML, itself among them."""
    if isinstance(node, dict):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else []:
        yield from parts_of(child)


def secrets(path):
    """The secrets, where the template has the functions look."""
    for variable in "QSTASH_TOKEN", "QSTASH_CURRENT_SIGNING_KEY", "QSTASH_NEXT_SIGNING_KEY", "PRODUCER_TOKEN", "SIGNING_SECRETS":
        name = f"{path}/{variable.lower().replace('_', '-')}"
        boto3.client("ssm").put_parameter(Name=name, Value=os.environ[variable], Type="SecureString")


def hear(name):
    """Prints the ARN of a topic for alarms that a queue of the same name is subscribed to."""
    topic, queues = boto3.client("sns").create_topic(Name=name)["TopicArn"], boto3.client("sqs")
    url = queues.create_queue(QueueName=name)["QueueUrl"]
    arn = queues.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    allow = {"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage", "Resource": arn}
    queues.set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps({"Version": "2012-10-17", "Statement": [allow]})})
    boto3.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    print(topic)


def outputs_of(stack):
    described = boto3.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
    return {output["OutputKey"]: output["OutputValue"] for output in described["Outputs"]}


def reachable(url):
    """ministack's own path of a function URL."""
    identity = re.fullmatch(r"https://([a-z0-9]+)\.lambda-url\.[a-z0-9-]+\.on\.aws/", url)
    assert identity, f"{url} is no function URL"
    return f"{os.environ['AWS_ENDPOINT_URL']}/_aws/lambda-url/{identity[1]}"


def outputs(stack):
    """The stack's outputs as a shell exports them."""
    found = outputs_of(stack)
    print(f"export TABLE_NAME={found['TableName']}")
    for name in "Consumer", "Requeuer", "Producer":
        print(f"export {name.upper()}_URL={reachable(found[name + 'Url'])}")


def receive(port):
    """A destination. /refuse refuses for good; /later is away four times and accepts then."""
    away = {"left": 4}

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["content-length"]))
            status = 422 if self.path == "/refuse" else 200
            if self.path == "/later" and away["left"]:
                away["left"] -= 1
                status = 503
            print(status, self.path, self.headers["webhook-id"], flush=True)
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def do_GET(self):
            self.send_error(404)

        def log_message(self, *_):
            pass

    ThreadingHTTPServer(("127.0.0.1", int(port)), Receiver).serve_forever()


def surehook(*arguments):
    said = subprocess.run([os.environ["SUREHOOK"], *arguments], capture_output=True, text=True)
    assert said.returncode == 0, f"surehook {' '.join(arguments)}: {said.stdout}{said.stderr}"
    return said.stdout


def post(url, body, token, **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    headers |= {"content-type": "application/json", "authorization": f"Bearer {token}"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


class Deployed:
    def __init__(self, stack, log):
        self.log = log
        resources = boto3.client("cloudformation").describe_stack_resources(StackName=stack)["StackResources"]
        self.functions = {
            resource["LogicalResourceId"]: resource["PhysicalResourceId"]
            for resource in resources
            if resource["ResourceType"] == "AWS::Lambda::Function"
        }
        self.table = boto3.resource("dynamodb").Table(os.environ["TABLE_NAME"])

    def said(self, function):
        """All that a function has logged."""
        logs, name = boto3.client("logs"), self.functions[function]
        group = boto3.client("lambda").get_function_configuration(FunctionName=name).get("LoggingConfig", {}).get("LogGroup")
        try:
            pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group or f"/aws/lambda/{name}")
            return "\n".join(event["message"] for page in pages for event in page["events"])
        except logs.exceptions.ResourceNotFoundException:
            return ""

    def received(self, path):
        with open(self.log) as file:
            return [line.split()[0] for line in file if line.split()[1] == path]

    def records(self):
        """What the ledger says: event types, and a status that each has in it."""
        items = self.table.scan(ConsistentRead=True)["Items"]
        return {(item.get("event_type"), item["status"]) for item in items if item["pk"].startswith("e#") and item["sk"] == "ledger"}

    def recorded(self, event, status):
        return lambda: (event, status) in self.records()

    def await_(self, what, condition, seconds=60):
        begin = time.monotonic()
        while not condition():
            if time.monotonic() - begin > seconds:
                for name in self.functions:
                    print(f"--- log of {name}\n{self.said(name)[-6000:]}")
                print(f"--- ledger\n{self.table.scan()['Items']}")
                sys.exit(f"after {seconds} s it is not so that {what}")
            time.sleep(0.3)
        print(f"   {what} ({time.monotonic() - begin:.1f} s)", flush=True)

    def publish(self, event):
        body = {"event": event, "createdAt": "2026-01-01T00:00:00.000Z", "model": "article", "uid": "api::article.article", "entry": {"id": 1}}
        url = f"{os.environ['QSTASH_URL']}/v2/publish/strapi"
        status, answer = post(url, body, os.environ["QSTASH_TOKEN"], X_Strapi_Event=event)
        assert status < 300, answer


def check(stack, receiver, log, guard):
    deployed = Deployed(stack, log)
    routes = f"{os.path.dirname(log)}/routes.toml"
    with open(routes, "w") as file:
        for name, source, event in ("shop", "strapi", "entry.create"), ("later", "strapi", "entry.update"), ("refuse", "strapi", "entry.delete"), ("orders", "payload", "order.*"):
            file.write(f'[[route]]\nname = "{name}"\nsource = "{source}"\nevents = ["{event}"]\nurl = "http://127.0.0.1:{receiver}/{name}"\n')
    surehook("routes", "apply", routes)
    surehook("topics", "connect", "strapi", "--source", "strapi")
    surehook("topics", "connect", "orders", "--source", "payload")

    deployed.publish("entry.create")
    deployed.await_("a published event is delivered", lambda: deployed.received("/shop") == ["200"])
    deployed.await_("its record is done", deployed.recorded("entry.create", "done"))
    deployed.publish("entry.create")
    deployed.await_("its second copy is recognised", lambda: '"duplicate"' in deployed.said("Consumer"))
    assert deployed.received("/shop") == ["200"], "the second copy was delivered"

    # The delivery and three retries of QStash find the receiver away; the requeuer has the event delivered once more.
    deployed.publish("entry.update")
    deployed.await_("an event that QStash gave up is delivered by the requeuer", deployed.recorded("entry.update", "done"), 120)
    assert deployed.received("/later") == ["503"] * 4 + ["200"], deployed.received("/later")
    deployed.publish("entry.delete")
    deployed.await_("an event that is refused ends as a dead letter", deployed.recorded("entry.delete", "dead"))

    producer = os.environ["PRODUCER_URL"] + "/orders"
    order = {"eventType": "order.created", "data": {"id": 17}}
    assert post(producer, order, "not-the-token-at-all")[0] == 401
    status, answer = post(producer, order, os.environ["PRODUCER_TOKEN"], Idempotency_Key="order-17")
    assert status == 202, answer
    deployed.await_("what the producer took is delivered", deployed.recorded("order.created", "done"))
    assert deployed.received("/orders") == ["200"], deployed.received("/orders")

    # Nothing has called the processor yet but its schedule.
    deployed.await_("the schedule sweeps", lambda: '"outcome":"sweep"' in deployed.said("DlqProcessor"), 90)
    processor = deployed.functions["DlqProcessor"]
    reply = boto3.client("lambda").invoke(FunctionName=processor, Payload='{"command": "sweep"}')
    report = json.load(reply["Payload"])
    assert "swept" in report and "FunctionError" not in reply, report
    print(f"   the processor answers: {json.dumps(report)}")
    letters = surehook("dead-letters", "list", "--function", processor)
    assert "entry.delete" in letters, letters
    # The replay begins with a transaction over the event and `replay#…`, which the guard judges.
    surehook("dead-letters", "replay", "--all", "--yes", "--function", processor)
    deployed.await_("a replayed dead letter is refused again and kept", lambda: deployed.received("/refuse") == ["422"] * 2)
    for name in deployed.functions:
        said = deployed.said(name)
        # The sweep heals what these two break, so that it would go unseen.
        assert "AccessDenied" not in said, f"the role of {name} lacks a permission: {said}"
        assert "signature-refused" not in said, f"{name} does not know its own URL: {said}"
    examine(stack)
    ring(stack)
    judged(guard)
    watch = boto3.client("cloudwatch")
    for dashboard in watch.list_dashboards()["DashboardEntries"]:
        json.loads(watch.get_dashboard(DashboardName=dashboard["DashboardName"])["DashboardBody"])


def examine(stack):
    """The doctor sees the deployed stack as it is. ministack has no expiry of items, and nothing answers at `on.aws` here."""
    said = subprocess.run([os.environ["SUREHOOK"], "doctor", "--stack", stack, "--json"], capture_output=True, text=True)
    report = json.loads(said.stdout)
    found = {finding["code"] for finding in report["findings"] if finding["severity"] != "note"}
    assert found == {"table-expiry", "unreachable"}, json.dumps(report, indent=1)
    for finding in report["findings"]:
        assert finding["code"] != "unreachable" or ".on.aws/" in finding["problem"], finding
    for right in report["right"]:
        print(f"   doctor: {right}")
    for part in "canary: ", "permissions: ", "alarms: ":
        assert any(right.startswith(part) for right in report["right"]), report


def ring(stack):
    """A tested alarm reaches the queue. ministack keeps no history of an alarm's actions, so that the command can't say so (3)."""
    queues = boto3.client("sqs")
    url = queues.get_queue_url(QueueName=f"{stack}-alarms")["QueueUrl"]
    before = surehook("alarms", "list", "--stack", stack, "--json")
    test = [os.environ["SUREHOOK"], "alarms", "test", "--stack", stack, "--patience", "1s"]
    said = subprocess.run(test, capture_output=True, text=True)
    assert said.returncode == 3 and "reported nothing in time" in said.stdout, said
    messages = queues.receive_message(QueueUrl=url, WaitTimeSeconds=10, MaxNumberOfMessages=10)["Messages"]
    assert any("nothing is wrong" in message["Body"] for message in messages), messages
    states = [[alarm["state"] for alarm in json.loads(listed)] for listed in (before, surehook("alarms", "list", "--stack", stack, "--json"))]
    assert states[0] == states[1], states
    print(f"   a tested alarm reaches its subscriber, and all {len(states[0])} alarms are as before")


def judged(guard):
    """The guard denied nothing, and the transaction of a replay came through it."""
    with open(guard) as file:
        lines = file.read().splitlines()
    denied = [line for line in lines if not line.startswith("used: ")]
    assert not denied, denied
    assert "used: dlq-processor LedgerAndReplays UpdateItem replay#*" in lines, lines
    print(f"   the guard allowed {len(lines)} permissions and denied none")


def gone(stack):
    """The stack is gone, and the table stands, with what it knows."""
    functions = boto3.client("lambda").list_functions()["Functions"]
    assert not functions, functions
    assert os.environ["TABLE_NAME"] in boto3.client("dynamodb").list_tables()["TableNames"], "the table went with the stack"


if __name__ == "__main__":
    {f.__name__: f for f in (simplify, secrets, hear, outputs, receive, check, gone)}[sys.argv[1]](*sys.argv[2:])
