// Asks Lambda's Runtime API for events and answers them. Lambda's own runtime client needs Node 22 and a compiler where it is
// installed; this does less per event than it does, which is in Node's favour.
import http from 'node:http';
import { pathToFileURL } from 'node:url';

const [host, port] = process.env.AWS_LAMBDA_RUNTIME_API.split(':');
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });

const call = (method, path, body) =>
  new Promise((resolve, reject) => {
    const headers = body === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
    const request = http.request({ host, port, agent, method, headers, path: `/2018-06-01/runtime/invocation/${path}` }, (answer) => {
      const chunks = [];
      answer.on('data', (chunk) => chunks.push(chunk));
      answer.on('end', () => resolve({ headers: answer.headers, body: Buffer.concat(chunks).toString() }));
    });
    request.on('error', reject);
    request.end(body);
  });

const contextOf = (headers) => ({
  awsRequestId: headers['lambda-runtime-aws-request-id'],
  functionName: process.env.AWS_LAMBDA_FUNCTION_NAME,
  invokedFunctionArn: headers['lambda-runtime-invoked-function-arn'],
  getRemainingTimeInMillis: () => Number(headers['lambda-runtime-deadline-ms']) - Date.now(),
});

const { handler } = await import(pathToFileURL(process.argv[2]));
for (;;) {
  const next = await call('GET', 'next');
  const context = contextOf(next.headers);
  try {
    const answer = await handler(JSON.parse(next.body), context);
    await call('POST', `${context.awsRequestId}/response`, JSON.stringify(answer));
  } catch (error) {
    console.error(error);
    await call('POST', `${context.awsRequestId}/error`, JSON.stringify({ errorType: error.name, errorMessage: error.message }));
  }
}
