// Drives the server with the official SDK for JavaScript: node run.mjs [part of a test's name]

import "./publish.mjs";
import "./callbacks.mjs";
import "./batch.mjs";
import "./queues.mjs";
import "./groups.mjs";
import "./schedules.mjs";
import "./messages.mjs";
import "./dlq.mjs";
import "./logs.mjs";
import "./flow.mjs";
import "./verify.mjs";
import "./errors.mjs";
import "./outside.mjs";
import "./development.mjs";
import { runAll } from "./runner.mjs";

await runAll(process.argv[2]);
